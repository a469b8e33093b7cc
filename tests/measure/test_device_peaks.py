"""The peaks of a device: not below what a product or a copy reaches here, whatever the precision costs."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from vlbench.measure import peaks
from vlbench.measure.peaks import (
    convolution_gflops_per_second,
    device_gflops_per_second,
    device_gigabytes_per_second,
    product_gflops_per_second,
)

CPU = torch.device("cpu")


def quickest(work: Callable[[], object], times: int = 5) -> float:
    samples = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        samples.append(time.perf_counter() - start)
    return min(samples)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_product_is_much_quicker_than_the_peak(one_thread: None, dtype: torch.dtype) -> None:
    left, right = torch.rand(1024, 1024).to(dtype), torch.rand(1024, 1024).to(dtype)
    seconds = quickest(lambda: torch.mm(left, right))
    assert device_gflops_per_second(CPU, dtype) > 0.5 * 2 * 1024**3 / seconds / 1e9


def test_a_copy_is_as_quick_as_another_librarys(one_thread: None) -> None:
    source, target = np.ones(2**25, dtype=np.float32), np.zeros(2**25, dtype=np.float32)
    theirs = 2 * source.nbytes / quickest(lambda: np.copyto(target, source)) / 1e9
    for dtype in (torch.float32, torch.float16):
        assert theirs / 3 < device_gigabytes_per_second(CPU, dtype) < 3 * theirs


def test_operations_and_bytes_by_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which everything takes 10 ms: the largest product is the best, and copies of all precisions alike."""
    monkeypatch.setattr(peaks, "timer_for", lambda device: lambda work: (work(), 10.0)[1])
    monkeypatch.setattr(peaks, "_SIDES", {"cpu": (8, 64)})
    monkeypatch.setattr(peaks, "_COPIED_BYTES", {"cpu": 1200})
    monkeypatch.setattr(peaks, "_SIDE_SECONDS", 0)
    monkeypatch.setattr(peaks, "_PIXELS", 8)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert convolution_gflops_per_second(dtype, 1e9) == pytest.approx(2 * 256**2 * 5**2 * 8**2 / 0.010 / 1e9)
        assert product_gflops_per_second(CPU, dtype) == pytest.approx(2 * 64**3 / 0.010 / 1e9)
        assert device_gigabytes_per_second(CPU, dtype) == pytest.approx(2 * 1200 / 0.010 / 1e9)


def test_a_slow_precision_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one product of 64 takes 50 ms, one of 128 would take too long."""
    tried = []

    def slow(work: Callable[[], torch.Tensor]) -> float:
        tried.append(len(work()))
        return 50.0

    monkeypatch.setattr(peaks, "timer_for", lambda device: slow)
    monkeypatch.setattr(peaks, "_SIDES", {"cpu": (64, 128, 256)})
    monkeypatch.setattr(peaks, "_SIDE_SECONDS", 0)
    expected = 2 * 64**3 / 0.050 / 1e9  # of a product; a convolution would take too long, too
    assert device_gflops_per_second(CPU, torch.float16) == pytest.approx(expected)
    assert tried == [64]


def test_no_convolution_is_much_quicker_than_the_peak(one_thread: None) -> None:
    """One that leaves no room for short cuts; on some processors it is twice as quick as a product."""
    layer, images = torch.nn.Conv2d(128, 128, 7, padding=3, bias=False).eval(), torch.rand(1, 128, 32, 32)
    with torch.inference_mode():
        seconds = quickest(lambda: layer(images))
        assert device_gflops_per_second(CPU, torch.float32) > 0.5 * 2 * 128**2 * 7**2 * 32**2 / seconds / 1e9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_is_waited_for() -> None:
    """Far below what any GPU would seem to reach if a product were timed before it is done."""
    device = torch.device("cuda")
    torch.backends.cuda.matmul.allow_tf32 = False
    left = torch.rand(4096, 4096, device=device)
    torch.mm(left, left)
    torch.cuda.synchronize()
    seconds = quickest(lambda: (torch.mm(left, left), torch.cuda.synchronize()))
    reached = 2 * 4096**3 / seconds / 1e9
    assert 0.5 * reached < device_gflops_per_second(device, torch.float32) < 3 * reached
    assert 10 < device_gigabytes_per_second(device, torch.float32) < 20_000
