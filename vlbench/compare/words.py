"""A comparison in words and rows, which the terminal, Markdown and JUnit share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import shorten

from vlbench.compare.effects import Effect
from vlbench.compare.outcomes import CellOutcome, Comparison
from vlbench.compare.verdicts import change, in_percent, line_of

HEADER = ("cell", "base ms", "head ms", "change", "interval", "restarts", "verdict", "what moved")
STAGE_HEADER = ("stage", "base ms", "head ms", "change", "interval", "verdict")
ABSENT = "-"
LONGEST = 60  # characters of a gate's message in the headline
Row = tuple[str, ...]


def headline(comparison: Comparison) -> str:
    """One line: the verdict on the whole, and what it rests on."""
    cells, regressed = comparison.cells, [cell for cell in comparison.cells if cell.regressed]
    missing = len(comparison.only_in_base) + len(comparison.only_in_head)
    counted = f"{_cells(len(cells))}, {tally(cells)}" + (f", {missing} more on one side only" if missing else "")
    if comparison.verdict == "regression":
        return f"Regression in {len(regressed)} of {_cells(len(cells))}: {'; '.join(map(_how, regressed[:3]))}" + (
            f"; and {len(regressed) - 3} more" if len(regressed) > 3 else ""
        )
    if comparison.verdict == "cannot tell":
        return f"Cannot tell: {counted}; no regression was seen"
    return f"No regression: {counted}"


def tally(cells: Sequence[CellOutcome]) -> str:
    """`2 slower, 17 same, 1 unknown`"""
    counts = Counter(cell.verdict for cell in cells)
    return ", ".join(
        f"{counts[verdict]} {verdict}" for verdict in ("slower", "faster", "same", "unknown") if counts[verdict]
    )


def _how(cell: CellOutcome) -> str:
    parts = [shorten(gate.message, LONGEST, placeholder="...") for gate in cell.regressions]
    if cell.verdict == "slower" and cell.effect:
        where = f" ({cell.moved.text})" if cell.moved else ""
        parts.insert(0, f"{change(cell.effect.ratio)}{where}")
    return f"{cell.cell} {', '.join(parts)}"


def rows(comparison: Comparison) -> list[Row]:
    return [
        (
            cell.cell,
            milliseconds(cell.base_ms),
            milliseconds(cell.head_ms),
            change(cell.effect.ratio) if cell.effect else ABSENT,
            interval(cell.effect),
            f"{cell.restarts[0]}/{cell.restarts[1]}",
            cell.verdict,
            cell.moved.text if cell.moved else "",
        )
        for cell in comparison.cells
    ]


def stage_rows(comparison: Comparison) -> dict[str, list[Row]]:
    """The stages of every cell that changed, and of others those that did, by cell."""
    found: dict[str, list[Row]] = {}
    for cell in comparison.cells:
        for stage in cell.stages:
            if cell.moved or stage.verdict in ("faster", "slower"):
                found.setdefault(cell.cell, []).append(
                    (
                        stage.stage,
                        milliseconds(stage.base_ms),
                        milliseconds(stage.head_ms),
                        change(stage.effect.ratio),
                        interval(stage.effect),
                        stage.verdict,
                    )
                )
    return found


def gate_lines(comparison: Comparison) -> list[str]:
    """Every gate that is not simply the same; one line for all others together."""
    told, silent = [], 0
    for cell in comparison.cells:
        for gate in cell.gates:
            if gate.verdict in ("regression", "changed"):
                told.append(f"{cell.cell}: {gate.message}: {gate.verdict}")
            silent += gate.verdict == "same"
    missing: dict[str, list[str]] = {}
    for cell in comparison.cells:
        for gate in cell.gates:
            if gate.verdict == "not compared":
                missing.setdefault(gate.message, []).append(cell.cell)
    told += [f"{_listed(cells)}: {message}: not compared" for message, cells in missing.items()]
    return [
        *told,
        f"{silent} {'others ' if told else ''}equal (status, params, MACs, operators; peak memory within 2%)",
    ]


def reason_lines(comparison: Comparison) -> list[str]:
    """What moved in cells that changed, and why others are unknown, each once; then the cells that one side lacks."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for cell in comparison.cells:
        reason = cell.moved.text if cell.moved else cell.reason
        if reason:
            reasons.setdefault((cell.verdict, reason), []).append(cell.cell)
    lines = [f"{_listed(cells)}: {verdict}: {reason}" for (verdict, reason), cells in reasons.items()]
    for side, names in (("BASE", comparison.only_in_base), ("HEAD", comparison.only_in_head)):
        if names:
            lines.append(f"{_listed(names)}: unknown: only in {side}")
    return lines


def note_lines(comparison: Comparison) -> list[str]:
    """What was compared with what, the rule, and what else differs."""
    thresholds = sorted({cell.threshold for cell in comparison.cells})
    rule = "; ".join(f"{in_percent(value)}, called from {in_percent(line_of(value))} on" for value in thresholds)
    confidence, stages = in_percent(comparison.confidence), in_percent(comparison.stage_confidence)
    lines = [
        f"BASE {comparison.base}, HEAD {comparison.head}",
        f"Threshold {rule}; intervals of {confidence}, of stages {stages}, over restarts",
    ]
    lines += [f"Compared under --force: {line}" for line in comparison.differences]
    lines += [f"Differs: {line}" for line in comparison.notes]
    return [*lines, *comparison.remarks]


def interval(effect: Effect | None) -> str:
    if effect is None or effect.low is None or effect.high is None:
        return ABSENT
    return f"{change(effect.low)} to {change(effect.high)}"


def milliseconds(value: float | None) -> str:
    """Four significant digits at the most."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _cells(count: int) -> str:
    return f"{count} cell{'s' if count != 1 else ''}"
