"""A stopped run resumes as if it had not stopped, and what cannot be resumed is refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from tests.helpers import others_slow
from tests.training.learners import Classifier, Examples, Interrupting, course, course_of, digest, network, settings
from vlbench.errors import InputError
from vlbench.system.temporary import remove_leftovers
from vlbench.training.checkpoint import Interrupted, StopRequest
from vlbench.training.loop import train


@pytest.mark.parametrize("kind", ["linear", "dropout", "norm"])
@pytest.mark.parametrize(("budget", "accumulate"), [("23steps", 1), ("180", 2)])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, kind: str, budget: str, accumulate: int) -> None:
    run_settings = settings(budget=budget, accumulate=accumulate)
    whole = Classifier(network(kind), noisy=True)
    at_once = train(whole, Examples(), run_settings, tmp_path / "whole")
    for passes, kept in ((7 * accumulate, 56), (5 * accumulate, 96)):
        with pytest.raises(Interrupted) as stopped:
            train(Interrupting(network(kind), {passes}, noisy=True), Examples(), run_settings, tmp_path / "parts")
        assert stopped.value.samples == kept
        assert str(stopped.value) == f"the training of {kept} samples is kept in {tmp_path / 'parts'}"
    again = Classifier(network(kind), noisy=True)
    with torch.no_grad():
        again.module[0].weight.zero_()  # what it held before does not matter
    resumed = train(again, Examples(), run_settings, tmp_path / "parts")
    assert digest(again.module) == digest(whole.module)
    assert course(resumed) == course(at_once)
    assert course_of(tmp_path / "parts") == course_of(tmp_path / "whole")
    assert resumed.spent.samples == at_once.spent.samples


def test_a_finished_run_is_kept(tmp_path: Path) -> None:
    first = Classifier(network("norm"))
    trained = train(first, Examples(), settings(), tmp_path)
    again = Classifier(network("norm"))
    assert train(again, Examples(), settings(checkpoint_seconds=1, threads=1), tmp_path) == trained
    assert again.drawn == []
    assert digest(again.module) == digest(first.module)


def test_seconds_before_the_stop_count(tmp_path: Path) -> None:
    run_settings = settings(budget="1.5s")
    learner = Interrupting(network("linear"), {10})
    learner.seconds = 0.01
    with pytest.raises(Interrupted):
        train(learner, Examples(), run_settings, tmp_path)
    before = json_numbers(tmp_path)["spent"]["seconds"]
    assert before > 0.1
    time.sleep(0.3)  # the time between attempts does not
    start = time.perf_counter()
    trained = train(Classifier(network("linear"), seconds=0.01), Examples(), run_settings, tmp_path)
    taken = time.perf_counter() - start
    assert 1.5 <= trained.spent.seconds <= before + taken


def json_numbers(folder: Path) -> dict:
    return json.loads(torch.load(folder / "checkpoint.pt", weights_only=True)["numbers"])


def start(folder: Path, *, seconds: float, **values: object) -> subprocess.Popen:
    job = {"folder": str(folder), "network": "dropout", "seconds": seconds, "settings": values}
    command = [sys.executable, "-m", "tests.training.learners", json.dumps(job)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(happened: Callable[[], object], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = Classifier(network("dropout"), noisy=True)
    at_once = train(whole, Examples(), settings(budget="150steps"), tmp_path / "whole")
    curve, written = tmp_path / "parts" / "training.jsonl", tmp_path / "parts" / "checkpoint.pt"
    steps = 0
    for points in (2, 5):
        process = start(tmp_path / "parts", seconds=0.02, budget="150steps", checkpoint_seconds=0.02, workers=1)
        wait_until(lambda: written.exists() and curve.read_text().count("\n") >= points, process)  # noqa: B023
        time.sleep(random.random() * 0.05)
        process.kill()
        process.wait()
        reached = json_numbers(tmp_path / "parts")["spent"]["steps"]
        assert steps < reached < 150
        steps = reached
    again = Classifier(network("dropout"), noisy=True)
    resumed = train(again, Examples(), settings(budget="150steps"), tmp_path / "parts")
    assert len(again.drawn) == 150 - steps
    assert digest(again.module) == digest(whole.module)
    assert course(resumed) == course(at_once) == course_of(tmp_path / "parts")


def test_ctrl_c_of_a_process_with_workers(tmp_path: Path) -> None:
    process = start(tmp_path, seconds=0.02, budget="1h", workers=2)
    wait_until(lambda: (tmp_path / "training.jsonl").exists() and (tmp_path / "training.jsonl").read_text(), process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert stderr.strip().splitlines()[-1].startswith("vlbench.training.checkpoint.Interrupted: the training of")
    assert "Exception ignored" not in stderr
    assert json_numbers(tmp_path)["spent"]["steps"] > 0


def test_a_second_ctrl_c_stops_at_once() -> None:
    stop = StopRequest()
    stop.on_signal(signal.SIGINT, None)
    stop.on_signal(signal.SIGINT, None)  # the same one, passed on
    assert stop.requested
    stop.requested_at -= 5
    with pytest.raises(KeyboardInterrupt):
        stop.on_signal(signal.SIGINT, None)


def test_ctrl_c_works_as_before_afterwards(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    train(Classifier(network("linear")), Examples(), settings(), tmp_path / "a")
    assert signal.getsignal(signal.SIGINT) is before
    other_thread = threading.Thread(
        target=train, args=(Classifier(network("linear")), Examples(), settings(), tmp_path / "b")
    )
    other_thread.start()
    other_thread.join()
    assert (tmp_path / "b" / "checkpoint.pt").exists()


def finished(folder: Path, **values: object) -> None:
    train(Classifier(network("linear")), Examples(), settings(**values), folder, identity={"model": "a"})


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"learning_rate": 0.5}, r"with learning rate 0.01, but this run has 0.5"),
        ({"batch": 4}, r"with batch 8, but this run has 4"),
        ({"seed": 3}, r"with seed 0, but this run has 3"),
        ({"clip": None}, r"with clip 5.0, but this run has none"),
        ({"budget": "30steps"}, r"with budget 20 steps, but this run has 30 steps"),
        ({"precision": "bf16"}, r"with precision fp32, but this run has bf16"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, values: dict, why: str) -> None:
    finished(tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes(), (tmp_path / "training.jsonl").read_bytes()
    with pytest.raises(
        InputError, match=rf"checkpoint.pt: was trained {why}.*; .* another folder starts again"
    ) as error:
        finished(tmp_path, **values)
    assert "\n" not in str(error.value)
    assert before == ((tmp_path / "checkpoint.pt").read_bytes(), (tmp_path / "training.jsonl").read_bytes())


def test_another_model_is_refused(tmp_path: Path) -> None:
    finished(tmp_path)
    with pytest.raises(InputError, match=r"with model a, but this run has b"):
        train(Classifier(network("linear")), Examples(), settings(), tmp_path, identity={"model": "b"})
    with pytest.raises(InputError, match=r"with objectives none, but this run has itm"):
        train(
            Classifier(network("linear")),
            Examples(),
            settings(),
            tmp_path,
            identity={"model": "a", "objectives": "itm"},
        )
    wider = nn.Sequential(nn.Linear(6, 20), nn.Identity(), nn.Tanh(), nn.Linear(20, 3))
    with pytest.raises(InputError, match=r"another model: 0.weight is \(16, 6\) there and \(20, 6\) here"):
        train(Classifier(wider), Examples(), settings(), tmp_path, identity={"model": "a"})
    with pytest.raises(InputError, match=r"with trained tensors 4, but this run has 6"):
        train(Classifier(network("norm")), Examples(), settings(), tmp_path, identity={"model": "a"})


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    finished(tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"checkpoint.pt: damaged, or not a checkpoint of this version; delete it"):
        finished(tmp_path)


def test_a_kill_while_writing_does_no_harm(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(Interrupting(network("dropout"), {6}), Examples(), settings(), tmp_path)
    (tmp_path / "checkpoint.pt.unfinished").write_bytes(b"half of it")
    learner, whole = Classifier(network("dropout")), Classifier(network("dropout"))
    train(learner, Examples(), settings(), tmp_path)
    train(whole, Examples(), settings(), tmp_path / "whole")
    assert digest(learner.module) == digest(whole.module)
    assert not (tmp_path / "checkpoint.pt.unfinished").exists()


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """A checkpoint is written after every step, so that some kills fall within its writing."""
    whole = Classifier(network("dropout"), noisy=True)
    at_once = train(whole, Examples(), settings(budget="400steps"), tmp_path / "whole")
    curve, moments = tmp_path / "parts" / "training.jsonl", random.Random(0)
    for _ in range(3):
        lines = len(curve.read_text().splitlines()) if curve.exists() else 0
        process = start(tmp_path / "parts", seconds=0.01, budget="400steps", checkpoint_seconds=0)
        wait_until(lambda before=lines: curve.exists() and len(curve.read_text().splitlines()) > before, process)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.wait()
    resumed = Classifier(network("dropout"), noisy=True)
    result = train(resumed, Examples(), settings(budget="400steps"), tmp_path / "parts")
    assert digest(resumed.module) == digest(whole.module)
    assert course(result) == course(at_once)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["checkpoint.pt", "training.jsonl"]


DAMAGES: dict[str, Callable[[dict], object]] = {
    "no mapping": lambda _: [1, 2],
    "a number for a tensor": lambda content: content | {"module": dict.fromkeys(content["module"], 1)},
    "no optimiser": lambda content: content | {"optimiser": {}},
    "state of other parameters": lambda content: content | {"optimiser": content["optimiser"] | {"param_groups": []}},
    "momentum of another shape": lambda content: (
        content["optimiser"]["state"][0].update(exp_avg=torch.zeros(1)) or content
    ),
    "no momentum": lambda content: content["optimiser"]["state"][0].pop("exp_avg") is not None and content,
    "numbers that are no JSON": lambda content: content | {"numbers": "{"},
    "another format": lambda content: content | {"format": 99},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path, damage: Callable[[dict], object]) -> None:
    with pytest.raises(Interrupted):
        train(Interrupting(network("linear"), {6}), Examples(), settings(), tmp_path)
    path = tmp_path / "checkpoint.pt"
    torch.save(damage(torch.load(path, weights_only=True)), path)
    with pytest.raises(InputError, match=r"checkpoint\.pt: damaged, or not a checkpoint of this version; delete it"):
        train(Classifier(network("linear")), Examples(), settings(), tmp_path)


@pytest.mark.parametrize("name", ["checkpoint.pt", "training.jsonl"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: is a (pipe|folder), not a file"):
        train(Classifier(network("linear")), Examples(), settings(), tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(
    tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the last step is that of the weights before it, so it does not show this."""

    def overflowing(parameters: list[nn.Parameter], _clip: float | None) -> torch.Tensor:
        parameters[0].data.fill_(value)
        return torch.tensor(1.0)

    monkeypatch.setattr("vlbench.training.loop.clip_gradient", overflowing)
    with pytest.raises(InputError, match="weight is not finite; a lower learning rate or fp32 works"):
        train(Classifier(network("linear")), Examples(), settings(budget="1steps"), tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        train(Interrupting(network("linear"), {6}), Examples(), settings(), tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(*_paths: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match=r"checkpoint.pt: cannot be written \(No space left on device\); the last one"):
        train(Classifier(network("linear")), Examples(), settings(), tmp_path)
    assert not (tmp_path / "checkpoint.pt.unfinished").exists()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_folder_has_one_process_that_trains(tmp_path: Path) -> None:
    process = start(tmp_path, seconds=0.05, budget="1h", workers=1)
    wait_until(lambda: (tmp_path / "training.jsonl").exists(), process)
    with pytest.raises(InputError, match="another process trains there"):
        finished(tmp_path)
    process.kill()
    process.wait()
    finished(tmp_path)
    assert (tmp_path / "checkpoint.pt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", others_slow([signal.SIGKILL, signal.SIGTERM]))
def test_its_workers_end_with_it_and_their_temporary_files_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    with tempfile.TemporaryDirectory() as name:  # short, as paths of sockets have to be
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr("tempfile.tempdir", name)
        process, folder = start(tmp_path, seconds=0.05, budget="1h", workers=2), Path(name)
        try:
            wait_until(lambda: [*folder.glob("vlbench-*/files/pymp-*")], process)
            workers = psutil.Process(process.pid).children()
        finally:
            process.send_signal(number)
            process.wait()
        assert not psutil.wait_procs(workers, timeout=5)[1]
        remove_leftovers()
        assert not [*folder.glob("vlbench-*"), *folder.glob("pymp-*")]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^--out .*file: cannot be written"):
        finished(tmp_path / "file")
