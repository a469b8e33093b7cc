"""Memory that runs out, and a GPU that fails, end a command in one line; errors of the program stay what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tests.command_line import vlbench
from tests.gpu.failing import HINTS, ILLEGAL, OF_CPU, failing_after, no_gpu_memory
from tests.helpers import write_tiny
from tests.tasks import data_sets
from tests.training.learners import Classifier, Examples, network, settings
from vlbench.cli.train import LESS_MEMORY
from vlbench.errors import InputError, WorkerError, device_failure, is_out_of_memory
from vlbench.evaluation.adapter import ModelUnderTest
from vlbench.evaluation.inputs import iterate
from vlbench.inputs import default_image
from vlbench.tasks.shapes import items
from vlbench.training.loop import train
from vlbench.training.progress import TrainingClock
from vlbench.training.shapes_learner import ShapesLearner

TRAIN = ("train", "--models", "vilt", "--budget", "64", "--batch", "16", "--workers", "0", "--threads", "1")
EVAL = ("--device", "cpu", "--threads", "1", "--batch", "2", "--no-latency")
FAILURES: list[tuple[Callable[[], Exception], str]] = [
    (no_gpu_memory, "the GPU is out of memory (tried to allocate 20.00 GiB)"),
    (lambda: torch.cuda.OutOfMemoryError("CUDA out of memory."), "the GPU is out of memory"),
    (lambda: torch.AcceleratorError(f"CUDA error: out of memory{HINTS}"), "the GPU is out of memory"),
    (lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "the GPU is"),
    (lambda: RuntimeError(OF_CPU), "out of memory (tried to allocate 4000000000000 bytes)"),
    (lambda: RuntimeError("std::bad_alloc"), "out of memory"),
    (MemoryError, "out of memory"),
    (lambda: torch.AcceleratorError(f"{ILLEGAL}{HINTS}"), ILLEGAL),
    (lambda: RuntimeError(f"{ILLEGAL}{HINTS}"), ILLEGAL),
    (lambda: RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    (lambda: RuntimeError(f"Caught RuntimeError in pin memory thread for device 0.\nTrace:\n {ILLEGAL}"), ILLEGAL),
]
OF_THE_PROGRAM = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    RuntimeError(""),
    RecursionError("maximum recursion depth exceeded"),
    ValueError("CUDA error in a text that is no RuntimeError"),
    KeyError("out of memory"),
]


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "SCENES", {"test": 3, "val": 2, "train": 20})


@pytest.mark.parametrize(("error", "reason"), FAILURES)
def test_what_is_recognised(error: Callable[[], Exception], reason: str) -> None:
    failure = device_failure(error())
    assert failure is not None
    assert failure.startswith(reason)
    assert "\n" not in failure
    assert is_out_of_memory(error()) == ("out of memory" in reason or reason == "the GPU is")


@pytest.mark.parametrize("error", OF_THE_PROGRAM, ids=repr)
def test_an_error_of_the_program_is_none_of_the_device(error: Exception) -> None:
    assert device_failure(error) is None
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(("error", "reason"), [FAILURES[0], FAILURES[4], FAILURES[6], FAILURES[7]])
def test_training_ends_in_one_line(
    error: Callable[[], Exception], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShapesLearner, "losses", failing_after(0, ShapesLearner.losses, error))
    ended = vlbench(*TRAIN, "--no-latency", "--out", tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    remedy = "--device cpu works without the GPU" if reason == ILLEGAL else LESS_MEMORY
    assert ended.stderr == f"vlbench: {reason}; {remedy}\n"


@pytest.mark.parametrize("place", ["model", "detector", "checkpoint"])
def test_wherever_training_runs_out_of_memory(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {
        "model": "vlbench.training.train.build",
        "detector": "vlbench.training.train.DetectorPhase.losses",
        "checkpoint": "torch.save",
    }
    monkeypatch.setattr(places[place], failing_after(0, train, no_gpu_memory))
    model = "uniter" if place == "detector" else "vilt"
    ended = vlbench(*TRAIN, "--models", model, "--no-latency", "--out", tmp_path)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("vlbench: the GPU is out of memory (tried to allocate 20.00 GiB); a smaller --batch or")
    assert "Traceback" not in ended.stderr


def test_the_last_checkpoint_is_kept_named_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--no-latency", "--out")
    assert vlbench(*TRAIN, *options, tmp_path / "whole").returncode == 0
    with monkeypatch.context() as patched:
        patched.setattr(TrainingClock, "seconds_since_checkpoint", property(lambda _: 1e9))
        patched.setattr(ShapesLearner, "losses", failing_after(2, ShapesLearner.losses, no_gpu_memory))
        ended = vlbench(*TRAIN, *options, tmp_path / "parts")
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("vlbench: ")]
    kept = tmp_path / "parts"
    assert line.endswith(f"; the training so far is kept: the same command with --out {kept} resumes")
    resumed = vlbench(*TRAIN, *options, kept)
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumes after 32 samples: {kept}" in resumed.stderr
    weights = [load_file(tmp_path / run / "vilt-b32-tiny" / "model.safetensors") for run in ("whole", "parts")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_the_evaluation_after_training_says_how_to_evaluate_with_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelUnderTest, "scores", failing_after(0, ModelUnderTest.scores, no_gpu_memory))
    ended = vlbench(*TRAIN, "--no-latency", "--out", tmp_path)
    assert ended.returncode == 1
    command = f"vlbench eval --models {tmp_path}/vilt-b32-tiny/model.yaml --task shapes --batch 8"
    assert ended.stderr.splitlines()[-1].endswith(f"; what was trained is kept, and {command} needs less")
    monkeypatch.undo()
    monkeypatch.setattr(items, "SCENES", {"test": 3, "val": 2, "train": 20})
    assert vlbench(*command.split()[1:], *EVAL, "--out", tmp_path / "evaluated").returncode == 0


@pytest.mark.parametrize(("error", "reason"), [FAILURES[0], FAILURES[4], FAILURES[6], FAILURES[7]])
def test_an_evaluation_ends_in_one_line_and_continues(
    error: Callable[[], Exception], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (
        "eval",
        "--models",
        write_tiny(tmp_path),
        "--task",
        "easy-vqa",
        "--data",
        data_sets.easy_vqa(tmp_path / "data"),
    )
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(ModelUnderTest, "scores", failing_after(1, ModelUnderTest.scores, error))
        ended = vlbench(*command, *EVAL, "--out", out)
    assert (ended.returncode, ended.stdout) == (1, "")
    remedy = "--device cpu works without the GPU" if reason == ILLEGAL else "a smaller --batch needs less"
    assert ended.stderr.splitlines()[-2:] == [
        f"vlbench: the predictions so far are kept: the same command with --out {out} continues",
        f"vlbench: {reason}; {remedy}",
    ]
    assert len(list(out.glob("*.unfinished.jsonl"))) == 2
    assert vlbench(*command, *EVAL, "--out", out).returncode == 0


def test_retrieval_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelUnderTest, "images", failing_after(1, ModelUnderTest.images, no_gpu_memory))
    command = (
        "eval",
        "--models",
        write_tiny(tmp_path),
        "--task",
        "flickr30k",
        "--data",
        data_sets.karpathy(tmp_path / "data"),
    )
    ended = vlbench(*command, *EVAL, "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith("(tried to allocate 20.00 GiB); a smaller --batch needs less")


OTHERS = {
    "vlbench.explain.look.look": (
        ("explain", "--model", "vilt", "--image", default_image(), "--text", "a woman"),
        "; --precision bf16 or --device cpu needs less of it",
    ),
    "vlbench.training.ablation.train_arms.train_one": (
        ("reproduce", "ablation-alignment", "--quick", "--device", "cpu"),
        "; --quick or --device cpu needs less of it; the same command with --out OUT resumes",
    ),
    "vlbench.files.yaml_files.models_folder": (("list", "models"), "; a smaller --batch or fewer --workers need less"),
}


@pytest.mark.parametrize("place", OTHERS)
def test_other_commands_end_in_one_line(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, remedy = OTHERS[place]
    monkeypatch.setattr(place, failing_after(0, train, no_gpu_memory))
    ended = vlbench(*arguments, *(() if "list" in arguments else ("--out", tmp_path / "out")))
    assert ended.returncode == 1
    remedy = remedy.replace("OUT", str(tmp_path / "out"))
    assert ended.stderr.splitlines()[-1] == f"vlbench: the GPU is out of memory (tried to allocate 20.00 GiB){remedy}"


@pytest.mark.parametrize("command", ["train", "eval"])
def test_a_bug_stays_a_traceback(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in ((ShapesLearner, "losses"), (ModelUnderTest, "scores")):
        monkeypatch.setattr(owner, name, failing_after(0, getattr(owner, name), lambda: OF_THE_PROGRAM[0]))
    evaluation = ("eval", "--models", write_tiny(tmp_path), "--task", "shapes", *EVAL)
    arguments = TRAIN if command == "train" else evaluation
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        vlbench(*arguments, "--no-latency", "--out", tmp_path / "out")


def test_a_full_disk_is_told_from_any_other_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`/dev/full` takes nothing: the writer of PyTorch raises a RuntimeError of its own after the OSError."""
    unfinished = tmp_path / "checkpoint.pt.unfinished"
    unfinished.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"checkpoint.pt: cannot be written \(No space left on device\); make room"):
        train(Classifier(network("linear")), Examples(), settings(), tmp_path)
    monkeypatch.setattr("torch.save", failing_after(0, torch.save, lambda: RuntimeError("unexpected pos 64 vs 0")))
    with pytest.raises(RuntimeError, match="unexpected pos"):
        train(Classifier(network("linear")), Examples(), settings(), tmp_path)
    assert not unfinished.exists()


