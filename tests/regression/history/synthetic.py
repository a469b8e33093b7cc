"""Results of runs that never were: cells.jsonl as vlbench run writes it, with latencies that are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.helpers import write_lines

FIRST = datetime(2026, 1, 5, 2, 0, tzinfo=UTC)
MACHINE = {
    "cpu": "Synthetic CPU",
    "cores": 2,
    "logical_cores": 4,
    "threads": 2,
    "ram_bytes": 16 * 2**30,
    "gpu": None,
    "os": "Linux 6.1",
    "python": "3.12.1",
    "torch": "2.14.0",
}


def line(
    model: str = "vilt-b32",
    *,
    latency_ms: float | None = 50.0,
    day: float = 0,
    spread: float = 0.01,
    machine: Mapping[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A line whose 15 restarts have exactly this median; None: a cell that failed."""
    content: dict[str, Any] = {
        "schema": 5,
        "model": model,
        "family": "patch",
        "status": "failed" if latency_ms is None else "ok",
        "error": "out of memory" if latency_ms is None else None,
        "device": "cpu",
        "precision": "fp32",
        "backend": "eager",
        "batch": 1,
        "image_size": [384, 640],
        "text_tokens": 40,
        "latency_ms": None,
        "noise": None if latency_ms is None else {"verdict": "stable", "reasons": [], "contended_restarts": 0},
        "machine": MACHINE | dict(machine or {}),
        "image_sha256": "a8ca6d73" * 8,
        "text": "A woman in a dark uniform.",
        "spec_hash": "503d9f9b8393fff2",
        "cell_hash": f"cell-of-{model}",
        "measured_at": (FIRST + timedelta(days=day)).isoformat(timespec="seconds"),
        "vlbench_version": "0.1.0",
    }
    if latency_ms is not None:
        medians = [latency_ms * (1 + spread * place / 7) for place in range(-7, 8)]
        content["latency_ms"] = {
            "median": median(medians),
            "ci95": [medians[3], medians[11]],
            "p90": None,
            "p99": None,
            "n": 3000,
            "by_restart": medians,
        }
    return content | changes


def contended(content: dict[str, Any]) -> dict[str, Any]:
    return content | {"noise": {"verdict": "contended", "reasons": ["others had 0.9 cores"], "contended_restarts": 9}}


def write_cells(folder: Path, lines: Sequence[Mapping[str, Any] | str]) -> Path:
    """cells.jsonl of these lines, a text as it stands; gives the file."""
    return write_lines(folder / "cells.jsonl", lines)


def noisy(count: int, *, level: float = 50.0, share: float = 0.01, seed: int = 0) -> np.ndarray:
    """Latencies in milliseconds about a level, with noise of this share of it."""
    return level * np.exp(np.random.default_rng(seed).normal(0, share, count))


def write_series(root: Path, latencies: Mapping[str, Sequence[float | None]], **changes: Any) -> Path:
    """A folder a day with a line a model; gives the root."""
    for day in range(max(map(len, latencies.values()))):
        lines = [
            line(model, latency_ms=values[day], day=day, **changes)
            for model, values in latencies.items()
            if day < len(values)
        ]
        write_cells(root / f"run-{day:03}", lines)
    return root
