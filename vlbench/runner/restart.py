"""One restart: what a fresh process measures of a cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from vlbench.measuring.energy import EnergyMeter
from vlbench.measuring.gpu import gpu_of
from vlbench.measuring.latency import PassTimer
from vlbench.measuring.launch import measure_launch
from vlbench.measuring.noise import Interference
from vlbench.measuring.observe import Observer, reference_kernel
from vlbench.measuring.throttling import ThrottleWatch
from vlbench.runner.aggregate import now
from vlbench.runner.cells import Cell
from vlbench.runner.input_stage import time_input
from vlbench.runner.nms_records import SuppressionCell, SuppressionRestart
from vlbench.runner.records import Restart, WarmUp
from vlbench.runner.schemas import CACHE_MS
from vlbench.runner.workload import StopWatch, WarmWorkload, prepare, set_up_torch

MOST_SAMPLING_SECONDS = 2.0  # of one restart; the speed differs between processes, so more restarts tell more
RESTART_SHARE = 1 / 20  # of the budget, if that is less
END_TO_END_SHARE = 0.6
INPUT_SHARE = 0.1  # on top of the time for passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """What watches the machine while samples are taken; `throttling` is None on a CPU."""

    observer: Observer
    energy: EnergyMeter
    throttling: ThrottleWatch | None

    def finish(self) -> Interference:
        return self.observer.finish(self.throttling.discarded if self.throttling else None)


def instruments_for(device: torch.device, members: tuple[int, ...] = ()) -> Instruments:
    """Instruments that are observing.

    Args:
        device: where this process measures.
        members: pids of the processes that take turns with this one.
    """
    gpu = gpu_of(device)
    if gpu is not None:
        gpu.members = members
    instruments = Instruments(
        observer=Observer(reference_kernel(), gpu),
        energy=EnergyMeter(gpu),
        throttling=None if gpu is None else ThrottleWatch(gpu),
    )
    instruments.observer.start()
    return instruments


def measure_restart(cell: Cell, folder: Path | None = None) -> Restart | str:
    """Measures a cell once, in this process, which should be a fresh one. A string is why the latency is invalid.

    Args:
        folder: where its converted model is, if a backend converts it.
    """
    watch = StopWatch()
    return measure_warm(prepare(cell, watch, folder), cell, watch)


def measure_warm(workload: WarmWorkload, cell: Cell, watch: StopWatch) -> Restart | str:
    """Measures what is prepared in this process, as `measure_restart` does."""
    if workload.invalid:
        return workload.invalid
    timer = workload.timer
    watch.step("warm_up")
    seconds = min(MOST_SAMPLING_SECONDS, cell.budget_seconds * RESTART_SHARE)
    warm_up, steady = timer.warm_up(workload.first_ms, 2 * seconds)
    watch.step("latency")
    instruments = instruments_for(timer.device)
    timer.throttling = instruments.throttling
    quick = workload.first_ms < CACHE_MS
    instruments.energy.start()
    end_to_end = timer.end_to_end(END_TO_END_SHARE * seconds, discarded=quick)
    joules = instruments.energy.spent()
    if timer.before or (timer.throttling and timer.throttling.discarded):
        joules = None  # other work than passes took some of it
    instruments.observer.between_blocks()
    by_stage = timer.by_stage((1 - END_TO_END_SHARE) * seconds, discarded=quick)
    interference = instruments.finish()
    launch = None
    if timer.device.type == "cuda":
        watch.step("launch")
        launch = measure_launch(timer.forward)
    watch.step("input")
    input_ms = time_input(cell, INPUT_SHARE * seconds)
    return Restart(
        latency_ms=tuple(end_to_end),
        latency_ms_by_stage={name: tuple(samples) for name, samples in by_stage.items()},
        input_ms=input_ms,
        warm_up=WarmUp(n=len(warm_up), steady=steady or timer.settled(warm_up, end_to_end, by_stage.get("total", []))),
        peak_memory_bytes=workload.peak_memory_bytes,
        detector_load=workload.load,
        joules=None if joules is None else joules / (len(end_to_end) + quick),
        launch=launch,
        interference=interference,
        seconds_by_phase=watch.spent(),
        measured_at=now(),
    )


def measure_suppression(cell: SuppressionCell) -> SuppressionRestart:
    """Times each method on the same boxes and scores, without those of the background, last in the softmax."""
    from vlbench.architectures.detector import spread_boxes  # noqa: PLC0415  both import torchvision, which is slow
    from vlbench.architectures.nms import METHODS  # noqa: PLC0415

    set_up_torch(cell.threads)
    device = torch.device(cell.device)
    generator = torch.Generator().manual_seed(0)
    scores_NC = torch.randn(cell.boxes, cell.classes + 1, generator=generator).mul(3).softmax(1)[:, :-1]
    scores_NC, boxes_N4 = scores_NC.contiguous().to(device), spread_boxes(cell.boxes, 600, 1000).to(device)
    seconds = min(MOST_SAMPLING_SECONDS, cell.budget_seconds * RESTART_SHARE) / len(METHODS)
    latency_ms = {}
    instruments = instruments_for(device)
    for name, method in METHODS.items():
        timer = PassTimer(partial(method, boxes_N4, scores_NC, cell.iou), {}, device)
        timer.warm_up(timer.first(), seconds)
        timer.throttling = instruments.throttling
        latency_ms[name] = tuple(timer.end_to_end(seconds))
        instruments.observer.between_blocks()
    return SuppressionRestart(latency_ms=latency_ms, interference=instruments.finish(), measured_at=now())
