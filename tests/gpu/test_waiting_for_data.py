"""How long training waits for data: on a clock that goes on only as batches and steps take their time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.command_line import vlbench
from tests.training.learners import Examples, Interrupting, network, settings
from vlbench.evaluation.session import EvaluationRun
from vlbench.runner.records import Training
from vlbench.tasks.shapes import items
from vlbench.training.budget import Spent
from vlbench.training.checkpoint import Interrupted, read_checkpoint
from vlbench.training.curve import CurvePoint
from vlbench.training.learner import Losses
from vlbench.training.loop import train
from vlbench.training.progress import TrainingListener, TrainingProgress, in_words
from vlbench.training.train import TrainingRun
from vlbench.training.waiting import AwaitedBatches


class Clock:
    """Stands in for the wall clock: it goes on only as batches and steps take their time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stands = Clock()
    monkeypatch.setattr("time.perf_counter", stands)
    return stands


class SlowExamples:
    """Batches of `seconds` each."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    def batch(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        self.clock.now += self.seconds
        return Examples().batch(start, count)


class SlowClassifier(Interrupting):
    """Steps of `step_seconds` each."""

    def __init__(self, clock: Clock, step_seconds: float, passes: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        super().__init__(network("linear"), passes)
        self.clock, self.step_seconds = clock, step_seconds

    def losses(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Losses:
        self.clock.now += self.step_seconds
        return super().losses(batch, generator)


@pytest.mark.parametrize(("waiting", "working", "share"), [(1.0, 3.0, 0.25), (0.0, 2.0, 0.0), (3.0, 0.0, 1.0)])
def test_the_share_of_waiting(waiting: float, working: float, share: float, tmp_path: Path, clock: Clock) -> None:
    progress: list[TrainingProgress] = []
    listener = TrainingListener(on_progress=progress.append)
    trained = train(
        SlowClassifier(clock, working), SlowExamples(clock, waiting), settings(), tmp_path, listener=listener
    )
    assert trained.spent.waiting_share == pytest.approx(share)
    assert [point.waiting_share for point in trained.history] == pytest.approx([share] * 4)
    lines = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert [line["waiting_share"] for line in lines] == pytest.approx([share] * 4)
    assert progress[-1].waiting_share == pytest.approx(share)
    assert f"{share:.0%} waiting for data" in in_words(progress[-1])


def test_each_point_has_the_share_since_the_last(tmp_path: Path, clock: Clock) -> None:
    stream = SlowExamples(clock, 1.0)

    class Slower(SlowClassifier):
        def losses(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Losses:
            stream.seconds = 3.0 if len(self.drawn) >= 9 else 1.0  # from the eleventh batch on
            return super().losses(batch, generator)

    trained = train(Slower(clock, 1.0), stream, settings(), tmp_path)
    assert [point.waiting_share for point in trained.history] == pytest.approx([0.5, 0.5, 0.75, 0.75])
    assert trained.spent.waiting_share == pytest.approx(40 / 60)


def test_waiting_before_an_interruption_counts(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(Interrupted):
        train(SlowClassifier(clock, 1.0, {8}), SlowExamples(clock, 3.0), settings(), tmp_path)
    clock.now += 1000
    trained = train(SlowClassifier(clock, 1.0), SlowExamples(clock, 1.0), settings(), tmp_path)
    assert (trained.spent.seconds, trained.spent.waiting_seconds) == pytest.approx((56.0, 36.0))
    assert [point.waiting_share for point in trained.history] == pytest.approx([0.75, 11 / 16, 0.5, 0.5])


def test_what_an_older_version_trained_has_an_unknown_share(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(Interrupted):
        train(SlowClassifier(clock, 1.0, {8}), SlowExamples(clock, 3.0), settings(), tmp_path)
    path = tmp_path / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    numbers = json.loads(content["numbers"])
    del numbers["spent"]["waiting_seconds"], numbers["totals"]["waiting_share"]
    for point in numbers["history"]:
        del point["waiting_share"]
    torch.save(content | {"numbers": json.dumps(numbers)}, path)
    trained = train(SlowClassifier(clock, 1.0), SlowExamples(clock, 1.0), settings(), tmp_path)
    assert trained.spent.waiting_share is None
    assert [point.waiting_share for point in trained.history] == [None, 0.5, 0.5, 0.5]
    again = read_checkpoint(tmp_path)
    assert again is not None
    assert again.spent.waiting_share is None


def test_results_of_older_versions_are_read() -> None:
    assert Training(preset="tiny", samples=1, seconds=1.0, seed=0).waiting_share is None
    point = {name: 1 for name in CurvePoint.model_fields if name not in ("loss_by_term", "waiting_share")}
    assert CurvePoint.model_validate(point | {"loss_by_term": {}}).waiting_share is None
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="waiting_share"):
            Training(preset="tiny", samples=1, seconds=1.0, seed=0, waiting_share=share)


@pytest.mark.parametrize(
    ("phases", "share"), [([(10.0, 1.0), (30.0, 9.0)], 0.25), ([(10.0, None), (30.0, 9.0)], None), ([(0.0, 0.0)], None)]
)
def test_all_phases_together(phases: list[tuple[float, float | None]], share: float | None) -> None:
    spent = Spent()
    for seconds, waiting in phases:
        spent = spent.plus(Spent(seconds=seconds, waiting_seconds=waiting))
    assert spent.waiting_share == share


class Stream:
    """A GPU that finishes its work at `free_at`, and sees an event when it comes to it."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.free_at = clock, 0.0

    def event(self, **options: object) -> Any:
        assert options == {"enable_timing": True}
        event = SimpleNamespace()
        event.record = lambda _stream: setattr(event, "at", max(self.clock.now, self.free_at))
        event.query = lambda: event.at <= self.clock.now
        event.elapsed_time = lambda other: 1000 * (other.at - event.at)
        return event


