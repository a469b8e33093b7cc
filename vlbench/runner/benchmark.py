"""The one measuring call. The command line, the Python interface, suites, evaluations and live comparisons all get
their worker here; nothing else starts one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Generic

from rich.progress import Progress, TimeElapsedColumn

from vlbench.errors import InputError
from vlbench.inputs import Example
from vlbench.measuring.machine import Machine
from vlbench.measuring.module_counts import ModuleCounts
from vlbench.measuring.records import Counts
from vlbench.measuring.statistics import median_interval
from vlbench.runner.aggregate import series
from vlbench.runner.cells import Cell
from vlbench.runner.devices import visible_gpu
from vlbench.runner.peaks import keep_peaks, read_peaks, settings_without_peaks
from vlbench.runner.plan import AnyCell, RunSettings, expand, split_measured, supported
from vlbench.runner.progress import progress_bars
from vlbench.runner.reader import read_unsampled, warn
from vlbench.runner.records import Result
from vlbench.runner.scheduler import (
    CellRun,
    CountRequest,
    count_modules,
    count_specs,
    measure_rounds,
)
from vlbench.runner.store import Measured, MemoryStore, Store
from vlbench.runner.worker_client import Worker, check_weights, probe_machine
from vlbench.specs import AnySpec
from vlbench.system.temporary import remove_leftovers, temporary_folder

ReportKept = Callable[[Sequence[str]], None]


def open_worker(
    threads: int,
    *,
    command: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Worker:
    """A worker, to be used in `with`; the arguments are those of `Worker`. Tests replace that class in this module."""
    remove_leftovers()
    return Worker(threads, command=command, environment=environment, folder=folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRun(Generic[Measured]):
    """The outcome of a benchmark.

    Attributes:
        results: in the order of the cells, those kept from earlier runs included; fewer than `cells` if interrupted.
            Without samples if they are in a folder.
        cells: how many results were asked for.
        kept: names of those that the folder already held.
        stored: every result of the folder, in the order measured.
        machine: that measured, and whose earlier results were kept.
        interrupted: by Ctrl-C.
    """

    results: list[Measured]
    cells: int
    kept: list[str]
    stored: list[Measured]
    machine: Machine
    interrupted: bool


def benchmark(
    specs: Sequence[AnySpec],
    example: Example,
    settings: RunSettings | Sequence[RunSettings],
    *,
    folder: Path | None = None,
    report_kept: ReportKept = lambda names: None,
) -> BenchmarkRun[Result]:
    """Measures models on this machine, every restart in a fresh process.

    Raises InputError, before anything is measured, if a setting does not fit a model or the machine, weights are
    missing or belong to another model, or the folder cannot be written; WorkerError if the worker does not start.

    Args:
        specs: one cell is measured for each, under each of the settings.
        example: the image and the text.
        settings: of all cells, or several that differ in backend and precision alone.
        folder: of results. Those that it holds for this machine are kept; each other one is added once it is measured,
            and then the machine's peaks. With None nothing is written, and no progress is shown.
        report_kept: called with the names of kept models before the others are measured.
    """
    several = [settings] if isinstance(settings, RunSettings) else list(settings)
    with BenchmarkSession(several[0].threads, several[0].device) as session:
        usable, refusals = supported(several, session.machine)
        if not usable:
            raise refusals[0]
        for refusal in refusals:
            warn(f"left out: {refusal}")
        by_setting = [expand(specs, example, some, session.machine) for some in usable]
        cells = [cell for of_model in zip(*by_setting, strict=True) for cell in of_model]
        return session.measure(cells, Result, folder, report_kept)


class BenchmarkSession:
    """A worker and what is counted and measured in it, for callers that plan cells of several kinds themselves."""

    def __init__(self, threads: int, device: str = "auto", environment: Mapping[str, str] | None = None) -> None:
        self.threads = threads
        self.worker = open_worker(threads, environment={**(environment or {}), **visible_gpu(device)})

    def __enter__(self) -> BenchmarkSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.worker.close()

    @cached_property
    def machine(self) -> Machine:
        """This machine, as a worker reports it: only PyTorch knows whether it can use a GPU."""
        return probe_machine(self.threads, self.worker)

    def count(self, requests: Sequence[CountRequest]) -> list[Counts | str]:
        """The counts of each spec's batch in a precision, or why it cannot be counted."""
        if not requests:
            return []
        with _counting_bar(len(requests)) as report:
            return count_specs(requests, self.worker, report)

    def count_modules(self, requests: Sequence[CountRequest], counters: Sequence[str]) -> list[ModuleCounts | str]:
        """The same by module and by several counters."""
        with _counting_bar(len(requests)) as report:
            return count_modules(requests, counters, self.worker, report)

    def measure(
        self,
        cells: Sequence[AnyCell],
        kind: type[Measured],
        folder: Path | None,
        report_kept: ReportKept = lambda names: None,
    ) -> BenchmarkRun[Measured]:
        """Measures cells, whose results are of a kind; see `benchmark`. Equal cells are measured once, for the longest
        of their budgets."""
        longest = {cell.hash(): cell for cell in sorted(cells, key=lambda cell: cell.budget_seconds)}
        unique = [longest[cell_hash] for cell_hash in dict.fromkeys(cell.hash() for cell in cells)]
        with _store(kind, folder) as store, self._converted_models(unique) as converted:
            missing, kept = split_measured(unique, store, self.machine)
            check_weights(_specs_of(missing), self.worker)
            kept_names = [cell.name for cell in unique if cell not in missing]
            report_kept(kept_names)
            results, interrupted = self._measure_missing(missing, store, folder, converted) if missing else ([], False)
            by_hash = {result.cell_hash: result for result in [*kept, *results]}
            return BenchmarkRun(
                results=[by_hash[cell.hash()] for cell in cells if cell.hash() in by_hash],
                cells=len(cells),
                kept=kept_names,
                stored=store.results,
                machine=self.machine,
                interrupted=interrupted,
            )

    @contextmanager
    def _converted_models(self, cells: Sequence[AnyCell]) -> Iterator[Path | None]:
        """A folder for them while they are measured; None where no backend converts any."""
        if not any(isinstance(cell, Cell) and cell.is_converted for cell in cells):
            yield None
            return
        with temporary_folder() as folder:
            yield folder

    def _measure_missing(
        self, cells: Sequence[AnyCell], store: MemoryStore[Measured], folder: Path | None, converted: Path | None
    ) -> tuple[list[Measured], bool]:
        """The results of the cells, and whether Ctrl-C ended it; then the machine's peaks, once for each setting.

        Raises InputError, before anything is measured, if the folder's file of peaks is damaged.
        """
        results: list[Measured] = []
        known_peaks = read_peaks(folder) if folder else []
        with _bar(len(cells), shown=folder is not None) as bar:
            task = bar.task_ids[0]
            try:
                listen = _listener(bar, cells, results)
                for result in measure_rounds(cells, store, self.machine, self.worker, listen, converted):
                    results.append(result)
                if folder:
                    for setting in settings_without_peaks(results, known_peaks, self.machine):
                        bar.update(task, description="peaks of the machine", refresh=True)
                        keep_peaks(setting, folder, self.worker)
                bar.update(task, description="measured", done=f"{len(results)}/{len(cells)}", refresh=True)
            except KeyboardInterrupt:
                return results, True
        return results, False


