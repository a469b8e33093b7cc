"""Runs cells with a bar on standard error, and keeps each result as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vlbench.measure.machine import Machine
from vlbench.running.store import Line, Store

Runner = Callable[[Sequence[Any], Machine, Callable[[Any, str, int], None]], Iterator[Any]]


def measure_all(cells: Sequence[Any], store: Store[Line], machine: Machine, run: Runner) -> tuple[list[Line], bool]:
    """The results of `run(cells, ...)`, and whether Ctrl-C ended it."""
    results: list[Line] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # No thread of its own redraws the bar: the parent must not take time from what it measures.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        task = progress.add_task("", total=len(cells))

        def listen(cell: Any, phase: str, samples: int) -> None:
            counted = f" ({samples} samples)" if samples else ""
            progress.update(task, description=f"{cell.name}: {phase}{counted}", refresh=True)

        try:
            for cell, result in zip(cells, run(cells, machine, listen), strict=True):
                store.add(result)
                results.append(result)
                progress.update(task, advance=1, description=f"{cell.name}: {result.status}", refresh=True)
        except KeyboardInterrupt:
            return results, True
    return results, False
