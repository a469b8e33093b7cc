"""How passes on a GPU are timed, on a clock that only the tests move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, count, repeat
from statistics import median

import pytest
import torch
from torch import nn

from tests.gpu.fake_cuda import Clock, FakeCuda, install
from tests.gpu.fake_nvml import HOT, FakeGpu, FakeNvml
from vlbench.measuring import latency, launch, throttling
from vlbench.measuring.latency import PassTimer, l2_flush
from vlbench.measuring.launch import covered, measure_launch
from vlbench.measuring.nvml import Gpu
from vlbench.measuring.throttling import ThrottleWatch

CUDA = torch.device("cuda")


@pytest.fixture
def gpu() -> FakeGpu:
    return FakeGpu()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu) -> FakeCuda:
    clock = Clock()
    for module in (latency, launch, throttling):
        monkeypatch.setattr(module, "time", clock)
    return install(monkeypatch, clock, nvml=FakeNvml(gpu))


def timer(cuda: FakeCuda, gpu_ms: Iterator[float], *, host_ms: float = 0.1) -> PassTimer:
    return PassTimer(lambda: cuda.launch(host_ms, next(gpu_ms)), {}, CUDA)


def test_events_time_the_gpu_and_not_the_launch(cuda: FakeCuda) -> None:
    passes = timer(cuda, repeat(8.0), host_ms=0.2)
    assert passes.end_to_end(0, least=5) == pytest.approx([8.2] * 5, rel=0.01)


def test_a_lazy_first_pass_neither_sizes_nor_ends_the_warm_up(cuda: FakeCuda) -> None:
    """Loading kernels takes 2 s; then the clock rises for 0.2 s. Measuring must begin after that."""
    slow = [2_000.0, 30.0, 14.0, 10.0]
    ramp = [10.0 - 0.2 * step for step in range(25)]
    passes = timer(cuda, chain(slow, ramp, repeat(5.0)))
    samples, steady = passes.warm_up(passes.first(), 4)
    assert steady
    assert samples[:4] == pytest.approx([value + 0.1 for value in slow], rel=0.01)
    assert samples[-28:] == pytest.approx([5.1] * 28, rel=0.01), "two windows of a tenth of a second, at full clock"
    assert sum(samples[4:]) >= 300


def test_a_first_pass_longer_than_the_time_does_not_end_it(cuda: FakeCuda) -> None:
    passes = timer(cuda, chain([6_000.0], repeat(5.0)))
    samples, steady = passes.warm_up(passes.first(), 4)
    assert steady
    assert sum(samples[1:]) >= 300


def test_the_gpu_is_busy_for_300_ms_however_steady_it_is(cuda: FakeCuda) -> None:
    passes = timer(cuda, repeat(1.0))
    passes.warm_up(passes.first(), 4)
    assert sum(end - begin for begin, end in cuda.kernels) >= 0.3 * 1 / 1.1


def test_what_never_settles_is_said(cuda: FakeCuda) -> None:
    passes = timer(cuda, (5 * 1.02**number for number in count()))
    samples, steady = passes.warm_up(passes.first(), 1)
    assert not steady
    assert len(samples) > 40


def test_a_cold_cache_is_emptied_before_each_sample_outside_its_time(cuda: FakeCuda) -> None:
    order: list[str] = []
    passes = PassTimer(lambda: (order.append("pass"), cuda.launch(0.1, 2.0)), {}, CUDA)

    def flush() -> None:
        order.append("flush")
        cuda.launch(0.01, 50.0)

    passes.before = flush
    assert passes.end_to_end(0, least=3) == pytest.approx([2.1] * 3, rel=0.01)
    assert order == ["flush", "pass"] * 3


def test_the_buffer_is_four_times_the_cache(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, torch.device]] = []
    empty = torch.empty

    def record(size: int, *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        asked.append((size * dtype.itemsize, device))
        return empty(1, dtype=dtype)

    monkeypatch.setattr(torch, "empty", record)
    assert l2_flush(CUDA)() is not None
    assert asked == [(4 * 60 * 2**20, CUDA)]


class Slowed(nn.Module):
    """A pass of 10 ms, or of 20 while the GPU is hot."""

    def __init__(self, cuda: FakeCuda, is_hot: Callable[[], bool]) -> None:
        super().__init__()
        self.cuda, self.is_hot = cuda, is_hot

    def forward(self) -> None:
        self.cuda.launch(0.0, 20.0 if self.is_hot() else 10.0)


@pytest.mark.parametrize("staged", [False, True])
def test_samples_of_a_slowed_gpu_are_discarded_and_it_is_left_to_cool(
    cuda: FakeCuda, gpu: FakeGpu, staged: bool
) -> None:
    gpu.reasons = [0, 0, HOT, HOT, 0]  # hot at the third look, and after the first rest
    module = Slowed(cuda, lambda: 1 < 5 - len(gpu.reasons) < 4)
    passes = PassTimer(module, {"all": module} if staged else {}, CUDA)
    passes.throttling = ThrottleWatch(Gpu())
    begun = cuda.clock.monotonic()
    samples = passes.by_stage(1.0)["total"] if staged else passes.end_to_end(1.0)
    assert samples == pytest.approx([10.0] * len(samples), rel=0.02)
    assert passes.throttling.discarded > 0
    assert 90 <= len(samples) <= 101, "the time of cooling is not taken from that of measuring"
    assert cuda.clock.monotonic() - begun > 1 + 0.5 + 1.0 + 0.3


def test_a_gpu_that_stays_hot_is_measured_so_after_a_while(cuda: FakeCuda, gpu: FakeGpu) -> None:
    gpu.reasons = [HOT]
    passes = PassTimer(Slowed(cuda, lambda: True), {}, CUDA)
    passes.throttling = ThrottleWatch(Gpu())
    begun = cuda.clock.monotonic()
    assert len(passes.end_to_end(0, least=7)) == 7
    assert 15 <= cuda.clock.monotonic() - begun < 25


def test_a_power_cap_is_no_reason(cuda: FakeCuda, gpu: FakeGpu) -> None:
    gpu.reasons = [0x4]
    passes = PassTimer(Slowed(cuda, lambda: False), {}, CUDA)
    passes.throttling = ThrottleWatch(Gpu())
    passes.end_to_end(0.5)
    assert passes.throttling.discarded == 0


@pytest.mark.parametrize(
    ("kernels", "host_ms", "wall", "busy"),
    [
        ([1.0] * 4, 2.0, 9.0, 4.0),  # bound by the host: each kernel waits for its launch
        ([8.0] * 4, 0.5, 32.5, 32.0),
    ],
)
def test_a_pass_divides_into_launching_and_computing(
    cuda: FakeCuda, kernels: list[float], host_ms: float, wall: float, busy: float
) -> None:
    def forward() -> None:
        for gpu_ms in kernels:
            cuda.launch(host_ms, gpu_ms)

    measured = measure_launch(forward)
    assert measured.host_ms == pytest.approx(4 * host_ms, rel=0.01)
    assert measured.wall_ms == pytest.approx(wall, rel=0.01)
    assert measured.gpu_busy_ms == pytest.approx(busy, rel=0.01)
    assert measured.gpu_busy_share == pytest.approx(busy / wall, rel=0.02)


def test_a_slow_pass_is_not_repeated_much(cuda: FakeCuda) -> None:
    passes = []
    measured = measure_launch(lambda: (passes.append(1), cuda.launch(1.0, 900.0)))
    assert measured.gpu_busy_ms == pytest.approx(900)
    assert len(passes) == 2


def test_without_kernels_in_the_profile_the_share_is_unknown(cuda: FakeCuda) -> None:
    measured = measure_launch(lambda: cuda.clock.sleep(0.002))
    assert measured.gpu_busy_ms is None
    assert measured.gpu_busy_share is None


def test_overlapping_kernels_count_once() -> None:
    assert covered([(5, 7), (0, 2), (1, 3), (1.5, 2.5), (6, 6.5)]) == 3 + 2
    assert covered([]) == 0


@pytest.mark.gpu
def test_a_real_gpu_is_waited_for() -> None:
    matrix = torch.randn(8192, 8192, device="cuda")
    passes = PassTimer(lambda: matrix @ matrix, {}, CUDA)
    passes.warm_up(passes.first(), 1)
    measured = measure_launch(lambda: matrix @ matrix)
    assert measured.gpu_busy_share is not None
    assert measured.gpu_busy_share > 0.9
    assert median(passes.end_to_end(1)) == pytest.approx(measured.wall_ms, rel=0.1)
