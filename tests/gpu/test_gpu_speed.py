"""How fast a GPU is, on a stand-in for one whose kernels take the time of a clock that only the test moves."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise

import psutil
import pytest
import torch

from tests.gpu.fake_cuda import Clock, FakeCuda, OnTheCpu, install
from tests.gpu.fake_nvml import HOT, FakeGpu, FakeNvml
from vlbench.measuring import gpu_speed, peaks
from vlbench.measuring.gpu_speed import load_of, measure_gpu, reason
from vlbench.measuring.nvml import Gpu, gpu_count
from vlbench.measuring.peaks import Kernel, fastest_kernel, seconds_of
from vlbench.measuring.records import GpuLoad

CUDA = torch.device("cuda")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (peaks, gpu_speed):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def nvml(clock: Clock) -> FakeNvml:
    return FakeNvml(clock=clock.monotonic)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, clock: Clock, nvml: FakeNvml) -> FakeCuda:
    return install(monkeypatch, clock, nvml=nvml)


def kernel_of(cuda: FakeCuda, times_ms: Iterator[float], amount: int = 2 * 10**9) -> Kernel:
    return Kernel(amount, lambda: cuda.launch(0.005, next(times_ms)))


def then(*first: float, rest: float) -> Iterator[float]:
    yield from first
    while True:
        yield rest


@pytest.mark.parametrize(
    "times_ms",
    [
        then(900, 50, 3, rest=2),  # loads the kernel, and a library tries out its own
        then(2, 2, 2, 2, 0.1, rest=2),  # one call that seems to take nothing
        then(2, 2, 2, *[2, 2, 2, 40] * 5, rest=2),
    ],
)
def test_neither_first_calls_nor_a_single_one_decide(cuda: FakeCuda, times_ms: Iterator[float]) -> None:
    assert seconds_of(CUDA, kernel_of(cuda, times_ms).work) == pytest.approx(2e-3, rel=0.01)


def test_a_slow_kernel_is_called_five_times_after_those_that_load_it(cuda: FakeCuda) -> None:
    assert seconds_of(CUDA, kernel_of(cuda, then(rest=300)).work) == pytest.approx(0.3, rel=0.01)
    assert len(cuda.kernels) == 3 + 5


def test_the_clock_has_risen_before_a_kernel_is_timed(cuda: FakeCuda) -> None:
    """A GPU that computes at a third of its clock until it has been busy for a quarter of a second."""

    def times_ms() -> Iterator[float]:
        while True:
            yield 6 if sum(end - begin for begin, end in cuda.kernels) < 0.25 else 2

    rate, _ = fastest_kernel(CUDA, torch.float32, lambda device, dtype: iter([kernel_of(cuda, times_ms())]))
    assert rate == pytest.approx(2e9 / 2e-3, rel=0.01)


def test_the_fastest_kernel_of_a_kind(cuda: FakeCuda) -> None:
    """The third would take a second at the rate of the second, so it is left out, whatever it would reach."""
    kernels = [kernel_of(cuda, then(rest=ms), amount) for ms, amount in ((1, 10**9), (4, 6 * 10**9), (1, 10**13))]
    rate, kernel = fastest_kernel(CUDA, torch.float32, lambda device, dtype: iter(kernels))
    assert kernel is kernels[1]
    assert rate == pytest.approx(6e9 / 4e-3, rel=0.01)


def loaded(cuda: FakeCuda, times_ms: Iterator[float], rate: float = 2e9 / 2e-3) -> GpuLoad:
    return load_of(rate, kernel_of(cuda, times_ms), Gpu("cuda", cuda.gpu.uuid))


def test_under_load_the_gpu_never_waits_and_is_looked_at_ten_times_a_second(cuda: FakeCuda) -> None:
    begun = cuda.clock.monotonic()
    load = loaded(cuda, then(rest=2))
    assert all(end == pytest.approx(begin) for (_, end), (begin, _) in pairwise(cuda.kernels))
    assert 5 <= cuda.clock.monotonic() - begun < 5.4
    assert 48 <= len(load.states) <= 52
    assert load.tflops_per_second == pytest.approx([1.0] * len(load.tflops_per_second), rel=0.01)


def test_a_rate_that_falls_and_what_lowers_it(cuda: FakeCuda, nvml: FakeNvml) -> None:
    nvml.gpus[0].clocks, nvml.gpus[0].reasons = [1980, 1980, 1410], [0, 0, HOT]
    load = loaded(cuda, then(*[2.0] * 1000, rest=3))
    assert load.tflops_per_second[0] == pytest.approx(1, rel=0.01)
    assert load.tflops_per_second[-1] == pytest.approx(2 / 3, rel=0.01)
    assert [state.clock_mhz for state in load.states[:4]] == [1980, 1980, 1410, 1410]
    assert [state.slowed for state in load.states[:4]] == [False, False, True, True]


def test_a_kernel_that_takes_longer_than_a_look(cuda: FakeCuda) -> None:
    load = loaded(cuda, then(rest=400), rate=2e9 / 0.4)
    assert load.tflops_per_second == pytest.approx([2e9 / 0.4 / 1e12] * len(load.tflops_per_second), rel=0.01)
    assert len(load.states) == len(load.tflops_per_second)


def test_without_nvml_only_rates_are_known(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    load = loaded(install(monkeypatch, clock), then(rest=2))
    assert load.states == ()
    assert load.tflops_per_second


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeCuda]:
    """A GPU that computes on this CPU, at small sizes."""
    monkeypatch.setitem(peaks.SIDES, "cuda", (8, 16))
    monkeypatch.setitem(peaks.COPIED_BYTES, "cuda", 2**20)
    monkeypatch.setattr(gpu_speed, "_COPIED_FROM_HOST", 2**20)
    monkeypatch.setattr(gpu_speed, "LOAD_SECONDS", 0.5)
    monkeypatch.setattr(gpu_speed.load_of, "__defaults__", (0.5,))

    def start(**state: object) -> FakeCuda:
        return install(monkeypatch, nvml=FakeNvml(FakeGpu(**state)))  # type: ignore[arg-type]

    return start


def test_the_report_of_a_gpu(small: Callable[..., FakeCuda]) -> None:
    other = os.getppid()
    with OnTheCpu(small(pids=[os.getpid(), other, 99_999_001], use={other: 80}), product_ms=1.0):
        report = measure_gpu(3)
    assert report.error is None
    assert (report.machine.gpu, report.machine.threads) == ("NVIDIA FAKE 200", 3)
    assert (report.device, report.visible) == ("cuda:0", 1)
    assert report.settings is not None
    assert report.settings.driver == "580.95.05"
    assert report.others == 1
    assert report.holders == tuple(sorted([f"{psutil.Process(other).name()} ({other})", "99999001"], key=by_pid))
    assert report.speed is not None
    assert set(report.speed.tflops_per_second) == {"fp32", "bf16", "fp16"}
    for rate in report.speed.tflops_per_second.values():
        assert rate == pytest.approx(2 * 16**3 / 1e-3 / 1e12, rel=0.3)
    assert set(report.speed.host_gigabytes_per_second) == {"pinned", "pageable"}
    assert report.speed.memory_gigabytes_per_second > 0
    assert report.speed.load.states
    assert type(report).model_validate_json(report.model_dump_json()) == report


def by_pid(name: str) -> int:
    return int(name.rpartition("(")[2].rstrip(")"))


@pytest.mark.slow
def test_in_a_container_the_numbers_of_processes_name_nothing_here(small: Callable[..., FakeCuda]) -> None:
    """NVML lists the host's: this process is 501 there, another one 1, which is somebody else here."""
    with OnTheCpu(small(pids=[501, 1]), product_ms=1.0):
        report = measure_gpu(1)
    assert report.holders == ()
    assert report.others == 1


