"""Results folders as tidy data frames: one row per measurement, plain units, names as in the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vlbench.measuring.statistics import LatencySummary
from vlbench.report import columns
from vlbench.report.columns import Row
from vlbench.report.efficiency import Roofs, efficiency, highest_peaks
from vlbench.report.folders import Folder, measurement, read_folders, read_samples
from vlbench.report.labels import cell_names
from vlbench.runner.records import Evaluation, Result
from vlbench.suites.outcomes import ClaimOutcome, ReproducedCell

WHOLE = "end to end"  # the stage of a sample of a whole pass, which is timed without hooks
INPUT = "input"  # that of a sample of preparing an example
PLAIN = (  # keys of a line that are columns as they stand
    *("archetype", "text_tokens", "image_tokens", "weights", "params_total", "params_trainable", "macs", "flops"),
    *("bytes_moved", "operators", "peak_memory_bytes", "l2", "status", "error", "spec_hash", "cell_hash"),
    *("measured_at", "vlbench_version"),
)
OF_EVALUATION = ("model", "family", "weights", "backend", "precision")
PEAKS = ("device", "precision", "threads", "gflops_per_second", "gigabytes_per_second")


def read(*folders: str | Path) -> Results:
    """The results of one folder or several, as data frames.

    A folder without result files stands for all folders below it that have some. Raises InputError if there are none,
    or if a file is damaged.
    """
    return Results(read_folders([Path(folder) for folder in folders]))


class Results:
    """What results folders hold. Times are in milliseconds, sizes in bytes, shares between 0 and 1.

    Every frame has `folder`; those of measurements also have `cell`, the measurement's name within its folder: its
    model, and the settings by which it differs from other measurements of that model. `_low` and `_high` are the ends
    of a 95% interval. What was not measured is NA or NaN. An empty frame has the same columns and types; see
    `columns.py`. docs/results.md explains the values.

    Attributes:
        cells: one row per measurement: its settings, counts, memory, latency, noise and efficiency.
        stages: one row per measurement and stage.
        samples: one row per sample: of a whole pass, of a stage in a pass by stage, or of preparing an example
            (`input`); from every restart, also disturbed ones.
        accuracy: one row per model, task, split and metric.
        peaks: one row per machine, device and precision: the most it reaches, in 10^9 FLOPs and bytes per second.
        reported: one row per value of a suite, measured and reported; `_words` hold values that are not numbers.
        claims: one row per claim of a paper, with its verdict.
    """

    def __init__(self, folders: Sequence[Folder]) -> None:
        self.folders = tuple(folders)

    @cached_property
    def named(self) -> tuple[tuple[str, str, Result], ...]:
        """Folder, name and result of every measurement, in the order of `cells`."""
        return tuple(
            (folder.label, name, result)
            for folder in self.folders
            for name, result in zip(cell_names(folder.results), folder.results, strict=True)
        )

    @cached_property
    def cells(self) -> pd.DataFrame:
        rows = (_cell(*named) | asdict(efficiency(named[2], self.roofs)) for named in self.named)
        return columns.frame(rows, columns.CELLS)

    @cached_property
    def stages(self) -> pd.DataFrame:
        return columns.frame((row for named in self.named for row in _stages(*named)), columns.STAGES)

    @cached_property
    def samples(self) -> pd.DataFrame:
        return _samples(self.named, self.folders)

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        rows = (
            row
            for folder in self.folders
            for evaluation in folder.evaluations
            for row in _accuracies(folder.label, evaluation)
        )
        return columns.frame(rows, columns.ACCURACY)

    @cached_property
    def peaks(self) -> pd.DataFrame:
        rows = (
            {"folder": folder.label, "machine": peaks.machine.in_few_words()}
            | {name: getattr(peaks, name) for name in PEAKS}
            for folder in self.folders
            for peaks in folder.peaks
        )
        return columns.frame(rows, columns.PEAKS)

    @cached_property
    def roofs(self) -> Roofs:
        """The highest peaks of each machine, device, precision and number of threads, of all folders."""
        return highest_peaks(peaks for folder in self.folders for peaks in folder.peaks)

    @cached_property
    def reported(self) -> pd.DataFrame:
        rows = (
            _reported(folder.label, cell)
            for folder in self.folders
            for cell in (folder.reproduced.cells if folder.reproduced else ())
        )
        return columns.frame(rows, columns.REPORTED)

    @cached_property
    def claims(self) -> pd.DataFrame:
        rows = (
            _claim(folder.label, claim)
            for folder in self.folders
            for claim in (folder.reproduced.claims if folder.reproduced else ())
        )
        return columns.frame(rows, columns.CLAIMS)


def _identity(folder: str, cell: str, result: Result) -> Row:
    settings = {name: getattr(result, name) for name in ("model", "family", "device", "precision", "backend", "batch")}
    machine = result.machine
    return {"folder": folder, "cell": cell, **settings, "threads": machine.threads, "machine": machine.in_few_words()}


def _cell(folder: str, cell: str, result: Result) -> Row:
    height, width = result.image_size
    latency = result.latency_ms if result.status == "ok" else None
    noise = result.noise
    return {
        **_identity(folder, cell, result),
        **{name: getattr(result, name) for name in PLAIN},
        **{"image_height": height, "image_width": width},
        **_summary(latency),
        "latency_ms_p90": latency.p90 if latency else None,
        **_summary(result.input_ms, "input_ms"),
        "restarts": len(latency.by_restart) if latency else None,
        "noise": noise.verdict if noise else None,
        "noise_reasons": "; ".join(noise.reasons) or None if noise else None,
        "torch": result.machine.torch,
        **_conversion(result),
    }


def _conversion(result: Result) -> Row:
    """Differences are shares of the largest value that eager PyTorch gives."""
    conversion = result.conversion
    equality = conversion.equality if conversion else None
    return {
        "scope": result.scope,
        "runtime": conversion.runtime if conversion else None,
        "conversion_seconds": conversion.seconds if conversion else None,
        "first_pass_ms": conversion.first_pass_ms if conversion else None,
        "converted_bytes": conversion.size_bytes if conversion else None,
        "largest_difference": equality.largest if equality else None,
        "mean_difference": equality.mean if equality else None,
        "tolerance": equality.tolerance if equality else None,
        "eager_stages": ", ".join(conversion.eager_stages) or None if conversion else None,
    }


def _summary(latency: LatencySummary | None, name: str = "latency_ms") -> Row:
    return _value(name, latency.median if latency else None, latency.ci95 if latency else None)


def _value(name: str, value: float | None, interval: tuple[float, float] | None) -> Row:
    low, high = interval or (None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _stages(folder: str, cell: str, result: Result) -> Iterator[Row]:
    """`of` is the stage that a step belongs to, None for a stage; `share` is of the pass by stage."""
    times = (result.latency_ms_by_stage or {}) if result.status == "ok" else {}
    counts = {"params": result.params_by_stage or {}, "macs": result.macs_by_stage or {}}
    counts["bytes_moved"] = result.bytes_moved_by_stage or {}
    total = times["total"].median if "total" in times else None
    for stage in dict.fromkeys(chain(times, *counts.values())):
        summary = times.get(stage)
        whole = stage.rpartition(".")[0]
        yield {
            **_identity(folder, cell, result),
            **{"stage": stage, "of": whole or None},
            "share": summary.median / total if summary and total else None,
            **_summary(summary),
            **{name: by_stage.get(stage) for name, by_stage in counts.items()},
        }


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples of one result: `latency_ms` has those of every series, one after the other."""

    series: list[tuple[int, str, int]]  # restart, stage, number of samples
    latency_ms: NDArray[np.float64]


