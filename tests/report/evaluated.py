"""Made-up results and evaluations of the same models."""

from __future__ import annotations

from vlbench.inputs import read_example
from vlbench.measuring.machine import describe_machine
from vlbench.measuring.statistics import LatencySummary
from vlbench.runner.cells import blank_result
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.records import Accuracy, Evaluation, Result
from vlbench.specs.catalog import catalog

MACHINE = describe_machine(threads=1, gpu=None)
WHEN = "2026-01-31T00:00:00+00:00"
(CELL,) = expand([catalog()["vilt-b32"]], read_example(None, None), RunSettings(threads=1), MACHINE)


def result(name: str, latency_ms: float | None, macs: int | None = 10**9, **values: object) -> Result:
    """A model's cell, its latency known to 10%; none where it failed."""
    family = next((one for one in ("grid", "region") if one in name), "patch")
    own: dict[str, object] = {"model": name, "family": family, "spec_hash": name, "status": "failed", "macs": macs}
    if latency_ms is not None:
        six = tuple(latency_ms * share for share in (0.95, 0.97, 1.0, 1.0, 1.02, 1.05))
        interval = (0.95 * latency_ms, 1.05 * latency_ms)
        own["status"] = "ok"
        own["latency_ms"] = LatencySummary(median=latency_ms, ci95=interval, p90=None, p99=None, n=60, by_restart=six)
    return blank_result(CELL, MACHINE, measured_at=WHEN, **own).model_copy(update=values)


def evaluation(name: str, value: float, *, spread: float | None = 0.02, **values: object) -> Evaluation:
    """A model's accuracy, known to `spread`; keys of `Accuracy` and of `Evaluation` can be given by name."""
    accuracy: dict[str, object] = {
        "task": "shapes",
        "split": "test",
        "metric": "accuracy",
        "value": value,
        "ci95": None if spread is None else (value - spread, value + spread),
        "n": 1000,
        "majority": 0.25,
        "text_only": 0.45,
        "shuffled_images": 0.4,
    }
    accuracy |= {key: values.pop(key) for key in list(values) if key in Accuracy.model_fields}
    family = next((one for one in ("grid", "region") if one in name), "patch")
    own: dict[str, object] = {
        "model": name,
        "family": family,
        "weights": "model.safetensors",
        "visual_weights": "random",
    }
    own |= {
        "region_source": None,
        "detector_weights": None,
        "spec_hash": name,
        "evaluation_hash": f"{name} {value}",
        "items": 1000,
        "items_total": 1000,
    }
    own |= {"passes": 1000, "seconds": 1.0, "device": "cpu", "precision": "fp32", "batch": 16, "processes": 1}
    own |= {"predictions": "p.json", "machine": MACHINE, "measured_at": WHEN, "vlbench_version": "0"}
    return Evaluation(**(own | {"accuracy": Accuracy(**accuracy)} | values))
