"""How commands print results and tell what they kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.options import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from vlbench.running.cells import Result
    from vlbench.running.evaluations import Evaluation


def tell_kept(names: list[str], folder: Path) -> None:
    if names:
        print(
            f"kept from {folder}: {', '.join(dict.fromkeys(names))}; name another --out to measure again",
            file=sys.stderr,
        )


def print_results(results: list[Result], output: Format) -> None:
    from vlbench.report.tables import WRITERS, render

    if not results:
        return
    if output is Format.table:
        print_wide(lambda width: render(results, width))
    else:
        print(WRITERS[output.value](results), end="")


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


def print_wide(draw: Callable[[int | None], RenderableType]) -> None:
    """Prints what `draw` makes for the terminal's width, or for any where the output is none."""
    from rich.console import Console

    console = Console()
    width = console.width if console.is_terminal else None
    console.width = max(console.width, 200)  # a line longer than the terminal wraps there, rather than lose its end
    console.print(draw(width), soft_wrap=False, crop=False)
