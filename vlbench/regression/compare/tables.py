"""A comparison as tables: for a terminal, and as the Markdown comment of a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import shorten
from typing import Any

from vlbench.regression.compare.effects import Effect
from vlbench.regression.compare.outcomes import CellOutcome, Comparison
from vlbench.regression.compare.verdicts import change, in_percent, line_of
from vlbench.tables.numbers import counted, ends
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.writers import to_markdown

LONGEST = 60  # characters of a gate's message in the headline
COLOURS = {"slower": "bold red", "faster": "bold blue", "same": "green", "unknown": "yellow"}
OVERALL = {"regression": "bold red", "cannot tell": "bold yellow", "no regression": "bold green"}
MARK = "<!-- vlbench compare -->"  # by which a workflow finds its earlier comment


def milliseconds(value: float) -> str:
    """Four significant digits at most."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def _interval(effect: Effect | None) -> tuple[float, float] | None:
    return None if effect is None or effect.low is None or effect.high is None else (effect.low, effect.high)


# Of what has an effect; `what moved` and `restarts` are left out of a narrow terminal, as the lines below repeat them
BASE = TableColumn[Any]("base ms", lambda outcome: outcome.base_ms, milliseconds)
HEAD = TableColumn[Any]("head ms", lambda outcome: outcome.head_ms, milliseconds)
CHANGE = TableColumn[Any]("change", lambda outcome: outcome.effect and outcome.effect.ratio, change)
INTERVAL = TableColumn[Any]("interval", lambda outcome: _interval(outcome.effect), ends(change))
VERDICT = TableColumn[Any]("verdict", lambda outcome: outcome.verdict, styles=COLOURS)
COLUMNS = (
    TableColumn[CellOutcome]("measurement", lambda cell: cell.cell),
    *(BASE, HEAD, CHANGE, INTERVAL),
    TableColumn[CellOutcome]("restarts", lambda cell: cell.restarts, "{0[0]}/{0[1]}".format, shown="wide"),
    VERDICT,
    TableColumn[CellOutcome]("what moved", lambda cell: cell.moved.text if cell.moved else "", shown="wide"),
)
STAGES = (TableColumn[Any]("stage", lambda outcome: outcome.stage), BASE, HEAD, CHANGE, INTERVAL, VERDICT)


def comparison_tables(comparison: Comparison) -> list[Table]:
    """The verdict in one line, the measurements, the stages of those that changed, reasons, gates and notes."""
    stages = [
        Table.of(STAGES, shown, caption=f"Stages of {cell.cell}", folded=True)
        for cell in comparison.cells
        if (shown := [stage for stage in cell.stages if cell.moved or stage.verdict in ("faster", "slower")])
    ]
    reasons, gates = tuple(reason_lines(comparison)), tuple(gate_lines(comparison))
    return [
        Table(caption=headline(comparison), style=OVERALL[comparison.verdict], heading="**vlbench: {}**"),
        Table.of(COLUMNS, comparison.cells),
        *stages,
        *([Table(caption="Why", heading="", notes=reasons, notes_style="")] if reasons else []),
        Table(caption="Exact gates", notes=gates, notes_style="", folded=True),
        Table(caption="What was compared", style=None, notes=tuple(note_lines(comparison)), folded=True),
    ]


def comparison_markdown(comparison: Comparison, picture: str | None = None) -> str:
    """A comment; `picture` is the path of an image that stands below the table."""
    tables = comparison_tables(comparison)
    image = [f"![Latency of HEAD as a change from BASE]({picture.replace(' ', '%20')})\n"] if picture else []
    return "\n".join([f"{MARK}\n", to_markdown(tables[:2]), *image, to_markdown(tables[2:])])


def headline(comparison: Comparison) -> str:
    """One line: the verdict on the whole, and what it rests on."""
    cells, regressed = comparison.cells, [cell for cell in comparison.cells if cell.regressed]
    missing = len(comparison.only_in_base) + len(comparison.only_in_head)
    count = counted(len(cells), "measurement")
    summary = f"{count}, {tally(cells)}" + (f", {missing} more on one side only" if missing else "")
    if comparison.verdict == "regression":
        return f"Regression in {len(regressed)} of {count}: {'; '.join(map(_how, regressed[:3]))}" + (
            f"; and {len(regressed) - 3} more" if len(regressed) > 3 else ""
        )
    if comparison.verdict == "cannot tell":
        return f"Cannot tell: {summary}; no regression was seen"
    return f"No regression: {summary}"


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


def gate_lines(comparison: Comparison) -> list[str]:
    """Every gate that is not the same, and one line for all that are."""
    lines, same = [], 0
    missing: dict[str, list[str]] = {}
    for cell in comparison.cells:
        for gate in cell.gates:
            same += gate.verdict == "same"
            if gate.verdict in ("regression", "changed"):
                lines.append(f"{cell.cell}: {gate.message}: {gate.verdict}")
            if gate.verdict == "not compared":
                missing.setdefault(gate.message, []).append(cell.cell)
    lines += [f"{_listed(cells)}: {message}: not compared" for message, cells in missing.items()]
    others = "others " if lines else ""
    return [*lines, f"{same} {others}equal (status, params, MACs, operators; peak memory within 2%)"]


def reason_lines(comparison: Comparison) -> list[str]:
    """What moved where a latency changed, and why others are unknown, each once; then what only one side holds."""
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


def latencies(cell: CellOutcome) -> str:
    """`12.4 to 15.1 ms, +21.8% (+20.1% to +23.0%)`"""
    text = f"{BASE.text(cell.base_ms)} to {HEAD.text(cell.head_ms)} ms"
    return f"{text}, {CHANGE.text(CHANGE.get(cell))} ({INTERVAL.text(INTERVAL.get(cell))})" if cell.effect else text


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"
