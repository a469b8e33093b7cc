"""What training took, as the results have it."""

from __future__ import annotations

from dataclasses import replace

from tests.training.learners import settings
from vlbench.evaluation.processes import Process
from vlbench.training.budget import Spent
from vlbench.training.loop import Trained
from vlbench.training.train import recorded


def test_the_detector_s_time_and_macs_count_and_its_samples_do_not() -> None:
    detector = Trained(spent=Spent(samples=100, steps=10, seconds=7.0, macs=1e9), history=())
    model = Trained(spent=Spent(samples=400, steps=50, seconds=20.0, macs=2e9), history=())
    phases = {"detector": detector, "training": model}
    found = recorded(phases, settings(seed=5, threads=2), preset="tiny", device="cpu", process=Process(world=2))
    assert (found.samples, found.steps, found.seconds, found.macs) == (400, 50, 27.0, 3e9)
    assert found.seconds_by_phase == {"detector": 7.0, "training": 20.0}
    assert (found.preset, found.seed, found.batch, found.processes, found.threads) == ("tiny", 5, 8, 2, 2)
    uncounted = phases | {"detector": replace(detector, spent=replace(detector.spent, macs=0.0))}
    assert recorded(uncounted, settings(), preset="tiny", device="cpu", process=Process()).macs is None