def test_a_gpu_waits_only_after_its_work(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is ahead of the GPU: while it waits for a batch, the GPU works on the last one."""
    gpu = Stream(clock)
    monkeypatch.setattr(torch.cuda, "Event", gpu.event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: gpu)

    def batches() -> Iterator[int]:
        for number, seconds in enumerate((1.0, 2.0, 2.0, 5.0)):
            clock.now += seconds
            yield number

    awaited = AwaitedBatches(batches(), torch.device("cuda"))
    waited = []
    for work in (4.0, 4.0, 0.5, 1.0):  # queued as soon as the batch is there
        next(awaited)
        gpu.free_at = max(gpu.free_at, clock.now) + work
        waited.append(awaited.take_seconds())
    # From 1 s on it has 8.5 s of work, and the last batch comes at 10 s
    assert waited == pytest.approx([1.0, 0.0, 0.0, 0.5])
    with pytest.raises(StopIteration):
        next(awaited)


def test_a_cpu_waits_for_all_of_it(clock: Clock) -> None:
    awaited = AwaitedBatches((setattr(clock, "now", clock.now + 2.0) for _ in range(3)), torch.device("cpu"))
    next(awaited)
    next(awaited)
    assert (awaited.take_seconds(), awaited.take_seconds()) == (4.0, 0.0)


def test_the_words_of_a_record() -> None:
    base = TrainingProgress(share=0, spent=Spent(), loss=None, accuracy=None, samples_per_second=9.6, seconds_left=None)
    assert in_words(replace(base, waiting_share=0.123)) == "0 samples, 10 samples/s, 12% waiting for data"
    assert in_words(base) == "0 samples, 10 samples/s"


@pytest.mark.parametrize(
    ("device", "shares", "note"),
    [
        ("cuda", (0.23, 0.04), "the GPU waited for data 23% of the training of vilt-b32-tiny; "),
        (
            "cuda",
            (0.23, 0.14),
            "the GPU waited for data 23% of the training of vilt-b32-tiny, 14% of the training of pixelbert-r50-tiny; ",
        ),
        ("cuda", (0.1, None), None),
        ("cpu", (0.9, 0.9), None),
    ],
)
def test_much_waiting_is_named_once_at_the_end(
    device: str, shares: tuple[float | None, ...], note: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = iter(shares)

    def train_one(*_: object, **__: object) -> Training:
        return Training(preset="tiny", samples=1, seconds=1.0, seed=0, waiting_share=next(coming))

    monkeypatch.setattr("vlbench.training.train.train_one", train_one)
    monkeypatch.setattr(TrainingRun, "trained_spec", property(lambda run: run.spec))
    monkeypatch.setattr("vlbench.training.trained_model.tasks_of", lambda _, task: [task])
    monkeypatch.setattr("vlbench.evaluation.session.evaluate_all", lambda *_, **__: EvaluationRun())
    monkeypatch.setattr("vlbench.evaluation.processes.compute_device", lambda _: device)
    monkeypatch.setattr(items, "SCENES", {"test": 3, "val": 2, "train": 20})
    ended = vlbench("train", "--models", "vilt,pixelbert", "--workers", 3, "--no-latency", "--out", tmp_path)
    assert ended.returncode == 0, ended.stderr
    said = [line for line in ended.stderr.splitlines() if "waited" in line]
    assert said == ([f"vlbench: {note}more --workers than 3 help"] if note else [])
