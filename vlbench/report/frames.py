"""Results folders as tidy data frames: one row per measurement, plain units, names as in the files. Accuracies join
measurements by the hash of the model's spec."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from vlbench.measure.statistics import LatencySummary
from vlbench.report import columns
from vlbench.report.columns import Row
from vlbench.report.folders import Folder, read_folders
from vlbench.report.labels import cell_names
from vlbench.runner.records import Accuracy, Evaluation, Result
from vlbench.suites.outcomes import ClaimOutcome, ReproducedCell

WHOLE = "end to end"  # the stage of a sample that is of a whole pass, nothing hooked
PLAIN: tuple[str, ...] = (
    "archetype",
    "text_tokens",
    "image_tokens",
    "weights",
    "params_total",
    "params_trainable",
    "macs",
    "flops",
)
PLAIN += ("bytes_moved", "operators", "peak_memory_bytes", "status", "error", "spec_hash", "cell_hash", "measured_at")
PLAIN += ("vlbench_version",)  # keys of a line that are columns as they stand
PEAKS = ("device", "precision", "threads", "gflops_per_second", "gigabytes_per_second")


def read(*folders: str | Path) -> Results:
    """The results of one folder or several, as data frames.

    A folder without results of its own stands for all below it that hold some. Raises InputError where there are none,
    or a file is damaged.
    """
    return Results(read_folders([Path(folder) for folder in folders]))


class Results:
    """What results folders hold. Times are in milliseconds, sizes in bytes, shares between 0 and 1.

    Every frame has `folder`, and those of measurements `cell`, the cell's name within its folder: its model, and those
    settings by which it differs from other cells of that model. `_low` and `_high` are the ends of a 95% interval, and
    nothing (NA, NaN) stands for what was not measured. Columns and their kinds are the same whatever is held; see
    `columns.py`. docs/results.md explains the figures.

    Attributes:
        cells: a row a cell: what was measured, with what settings, and its counts, memory, latency and noise.
        stages: a row a cell and stage.
        samples: a row a sample: of a whole pass, or of a stage in a pass by stage; those of every restart, disturbed
            ones too.
        accuracy: a row a model, task, split and metric.
        peaks: a row a machine, device and precision: what it reaches at the most, in 10^9 FLOPs and bytes a second.
        reported: a row a figure of a suite: measured beside reported; `_words` hold what is no number.
        claims: a row a claim of a paper, with its verdict.
    """

    def __init__(self, folders: Sequence[Folder]) -> None:
        self.folders = tuple(folders)

    @cached_property
    def named(self) -> tuple[tuple[str, str, Result], ...]:
        """Folder, cell and result of every cell, in the order of `cells`."""
        return tuple(
            (folder.label, name, result)
            for folder in self.folders
            for name, result in zip(cell_names(folder.results), folder.results, strict=True)
        )

    @cached_property
    def cells(self) -> pd.DataFrame:
        return columns.frame((_cell(*one) for one in self.named), columns.CELLS)

    @cached_property
    def stages(self) -> pd.DataFrame:
        return columns.frame((row for one in self.named for row in _stages(*one)), columns.STAGES)

    @cached_property
    def samples(self) -> pd.DataFrame:
        return _samples(self.named)

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        rows = (row for folder in self.folders for one in folder.evaluations for row in _accuracies(folder.label, one))
        return columns.frame(rows, columns.ACCURACY)

    @cached_property
    def peaks(self) -> pd.DataFrame:
        rows = (
            {"folder": folder.label, "machine": one.machine.in_few_words()}
            | {name: getattr(one, name) for name in PEAKS}
            for folder in self.folders
            for one in folder.peaks
        )
        return columns.frame(rows, columns.PEAKS)

    @cached_property
    def reported(self) -> pd.DataFrame:
        rows = (
            _reported(folder.label, one)
            for folder in self.folders
            for one in (folder.reproduced.cells if folder.reproduced else ())
        )
        return columns.frame(rows, columns.REPORTED)

    @cached_property
    def claims(self) -> pd.DataFrame:
        rows = (
            _claim(folder.label, one)
            for folder in self.folders
            for one in (folder.reproduced.claims if folder.reproduced else ())
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
        **_summary("latency_ms", latency),
        "latency_ms_p90": latency.p90 if latency else None,
        "restarts": len(latency.by_restart) if latency else None,
        "noise": noise.verdict if noise else None,
        "noise_reasons": "; ".join(noise.reasons) or None if noise else None,
        "torch": result.machine.torch,
    }


def _summary(name: str, summary: LatencySummary | None) -> Row:
    low, high = (summary.ci95 if summary else None) or (None, None)
    return {name: summary.median if summary else None, f"{name}_low": low, f"{name}_high": high}


def _stages(folder: str, cell: str, result: Result) -> Iterator[Row]:
    """`of` is the stage that a step belongs to, nothing for a stage itself; `share` is of the pass by stage."""
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
            **_summary("latency_ms", summary),
            **{name: by_stage.get(stage) for name, by_stage in counts.items()},
        }


def _samples(named: Sequence[tuple[str, str, Result]]) -> pd.DataFrame:
    """Built by columns: there are ten thousands of rows."""
    rows: list[Row] = []
    taken: list[Sequence[float]] = []
    for folder, cell, result in named:
        identity = _identity(folder, cell, result)
        for number, restart in enumerate(result.restarts, start=1):
            for stage, samples in {WHOLE: restart.latency_ms, **restart.latency_ms_by_stage}.items():
                rows.append({**identity, "restart": number, "stage": stage})
                taken.append(samples)
    counts = [len(samples) for samples in taken]
    shared = {name: kind for name, kind in columns.SAMPLES.items() if name not in ("sample", "latency_ms")}
    places = np.repeat(np.arange(len(rows)), counts)
    found = columns.frame(rows, shared).iloc[places].reset_index(drop=True)
    found["sample"] = columns.series([place for count in counts for place in range(1, count + 1)], columns.COUNT)
    found["latency_ms"] = columns.series(list(chain.from_iterable(taken)), columns.FIGURE)
    return found


def _accuracies(folder: str, one: Evaluation) -> Iterator[Row]:
    """The first metric of a model; blind baselines are of that one alone."""
    accuracy, training = one.accuracy, one.training
    for metric in accuracy.metrics:
        first = metric.name == accuracy.metric
        low, high = metric.ci95 or (None, None)
        yield {
            **{"folder": folder, "model": one.model, "family": one.family, "weights": one.weights},
            **{"task": accuracy.task, "split": accuracy.split, "metric": metric.name, "first": first},
            **{"value": metric.value, "value_low": low, "value_high": high, "n": metric.n},
            "majority": accuracy.majority if first else None,
            "text_only": accuracy.text_only if first else None,
            "shuffled_images": accuracy.shuffled_images if first else None,
            **{"preset": training.preset if training else None, "seed": training.seed if training else None},
            "training_seconds": training.seconds if training else None,
            "spec_hash": one.spec_hash,
        }


def _reported(folder: str, one: ReproducedCell) -> Row:
    """`measured_words` and `reported_words` hold what is no number."""
    low, high = one.interval or (None, None)
    row: Row = {"folder": folder, "suite": one.suite, "row": one.row, "model": one.model, "quantity": one.quantity}
    for name, value in (("measured", one.measured), ("reported", one.reported)):
        row |= {name: None, f"{name}_words": None}
        row[f"{name}_words" if isinstance(value, str) else name] = value
    row |= {"unit": one.unit, "category": one.category, "measured_low": low, "measured_high": high}
    row |= {"error": one.error, "tolerance": one.tolerance, "verdict": one.verdict}
    return row | {"erratum": one.erratum, "reason": one.reason}


def _claim(folder: str, one: ClaimOutcome) -> Row:
    low, high = one.interval or (None, None)
    row: Row = {"folder": folder, "suite": one.suite, "claim": one.text, "where": one.where, "verdict": one.verdict}
    row |= {"value": one.value, "value_low": low, "value_high": high}
    return row | {"expression": one.expr, "reason": one.reason}


Key = tuple[str, str, str]  # task, split, metric


class Accuracies:
    """What models answer right, by task, split and metric: that in a cell's own folder, or else the latest of all."""

    def __init__(self, folders: Sequence[Folder]) -> None:
        self._by_key: dict[Key, dict[tuple[str | None, str], Accuracy]] = {}
        evaluations = [(folder.label, one) for folder in folders for one in folder.evaluations]
        for label, one in sorted(evaluations, key=lambda pair: pair[1].measured_at):
            accuracy = one.accuracy
            own = self._by_key.setdefault((accuracy.task, accuracy.split, accuracy.metric), {})
            own[label, one.spec_hash] = own[None, one.spec_hash] = accuracy

    @property
    def keys(self) -> list[Key]:
        """Every task, split and metric, in alphabetical order."""
        return sorted(self._by_key)

    def of(self, key: Key, folder: str, spec_hash: str) -> Accuracy | None:
        own = self._by_key.get(key, {})
        return own.get((folder, spec_hash)) or own.get((None, spec_hash))

    def keys_of(self, named: Iterable[tuple[str, str, Result]]) -> list[Key]:
        """Those that some of these cells' models were asked."""
        hashes = {(folder, result.spec_hash) for folder, _, result in named}
        return [key for key in self.keys if any(self.of(key, *one) for one in hashes)]
