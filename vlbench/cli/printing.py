"""How commands print results and tell what they kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.cli.options import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from vlbench.runner.records import Evaluation, Result


def tell_kept(names: Sequence[str], folder: Path) -> None:
    if names:
        print(
            f"kept from {folder}: {', '.join(dict.fromkeys(names))}; name another --out to measure again",
            file=sys.stderr,
        )


def print_results(results: list[Result], output: Format, more: Sequence[str] = ()) -> None:
    """`more` are further notes."""
    from vlbench.report.tables import WRITERS, render

    if not results:
        return
    if output is Format.table:
        print_wide(lambda width: render(results, width, more))
    else:
        print(WRITERS[output.value](results, more), end="")


def print_evaluations(evaluations: Sequence[Evaluation], results: Sequence[Result], output: Format) -> None:
    from vlbench.report import accuracy

    if not evaluations:
        print_results(list(results), output)
        return
    cells = {result.spec_hash: result for result in results}
    if output is Format.table:
        print_wide(lambda width: accuracy.render(evaluations, cells, width))
    else:
        print(accuracy.WRITERS[output.value](evaluations, cells), end="")


def draw_frontier(results: Sequence[Result], evaluations: Sequence[Evaluation], folder: Path | None) -> None:
    """Into the folder, where one is named; says what it drew, or that there was nothing to draw."""
    if folder is None:
        return
    from vlbench.report.frontier_figure import draw

    written = draw(results, evaluations, folder)
    names = ", ".join(path.stem for path in written if path.suffix == ".png")
    print(f"figures: {folder}: {names or 'none, as no model has both accuracy and latency'}", file=sys.stderr)


def print_wide(draw: Callable[[int | None], RenderableType]) -> None:
    """Prints what `draw` makes for the terminal's width, or for any where the output is none."""
    from rich.console import Console

    console = Console()
    width = console.width if console.is_terminal else None
    console.width = max(console.width, 200)  # a line longer than the terminal wraps there, rather than lose its end
    console.print(draw(width), soft_wrap=False, crop=False)