def probe_this_machine(threads: int) -> Machine:
    """This machine, with its GPU, from a worker of its own. Raises WorkerError if that fails."""
    with BenchmarkSession(threads) as session:
        return session.machine


def add_missing_peaks(folder: Path) -> None:
    """Measures this machine's peaks for every setting of a results folder that has none yet.

    Raises InputError if nothing in the folder was measured on this machine as it is now.
    """
    results, known_peaks = read_unsampled(folder), read_peaks(folder)
    machine = probe_this_machine(1)
    if not settings_without_peaks(results, [], machine):
        raise InputError(
            f"--out {folder}: nothing here was measured on this machine with its present software; name results that "
            "were, or measure anew"
        )
    with closing(Store(folder, Result)):  # no other process writes there meanwhile
        for setting in settings_without_peaks(results, known_peaks, machine):
            with open_worker(setting.threads) as worker:
                keep_peaks(setting, folder, worker)


@contextmanager
def _store(kind: type[Measured], folder: Path | None) -> Iterator[MemoryStore[Measured]]:
    if folder is None:
        yield MemoryStore[Measured]()
        return
    with closing(Store(folder, kind)) as store:
        yield store


def _specs_of(cells: Sequence[AnyCell]) -> list[AnySpec]:
    return [cell.spec for cell in cells if isinstance(cell, Cell)]


@contextmanager
def _bar(total: int, *, shown: bool = True) -> Iterator[Progress]:
    """One bar. It is redrawn only on demand: no thread of this process may take time from what it measures."""
    with progress_bars("{task.fields[done]}", TimeElapsedColumn(), shown=shown) as bars:
        bars.add_task("", total=total, done="")
        yield bars


@contextmanager
def _counting_bar(total: int) -> Iterator[Callable[[str], None]]:
    """A bar, and what shows in it the name of the model that is counted next."""
    with _bar(total) as bar:
        task = bar.task_ids[0]
        yield lambda name: bar.update(task, advance=1, description=f"count {name}", refresh=True)
        bar.update(task, description="counted", refresh=True)


def _listener(bar: Progress, cells: Sequence[AnyCell], results: Sequence[Measured]) -> Callable[[CellRun], None]:
    """Moves the bar by the shares of all cells, and shows the state of the present one."""
    shares = dict.fromkeys((cell.hash() for cell in cells), 0.0)

    def listen(run: CellRun) -> None:
        shares[run.cell.hash()] = run.share
        done = f"{len(results)}/{len(cells)}"
        bar.update(bar.task_ids[0], completed=sum(shares.values()), description=_state(run), done=done, refresh=True)

    return listen


def _state(run: CellRun) -> str:
    """`vilt-b32: restart 7, 199 ms +-2.4%`"""
    if run.failure:
        return f"{run.name}: {run.failure.status}: {run.failure.reason}"
    if not run.restarts:
        return f"{run.name}: restart 1"
    medians = [median(next(iter(series(restart).values()))) for restart in run.restarts]
    middle, interval = median(medians), median_interval(sorted(medians))
    width = f" +-{max(interval[1] - middle, middle - interval[0]) / middle:.1%}" if interval else ""
    return f"{run.name}: restart {len(medians) + 1}, {middle:.4g} ms{width}"
