"""Processes of torchrun that are more than the GPUs of their machine, and a machine without any."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.command_line import vlbench
from vlbench.errors import InputError
from vlbench.evaluation import processes
from vlbench.evaluation.processes import compute_device

COMMANDS = {
    "train": ("train", "--models", "vilt", "--budget", "32"),
    "eval": ("eval", "--models", "vilt", "--task", "shapes"),
}
REFUSED = "torchrun started 4 processes on this machine, which has 2 GPUs; --nproc-per-node 2 works"
NO_GPU = "--device cuda: PyTorch sees no GPU here; --device cpu works"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3")
PATCHED = """
import sys, torch
torch.cuda.is_available, torch.cuda.device_count = (lambda: GPUS > 0), (lambda: GPUS)
from vlbench.cli.main import main
sys.argv[0] = "vlbench"
main()
"""


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(processes, "SECONDS_TO_REFUSE", 0.0)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def start(monkeypatch: pytest.MonkeyPatch, *, gpus: int, local: int | None, rank: int = 0, world: int = 1) -> None:
    """As process `rank` of the `local` ones that torchrun started on a machine with so many GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    names = {"LOCAL_WORLD_SIZE": local, "LOCAL_RANK": rank if local else None, "WORLD_SIZE": world if local else None}
    for name, value in names.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("gpus", "local", "name", "device"),
    [
        (2, 2, "cuda", "cuda"),
        (2, 1, "auto", "cuda"),
        (2, None, "cuda", "cuda"),
        (1, 1, "cuda", "cuda"),
        (2, 4, "cpu", "cpu"),
        (0, 4, "auto", "cpu"),
        (0, None, "cpu", "cpu"),
    ],
)
def test_what_works(gpus: int, local: int | None, name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, gpus=gpus, local=local, world=8)  # of several machines, so that WORLD_SIZE is more
    assert compute_device(name) == device


@pytest.mark.parametrize(
    ("gpus", "local", "name", "message"),
    [
        (2, 4, "cuda", REFUSED),
        (2, 4, "auto", REFUSED),
        (1, 2, "auto", "2 processes on this machine, which has 1 GPU; --nproc-per-node 1 works"),
        (0, None, "cuda", NO_GPU),
        (0, 4, "cuda", NO_GPU),
    ],
)
def test_one_process_says_what_would_work(
    gpus: int, local: int | None, name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(monkeypatch, gpus=gpus, local=local)
    with pytest.raises(InputError, match=f"{message}$"):
        compute_device(name)
    if local:
        start(monkeypatch, gpus=gpus, local=local, rank=1)
        with pytest.raises(SystemExit) as ended:
            compute_device(name)
        assert ended.value.code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_before_anything_is_written(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank, said in ((0, f"vlbench: {REFUSED}\n"), (3, "")):
        start(monkeypatch, gpus=2, local=4, rank=rank)
        ended = vlbench(*COMMANDS[command], "--no-latency", "--out", tmp_path / "out")
        assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", said)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_torchrun_shows_one_line(tmp_path: Path) -> None:
    said = "torchrun started 3 processes on this machine, which has 2 GPUs; --nproc-per-node 2 works"
    script = tmp_path / "command.py"
    script.write_text(PATCHED.replace("GPUS", "2"))
    command = (*TORCHRUN, script, *COMMANDS["train"], "--device", "cuda", "--out", tmp_path / "out")
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode != 0
    assert [line for line in ended.stderr.splitlines() if line.startswith("vlbench: ")] == [f"vlbench: {said}"]