def _samples_of(result: Result) -> _Samples:
    taken = [
        (number, stage, samples)
        for number, restart in enumerate(result.restarts, start=1)
        for stage, samples in {
            WHOLE: restart.latency_ms,
            **restart.latency_ms_by_stage,
            INPUT: restart.input_ms,
        }.items()
        if samples or stage != INPUT
    ]
    series = [(number, stage, len(samples)) for number, stage, samples in taken]
    return _Samples(series, np.fromiter(chain.from_iterable(samples for *_, samples in taken), dtype=np.float64))


def _samples(named: Sequence[tuple[str, str, Result]], folders: Iterable[Folder]) -> pd.DataFrame:
    """Built column by column, as there are up to millions of rows."""
    latest: list[_Samples] = []
    for folder in folders:
        by_measurement = {measurement(result): _samples_of(result) for result in read_samples(folder)}
        latest += [by_measurement[measurement(result)] for result in folder.results]
    identities = columns.frame((_identity(*of_cell) for of_cell in named), columns.IDENTITY)
    series = [(index, *of_series) for index, samples in enumerate(latest) for of_series in samples.series]
    cells, restarts, stages, counts = zip(*series, strict=True) if series else ((), (), (), ())
    lengths = np.array(counts, dtype=np.int64)
    frame = identities.iloc[np.repeat(np.array(cells, dtype=np.int64), lengths)].reset_index(drop=True)
    frame["restart"] = columns.series(np.repeat(np.array(restarts, dtype=np.int64), lengths), columns.COUNT)
    frame["stage"] = columns.series(stages, columns.TEXT).iloc[np.repeat(np.arange(len(stages)), lengths)].array
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    frame["sample"] = columns.series(np.arange(1, len(before) + 1) - before, columns.COUNT)
    frame["latency_ms"] = np.concatenate([samples.latency_ms for samples in latest] or [np.empty(0)])
    return frame


def _accuracies(folder: str, evaluation: Evaluation) -> Iterator[Row]:
    """One row per metric; only the first has blind baselines."""
    accuracy, training = evaluation.accuracy, evaluation.training
    for metric in accuracy.metrics:
        first = metric.name == accuracy.metric
        yield {
            **{"folder": folder, **{name: getattr(evaluation, name) for name in OF_EVALUATION}},
            **{"task": accuracy.task, "split": accuracy.split, "metric": metric.name, "first": first},
            **_value("value", metric.value, metric.ci95),
            "n": metric.n,
            "majority": accuracy.majority if first else None,
            "text_only": accuracy.text_only if first else None,
            "shuffled_images": accuracy.shuffled_images if first else None,
            **{"preset": training.preset if training else None, "seed": training.seed if training else None},
            "training_seconds": training.seconds if training else None,
            "untrained": evaluation.untrained or None,
            "spec_hash": evaluation.spec_hash,
        }


def _reported(folder: str, cell: ReproducedCell) -> Row:
    """Values that are not numbers are in `measured_words` and `reported_words`."""
    names = (
        "suite",
        "row",
        "model",
        "quantity",
        "unit",
        "category",
        "error",
        "tolerance",
        "verdict",
        "erratum",
        "reason",
    )
    row: Row = {"folder": folder, **{name: getattr(cell, name) for name in names}}
    for name, value in (("measured", cell.measured), ("reported", cell.reported)):
        is_text = isinstance(value, str)
        row |= {name: None if is_text else value, f"{name}_words": value if is_text else None}
    return row | _value("measured", row["measured"], cell.interval)


def _claim(folder: str, claim: ClaimOutcome) -> Row:
    row: Row = {"folder": folder, "claim": claim.text, "expression": claim.expr}
    row |= {name: getattr(claim, name) for name in ("suite", "where", "verdict", "reason")}
    return row | _value("value", claim.value, claim.interval)
