"""Runs cells with a bar on standard error, and keeps each result as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from vlbench.measure.machine import Machine
from vlbench.measure.records import Counts, Precision
from vlbench.measure.statistics import median_interval
from vlbench.runner.aggregate import series
from vlbench.runner.peaks import keep_peaks, read_peaks, settings_without_peaks
from vlbench.runner.scheduler import CellRun, count_specs, measure_rounds
from vlbench.runner.store import Measured, Store
from vlbench.runner.worker_client import Worker
from vlbench.specs import AnySpec


def count_all(wanted: Sequence[tuple[AnySpec, int, Precision]], worker: Worker) -> list[Counts | str]:
    """What a batch of each spec costs in a precision, or why it cannot be counted."""
    with _bar(len(wanted)) as progress:
        task = progress.task_ids[0]
        counted = count_specs(
            wanted, worker, lambda name: progress.update(task, advance=1, description=f"count {name}", refresh=True)
        )
        progress.update(task, description="counted", refresh=True)
    return counted


def _bar(total: int) -> Progress:
    """On standard error, redrawn when told: no thread of the parent may take time from what it measures."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
    progress.add_task("", total=total, done="")
    return progress


def measure_all(
    cells: Sequence[Any], store: Store[Measured], machine: Machine, worker: Worker
) -> tuple[list[Measured], bool]:
    """The results of the cells, as each is finished, and whether Ctrl-C ended it.

    Then the machine's own peaks, once a folder. Raises InputError, before anything is measured, where the folder's file
    of peaks is damaged.
    """
    results: list[Measured] = []
    held = read_peaks(store.folder)
    shares = dict.fromkeys((cell.hash() for cell in cells), 0.0)
    with _bar(len(cells)) as progress:
        task = progress.task_ids[0]

        def listen(measuring: CellRun) -> None:
            shares[measuring.cell.hash()] = measuring.share
            done = f"{len(results)}/{len(cells)}"
            progress.update(
                task, completed=sum(shares.values()), description=_state(measuring), done=done, refresh=True
            )

        try:
            for result in measure_rounds(cells, store, machine, worker, listen):
                results.append(result)
            for setting in settings_without_peaks(results, held, machine):
                progress.update(task, description="peaks of the machine", refresh=True)
                keep_peaks(setting, store.folder, worker)
            progress.update(task, description="measured", done=f"{len(results)}/{len(cells)}", refresh=True)
        except KeyboardInterrupt:
            return results, True
    return results, False


def _state(measuring: CellRun) -> str:
    """`vilt-b32: restart 7, 199 ms +-2.4%`"""
    if measuring.failure:
        return f"{measuring.name}: {measuring.failure.status}: {measuring.failure.reason}"
    if not measuring.restarts:
        return f"{measuring.name}: restart 1"
    medians = [median(next(iter(series(restart).values()))) for restart in measuring.restarts]
    middle, interval = median(medians), median_interval(sorted(medians))
    width = f" +-{max(interval[1] - middle, middle - interval[0]) / middle:.1%}" if interval else ""
    return f"{measuring.name}: restart {len(medians) + 1}, {middle:.4g} ms{width}"
