"""`train` and `eval` give back a GPU's memory before a worker measures the latency on it."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
import torch

from tests.command_line import vlbench
from tests.helpers import write_tiny
from vlbench.architectures.vl_model import VLModel
from vlbench.cli.evaluate import measured_latency
from vlbench.runner.plan import RunSettings
from vlbench.specs.catalog import catalog
from vlbench.tasks.shapes import items

SHORT = ("--threads", "1", "--batch", "16", "--workers", "0", "--device", "cpu")


class MeasuredError(Exception):
    """Raised in the place of the measurement."""


def models_alive() -> int:
    return sum(issubclass(type(each), VLModel) for each in gc.get_objects())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens to the GPU, in order, up to the measurement."""
    made: list[str] = []
    gc.collect()
    of_other_tests = models_alive()

    def measure(*_: object, **__: object) -> None:
        made.append(f"measured beside {models_alive() - of_other_tests} models")
        raise MeasuredError

    monkeypatch.setattr("vlbench.runner.benchmark.benchmark", measure)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: made.append("emptied"))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(items, "SCENES", {"test": 3, "val": 2, "train": 20})
    return made


@pytest.mark.parametrize("command", ["train", "eval"])
def test_before_the_latency_no_model_is_left(command: str, tmp_path: Path, calls: list[str]) -> None:
    options = {
        "train": ("--models", "vilt", "--budget", "32"),
        "eval": ("--models", write_tiny(tmp_path), "--task", "shapes"),
    }
    with pytest.raises(MeasuredError):
        vlbench(command, *options[command], *SHORT, "--out", tmp_path / "out")
    assert calls == ["emptied", "measured beside 0 models"]


def measure() -> None:
    with pytest.raises(MeasuredError):
        measured_latency([catalog()["vilt-b32"]], Path(), [RunSettings(device="cpu", threads=1, budget_seconds=1.0)])


def test_what_only_a_cycle_keeps_is_given_back(calls: list[str]) -> None:
    cycle = [VLModel.__new__(VLModel)]
    cycle.append(cycle)  # type: ignore[arg-type]
    del cycle
    measure()
    assert calls == ["emptied", "measured beside 0 models"]


def test_a_gpu_that_was_never_used_is_left_alone(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    measure()
    assert "emptied" not in calls


def test_pytorch_is_not_imported_for_it(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    measure()
    assert "torch" not in sys.modules
    assert "emptied" not in calls
