"""Two processes under torchrun train as one does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.learners import Classifier, Examples, Interrupting, course_of, network, settings
from vlbench.training.checkpoint import Interrupted
from vlbench.training.loop import train

pytestmark = pytest.mark.slow  # two processes import PyTorch and wait for each other
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

RUNS: dict[str, dict] = {
    # 9 samples per step are 4 and 5; of the last step's single sample one process gets none
    "idle": {"budget": "181", "batch": 9, "accumulate": 2},
    "norm": {"budget": "6steps", "checkpoint_seconds": 0},
    "resumed": {},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes, started once, have trained all of `RUNS` here, with the result of each in `NAME.json`."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.raises(Interrupted):
        train(Interrupting(network("linear"), {8}), Examples(), settings(), folder / "resumed")
    jobs = [
        {"folder": str(folder / name), "network": "linear" if name == "resumed" else name, "settings": values}
        for name, values in RUNS.items()
    ]
    command = [*TORCHRUN, "-m", "tests.training.learners", *map(json.dumps, jobs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for name, line in zip(RUNS, done.stdout.splitlines(), strict=True):
        (folder / f"{name}.json").write_text(line)
    return folder


def alone(folder: Path, name: str) -> nn.Module:
    learner = Classifier(network("idle" if name == "idle" else "linear"))
    train(learner, Examples(), settings(**RUNS[name]), folder)
    return learner.module


@pytest.mark.slow
@pytest.mark.parametrize("name", ["idle", "resumed"])
def test_two_processes_give_the_curve_and_the_weights_of_one(folder: Path, tmp_path: Path, name: str) -> None:
    module, shared = alone(tmp_path, name), json.loads((folder / f"{name}.json").read_text())
    pairs = list(zip(course_of(tmp_path), course_of(folder / name), strict=True))
    assert len(pairs) >= 4
    for alone_point, shared_point in pairs:
        assert {
            key: alone_point[key] for key in ("samples", "steps", "questions", "learning_rate")
        }.items() <= shared_point.items()
        for key in ("loss", "accuracy", "gradient_norm"):
            assert shared_point[key] == pytest.approx(alone_point[key], abs=1e-5), key
    for label, weights in module.state_dict().items():
        torch.testing.assert_close(torch.tensor(shared["weights"][label]), weights, atol=1e-5, rtol=0)


def test_processes_end_with_the_same_weights(folder: Path) -> None:
    assert all(json.loads((folder / f"{name}.json").read_text())["same"] for name in RUNS)


def test_statistics_of_batch_norm_are_the_first_process_s(folder: Path) -> None:
    shared = json.loads((folder / "norm.json").read_text())["weights"]
    kept = torch.load(folder / "norm" / "checkpoint.pt", weights_only=True)["module"]
    assert torch.tensor(shared["1.running_mean"]).equal(kept["1.running_mean"])


def test_only_the_first_writes(folder: Path) -> None:
    for name in RUNS:
        assert sorted(path.name for path in (folder / name).iterdir()) == ["checkpoint.pt", "training.jsonl"]