@pytest.mark.parametrize("function", ["mm", "rand", "copy_", "pin_memory"])
def test_memory_that_does_not_suffice_is_an_error_beside_what_is_known(
    small: Callable[..., FakeCuda], function: str
) -> None:
    with OnTheCpu(small(pids=[os.getpid(), 99_999_001]), out_of_memory_for=function):
        report = measure_gpu(1)
    assert report.speed is None
    assert report.error == "CUDA out of memory"
    assert report.holders == ("99999001",)
    assert report.others == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has a total"), "CUDA out of memory"),
        (RuntimeError("CUDA error: no kernel image\nCUDA kernel errors might be"), "CUDA error: no kernel image"),
        (
            RuntimeError("Unexpected error from cudaGetDeviceCount(). Did you run? Error 804: forward compatibility"),
            "Error 804: forward compatibility",
        ),
        (AssertionError("Torch not compiled with CUDA enabled"), "Torch not compiled with CUDA enabled"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_a_reason_is_one_sentence(error: Exception, words: str) -> None:
    assert reason(error) == words


def test_the_program_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update")

    monkeypatch.setattr(torch.cuda, "init", fail)
    monkeypatch.setattr(sys, "argv", ["gpu_speed", "--threads", "1"])
    with pytest.raises(SystemExit, match=r"^The NVIDIA driver on your system is too old \(found version 11040\)$"):
        gpu_speed.main()


def test_gpus_that_nvml_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(FakeGpu(), FakeGpu()))  # type: ignore[arg-type]
    assert gpu_count() == 2
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(FakeGpu(absent=("init",))))  # type: ignore[arg-type]
    assert gpu_count() == 0
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_count() == 0
