"""The training record in the results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.learners import settings
from vlbench.evaluation.processes import Process
from vlbench.training.budget import Spent
from vlbench.training.loop import TrainingResult
from vlbench.training.train import training_record


def test_the_detector_s_time_and_macs_count_and_its_samples_do_not() -> None:
    detector = TrainingResult(
        spent=Spent(samples=100, steps=10, seconds=7.0, macs=1e9, waiting_seconds=0.7), history=()
    )
    model = TrainingResult(spent=Spent(samples=400, steps=50, seconds=20.0, macs=2e9, waiting_seconds=2.0), history=())
    phases = {"detector": detector, "training": model}
    record = training_record(phases, settings(seed=5, threads=2), preset="tiny", device="cpu", process=Process(world=2))
    assert (record.samples, record.steps, record.seconds, record.macs) == (400, 50, 27.0, 3e9)
    assert record.waiting_share == pytest.approx(0.1)
    assert record.seconds_by_phase == {"detector": 7.0, "training": 20.0}
    assert (record.preset, record.seed, record.batch, record.processes, record.threads) == ("tiny", 5, 8, 2, 2)
    uncounted = phases | {"detector": replace(detector, spent=replace(detector.spent, macs=0.0))}
    assert training_record(uncounted, settings(), preset="tiny", device="cpu", process=Process()).macs is None
