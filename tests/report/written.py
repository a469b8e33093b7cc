"""Results folders with lines written by hand, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers import write_lines
from vlbench.runner.schemas import RESULT_SCHEMA

MACHINE = {"cpu": "EPYC 7", "cores": 2, "logical_cores": 4, "threads": 2, "ram_bytes": 16 * 2**30, "gpu": None}
MACHINE |= {"os": "Linux", "python": "3.11.7", "torch": "2.11.0", "torchvision": "0.26.0"}
WHEN = "2026-01-31T00:00:00+00:00"

SHARED = {"family": "patch", "archetype": "d", "device": "cpu", "precision": "fp32", "backend": "eager", "batch": 1}
SHARED |= {"image_size": [384, 640], "text_tokens": 40, "machine": MACHINE, "image_sha256": "0", "text": "a text"}
SHARED |= {"budget_seconds": 45, "seed": 0, "measured_at": WHEN, "vlbench_version": "0.1.0"}


def summary(median: float, low: float, high: float) -> dict[str, Any]:
    six = [low, low, median, median, high, high]
    return {"median": median, "ci95": [low, high], "p90": None, "p99": None, "n": 6, "by_restart": six}


def line(model: str, **values: Any) -> dict[str, Any]:
    """Two restarts of two samples, each a whole number of milliseconds; `visual.patch` is a step."""
    stages = {"total": [8.0], "visual": [2.0], "visual.patch": [1.0], "head": [6.0]}
    restart = {"latency_ms": [7.0, 9.0], "latency_ms_by_stage": stages, "warm_up": {"n": 1, "steady": True}}
    restart |= {"measured_at": WHEN}
    own = {
        "schema": RESULT_SCHEMA,
        "model": model,
        "status": "ok",
        "spec_hash": model,
        "cell_hash": model,
        "image_tokens": 241,
    }
    own |= {"params_total": 111_596_546, "params_trainable": 111_596_546, "macs": 25_888_869_888, "operators": 563}
    own |= {"params_by_stage": {"visual": 10}, "macs_by_stage": {"visual": 20, "text": 0}}
    own |= {"peak_memory_bytes": 500 * 2**20, "noise": {"verdict": "stable"}, "restarts": [restart, restart]}
    own |= {"latency_ms": summary(8.0, 7.0, 9.0)}
    own |= {"latency_ms_by_stage": {name: summary(value, value, value) for name, (value,) in stages.items()}}
    return SHARED | own | values


def failed(model: str, **values: Any) -> dict[str, Any]:
    """Ran out of memory before anything was known of it."""
    own = {"schema": RESULT_SCHEMA, "model": model, "spec_hash": model, "cell_hash": model}
    return SHARED | own | {"status": "failed", "error": "out of memory: 51 TB"} | values


def one_restart(model: str, **values: Any) -> dict[str, Any]:
    """A single restart of three samples and one by stage: no interval, and no verdict on noise."""
    latency = {"median": 2.0, "ci95": None, "p90": None, "p99": None, "n": 3, "by_restart": [2.0]}
    total = latency | {"median": 4.0, "n": 1, "by_restart": [4.0]}
    restart = {"latency_ms": [1, 2, 3], "latency_ms_by_stage": {"total": [4]}, "measured_at": WHEN}
    restart |= {"warm_up": {"n": 9, "steady": True}}
    own = {"schema": RESULT_SCHEMA, "model": model, "status": "ok", "spec_hash": model, "cell_hash": model}
    own |= {"latency_ms": latency, "latency_ms_by_stage": {"total": total}, "restarts": [restart]}
    return SHARED | own | values


def evaluated(model: str, value: float, low: float | None = None, high: float | None = None, **values: Any) -> Any:
    """A line of evaluations.jsonl; keys of its accuracy can be given by name."""
    ci95 = None if low is None else [low, high]
    accuracy = {"task": "shapes", "split": "test", "metric": "accuracy", "value": value, "ci95": ci95, "n": 1000}
    accuracy |= {key: values.pop(key) for key in ("task", "split", "metric") if key in values}
    metric = {"name": accuracy["metric"], "value": value, "ci95": ci95, "n": 1000}
    accuracy |= {"majority": 0.25, "metrics": [metric, {"name": "other", "value": 1.0, "ci95": None, "n": 10}]}
    own = {
        "schema": RESULT_SCHEMA,
        "model": model,
        "family": "patch",
        "weights": "model.safetensors",
        "visual_weights": "random",
    }
    own |= {
        "region_source": None,
        "detector_weights": None,
        "spec_hash": model,
        "evaluation_hash": f"{model} {accuracy['task']} {accuracy['split']}",
    }
    own |= {"accuracy": accuracy, "items": 1000, "items_total": 1000, "passes": 1000, "seconds": 1.0, "device": "cpu"}
    own |= {"precision": "fp32", "batch": 16, "processes": 1, "predictions": "p.json", "machine": MACHINE}
    return own | {"measured_at": WHEN, "vlbench_version": "0.1.0"} | values


def folder_of(path: Path, *lines: dict[str, Any], evaluations: Any = ()) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in (("cells.jsonl", lines), ("evaluations.jsonl", evaluations)):
        if content:
            write_lines(path / name, content)
    return path


def converted(model: str, backend: str, precision: str = "fp32", **values: Any) -> dict[str, Any]:
    """A line of a backend that converted the model; keys of its equality and its conversion can be given by name."""
    equality = {"inputs": 3, "largest": 2e-6, "mean": 1e-7, "tolerance": 1e-4, "largest_by_part": {"text": 1e-6}}
    equality |= {key: values.pop(key) for key in list(values) if key in equality}
    conversion = {"runtime": f"{backend} 1.2", "options": {"threads": 1, "hint": "LATENCY"}, "seconds": 12.5}
    conversion |= {"first_pass_ms": 250.0, "size_bytes": 3 * 2**20, "eager_stages": {}}
    conversion |= {key: values.pop(key) for key in list(values) if key in conversion}
    settings = {"backend": backend, "precision": precision, "scope": "stages"}
    settings |= {"cell_hash": f"{model} {backend} {precision}", "conversion": conversion | {"equality": equality}}
    return line(model, **(settings | values))