def test_a_full_disk_for_the_weights_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """safetensors raises an error of its own, which is no OSError."""
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    monkeypatch.setattr("safetensors.torch.save_file", failing_after(0, train, lambda: full))
    ended = vlbench(*TRAIN, "--no-latency", "--out", tmp_path)
    assert ended.returncode == 2
    assert "model.safetensors: cannot be written: " in ended.stderr.splitlines()[-1]
    assert "No space left on device" in ended.stderr.splitlines()[-1]
    bug = SafetensorError("Error while serializing: tensor shared")
    monkeypatch.setattr("safetensors.torch.save_file", failing_after(0, train, lambda: bug))
    with pytest.raises(SafetensorError):
        vlbench(*TRAIN, "--no-latency", "--out", tmp_path)


class FailingData(torch.utils.data.Dataset):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise self.error


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_data_process_is_no_killed_process(workers: int) -> None:
    for error in (RuntimeError("mat1 and mat2"), RuntimeError(OF_CPU), MemoryError("no more")):
        with pytest.raises(type(error), match=str(error)[:12].replace("[", r"\[")) as raised:
            list(iterate(FailingData(error), task="reads images", workers=workers))
        assert not isinstance(raised.value, WorkerError)
        assert (device_failure(raised.value) is None) == ("mat1" in str(error))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_under_torchrun_each_process_ends_without_a_traceback_of_its_own(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "tests.gpu.failing", *TRAIN, "--no-latency", "--device", "cpu", "--out", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 1
    said = [line for line in ended.stderr.splitlines() if line.startswith("vlbench: ")]
    resumes = f"the training so far is kept: the same command with --out {tmp_path} resumes"
    assert [line for line in said if "the GPU is out of memory" in line and line.endswith(resumes)]
    others = ("vlbench: another process of torchrun ended early; what it printed says why", "vlbench: ended by SIGTERM")
    assert [line for line in said if "the GPU is out of memory" not in line] in ([others[0]], [others[1]])
    assert "vlbench/training/loop.py" not in ended.stderr  # no traceback but torchrun's own
    spent = json.loads(torch.load(tmp_path / "vilt-b32-tiny" / "checkpoint.pt", weights_only=True)["numbers"])["spent"]
    assert spent["samples"] == 32
