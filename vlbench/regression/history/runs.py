"""One run, that is one line of cells.jsonl, as a history has it, and the columns that it is read from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from vlbench.measuring.machine import HARDWARE, gpu_in_words

# What is read of a line of cells.jsonl, with DuckDB's types; raw samples are not.
COLUMNS = {
    "schema": "INTEGER",
    "model": "VARCHAR",
    "status": "VARCHAR",
    "error": "VARCHAR",
    "device": "VARCHAR",
    "precision": "VARCHAR",
    "backend": "VARCHAR",
    "scope": "VARCHAR",
    "batch": "INTEGER",
    "l2": "VARCHAR",
    "image_size": "INTEGER[]",
    "text_tokens": "INTEGER",
    "latency_ms": "STRUCT(median DOUBLE, ci95 DOUBLE[], by_restart DOUBLE[])",
    "noise": "STRUCT(verdict VARCHAR)",
    "machine": "JSON",
    "image_sha256": "VARCHAR",
    "text": "VARCHAR",
    "spec_hash": "VARCHAR",
    "cell_hash": "VARCHAR",
    "measured_at": "VARCHAR",
    "vlbench_version": "VARCHAR",
}
OPTIONAL = ("error", "scope", "l2", "latency_ms", "noise")

# What history adds: the folder that the line lay in; the file, by its first line, and the place in it; when it was
# measured, at no time before the line above it, as a clock may be set back; and what tells the line from all others.
ADDED = {
    "folder": "VARCHAR",
    "source": "VARCHAR",
    "position": "BIGINT",
    "ordered_at": "TIMESTAMP",
    "key": "VARCHAR",
}


@dataclass(frozen=True, slots=True, order=True)
class Hardware:
    """What a series does not cross: a GPU with its driver and settings, and memory in whole GiB, as kernels keep
    different shares of it to themselves."""

    gpu: str
    cpu: str
    cores: int
    logical_cores: int
    ram_gib: int

    def in_words(self) -> str:
        gpu = f"{self.gpu}, " if self.gpu else ""
        return f"{gpu}{self.cpu}, {self.cores} cores ({self.logical_cores} logical), {self.ram_gib} GiB"


@dataclass(frozen=True, slots=True, order=True)
class SeriesSettings:
    """What a latency depends on besides model and machine.

    `variant` is the hash of the model's definition if several definitions share a name, else empty.
    """

    device: str
    precision: str
    backend: str
    batch: int
    threads: int
    image_size: tuple[int, ...]
    text_tokens: int
    image_sha256: str
    text: str
    l2: str = ""
    scope: str = "stages"
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRun:
    """One line. `latency_ms` is the median over restarts, None without a latency; `interval_ms` its 95% interval, None
    if the restarts were too few for one.

    `software` has a version or the like for each name, `definition` the hash of the model's file.
    """

    folder: str
    source: str
    model: str
    settings: SeriesSettings
    hardware: Hardware
    definition: str
    software: Mapping[str, str] = field(hash=False)
    status: str
    error: str | None
    latency_ms: float | None
    interval_ms: tuple[float, float] | None
    restarts: int | None
    verdict: str | None
    measured_at: datetime

    @property
    def judged(self) -> bool:
        """Whether it counts for change points."""
        return self.latency_ms is not None and self.verdict != "contended"


def to_run(row: Mapping[str, Any]) -> HistoryRun:
    """A row of the table with `COLUMNS` and `ADDED`, which holds nothing but whole results."""
    hardware, threads, software = _machine(row["machine"])
    latency = row["latency_ms"] if row["status"] == "ok" else None
    restarts = latency["by_restart"] if latency else None
    return HistoryRun(
        folder=row["folder"],
        source=row["source"],
        model=row["model"],
        settings=SeriesSettings(
            device=row["device"],
            precision=row["precision"],
            backend=row["backend"],
            batch=row["batch"],
            threads=threads,
            image_size=tuple(row["image_size"]),
            text_tokens=row["text_tokens"],
            image_sha256=row["image_sha256"],
            text=row["text"],
            l2=row["l2"] or "",
            scope=row["scope"] or "stages",
        ),
        hardware=hardware,
        definition=row["spec_hash"],
        software={"vlbench": row["vlbench_version"], **software},
        status=row["status"],
        error=row["error"],
        latency_ms=latency["median"] if latency else None,
        interval_ms=_interval(latency["ci95"]) if latency else None,
        restarts=len(restarts) if restarts else None,
        verdict=(row["noise"] or {}).get("verdict"),
        measured_at=row["moment"].replace(tzinfo=UTC),
    )


@lru_cache(maxsize=1024)  # a folder's lines have one machine
def _machine(text: str) -> tuple[Hardware, int, Mapping[str, str]]:
    machine = json.loads(text)
    hardware = Hardware(
        gpu=gpu_in_words(machine),
        cpu=machine["cpu"],
        cores=machine["cores"],
        logical_cores=machine.get("logical_cores") or machine["cores"],
        ram_gib=round(machine["ram_bytes"] / 2**30),
    )
    rest = {name: value for name, value in machine.items() if name not in (*HARDWARE, "threads") and value is not None}
    return hardware, machine["threads"], {name: str(value) for name, value in rest.items()}


def _interval(bounds: Sequence[float | None] | None) -> tuple[float, float] | None:
    low, high = bounds if bounds and len(bounds) == 2 else (None, None)
    return None if low is None or high is None else (low, high)
