"""A comparison in words and rows: for a terminal, as the Markdown comment of a pull request, and for JUnit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import shorten

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vlbench.markup import bullets, details, escape_markdown
from vlbench.regression.compare.effects import Effect
from vlbench.regression.compare.outcomes import CellOutcome, Comparison
from vlbench.regression.compare.verdicts import change, in_percent, line_of

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


COLOURS = {"slower": "bold red", "faster": "bold blue", "same": "green", "unknown": "yellow"}
OVERALL = {"regression": "bold red", "cannot tell": "bold yellow", "no regression": "bold green"}
WORDS = ("cell", "stage", "verdict", "what moved", "since", "commit", "subject")  # columns of words
SPARED = ("restarts", "what moved")  # columns that a narrow terminal goes without: the lines below say the same
MARK = "<!-- vlbench compare -->"  # by which a workflow finds its earlier comment


def render(comparison: Comparison, width: int | None = None) -> RenderableType:
    """For a terminal of `width` columns: a row a cell, or a few lines a cell where a row does not fit; None: any."""
    parts: list[RenderableType] = [
        Text(headline(comparison), style=OVERALL[comparison.verdict]),
        Text(""),
        table(HEADER, rows(comparison), width),
    ]
    for cell, stages in stage_rows(comparison).items():
        parts += [Text(""), Text(f"Stages of {cell}", style="italic"), table(STAGE_HEADER, stages, width)]
    parts += _lines("Why", reason_lines(comparison))
    parts += _lines("Exact gates", gate_lines(comparison))
    return Group(*parts, Text(""), Text("\n".join(note_lines(comparison)), style="dim", overflow="fold"))


def _lines(title: str, lines: Sequence[str]) -> list[RenderableType]:
    if not lines:
        return []
    return [Text(""), Text(title, style="italic"), Text("\n".join(lines), overflow="fold")]


def table(header: Row, content: Sequence[Row], width: int | None) -> RenderableType:
    """Without columns that are empty; one of them is `verdict`. Where it is too wide, a few lines a row."""
    header, content = without_empty(header, content)
    for name in SPARED:
        if width is not None and name in header and _natural_width([header, *content]) > width:
            header, content = _without(name, header, content)
    if width is not None and _natural_width([header, *content]) > width:
        return Text("\n").join(_block(header, row) for row in content)
    grid = Table(header_style="bold", box=None, pad_edge=False)
    for name in header:
        grid.add_column(name, justify="left" if name in WORDS else "right", no_wrap=True)
    for row in content:
        grid.add_row(*(Text(value, style=COLOURS.get(value, "")) for value in row))
    return grid


def _block(header: Row, row: Row) -> Text:
    """`slower  vilt-b32`, and beneath it every other column by its name."""
    named = dict(zip(header[1:], row[1:], strict=True))
    verdict = named.pop("verdict")
    text = Text(f"{verdict:<8}", style=COLOURS.get(verdict, ""))
    text.append(row[0], style="not bold default")
    detail = ", ".join(f"{name} {value}" for name, value in named.items() if value)
    return text.append(f"\n    {detail}", style="not bold default")


def without_empty(header: Row, content: Sequence[Row]) -> tuple[Row, Sequence[Row]]:
    for place, name in reversed(list(enumerate(header))):
        if not any(row[place] for row in content):
            header, content = _without(name, header, content)
    return header, content


def _without(name: str, header: Row, content: Sequence[Row]) -> tuple[Row, Sequence[Row]]:
    place = header.index(name)
    return header[:place] + header[place + 1 :], [row[:place] + row[place + 1 :] for row in content]


def _natural_width(lines: Sequence[Row]) -> int:
    """Columns of a terminal that a table takes, two between each pair of its own."""
    return sum(max(map(len, column)) + 2 for column in zip(*lines, strict=True)) - 2


def markdown(comparison: Comparison, picture: str | None = None) -> str:
    """A comment: one line of verdict, the cells, the picture where there is one, and details to open."""
    parts = [
        MARK,
        f"**vlbench: {escape_markdown(headline(comparison))}**",
        markdown_table(*without_empty(HEADER, rows(comparison))),
    ]
    if picture:
        parts.append(f"![Latency of HEAD as a change from BASE]({picture.replace(' ', '%20')})")
    if reason_lines(comparison):
        parts.append(bullets(reason_lines(comparison)))
    for cell, stages in stage_rows(comparison).items():
        parts.append(details(f"Stages of {escape_markdown(cell)}", markdown_table(STAGE_HEADER, stages)))
    parts.append(details("Exact gates", bullets(gate_lines(comparison))))
    parts.append(details("What was compared", bullets(note_lines(comparison))))
    return "\n\n".join(parts) + "\n"


def markdown_table(header: Row, content: Sequence[Row]) -> str:
    sides = [":--" if name in WORDS else "--:" for name in header]
    marked = [
        [f"**{value}**" if value in ("slower", "faster") else escape_markdown(value) for value in row]
        for row in content
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, sides, *marked])
