"""Runs cells with a bar on standard error, and keeps each result as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vlbench.measure.counts import Counts
from vlbench.measure.machine import Machine
from vlbench.running.shared import count_specs
from vlbench.running.store import Line, Store
from vlbench.specs import ModelSpec

Runner = Callable[[Sequence[Any], Machine, Callable[[Any, str, int], None]], Iterator[Any]]


def count_all(wanted: Sequence[tuple[ModelSpec, int]]) -> list[Counts | str]:
    """What a batch of each spec costs, or why it cannot be counted."""
    with _bar(len(wanted)) as progress:
        task = progress.task_ids[0]
        counted = count_specs(
            wanted, lambda name: progress.update(task, advance=1, description=f"count {name}", refresh=True)
        )
        progress.update(task, description="counted", refresh=True)
    return counted


def _bar(total: int) -> Progress:
    """On standard error, redrawn when told: no thread of the parent may take time from what it measures."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
    progress.add_task("", total=total)
    return progress


def measure_all(cells: Sequence[Any], store: Store[Line], machine: Machine, run: Runner) -> tuple[list[Line], bool]:
    """The results of `run(cells, ...)`, and whether Ctrl-C ended it."""
    results: list[Line] = []
    with _bar(len(cells)) as progress:
        task = progress.task_ids[0]

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
