"""The peaks of a device: not below what a product or a copy reaches here, whatever the precision costs."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from vlbench.measuring import peaks
from vlbench.measuring.peaks import device_gflops_per_second, device_gigabytes_per_second

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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[torch.Size]]:
    """A clock by which every kernel takes so many milliseconds; the shapes of what was computed."""

    def every(milliseconds: float) -> list[torch.Size]:
        shapes: list[torch.Size] = []

        def timer(work: Callable[[], torch.Tensor]) -> float:
            shapes.append(work().shape)
            return milliseconds

        monkeypatch.setattr(peaks, "timer_for", lambda device: timer)
        monkeypatch.setattr(peaks, "_SIDE_SECONDS", 0)
        return shapes

    monkeypatch.setattr(peaks, "SIDES", {"cpu": (8, 24)})
    monkeypatch.setattr(peaks, "_LINEAR", {"cpu": ((7, 8, 9), (7, 24, 30))})
    monkeypatch.setattr(peaks, "_CONVOLUTIONS", {"cpu": ((4, 8, 1), (11, 8, 1))})
    monkeypatch.setattr(peaks, "_ATTENDED", {"cpu": (4, 16)})
    monkeypatch.setattr(peaks, "COPIED_BYTES", {"cpu": 1200})
    return every


MOST_OPERATIONS = {  # of the largest kernel of each kind
    peaks.products: 2 * 24**3,
    peaks.linear_layers: 2 * 7 * 24 * 30,
    peaks.convolutions: 2 * (11 * 8 * 8) * 11,
    peaks.attentions: 2 * (2 * 12 * 16 * 16 * 64),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_operations_and_bytes_by_formula(
    monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], list[torch.Size]], dtype: torch.dtype
) -> None:
    """If everything takes 10 ms, the largest kernel of all kinds is the best, and the sum of two tensors moves most."""
    clock(10.0)
    for kind, operations in MOST_OPERATIONS.items():
        monkeypatch.setattr(peaks, "KINDS", (kind,))
        assert device_gflops_per_second(CPU, dtype) == pytest.approx(operations / 0.010 / 1e9)
    monkeypatch.setattr(peaks, "KINDS", tuple(MOST_OPERATIONS))
    assert device_gflops_per_second(CPU, dtype) == pytest.approx(max(MOST_OPERATIONS.values()) / 0.010 / 1e9)
    assert device_gigabytes_per_second(CPU, dtype) == pytest.approx(3 * 1200 / 0.010 / 1e9)


def test_a_slow_precision_is_not_waited_for(clock: Callable[[float], list[torch.Size]]) -> None:
    """Where the smallest kernel of each kind takes 50 ms, the next would take too long. A quick kind is the peak."""
    shapes = clock(50.0)
    expected = max(2 * 8**3, 2 * 7 * 8 * 9, 2 * (4 * 8 * 8) * 4, 2 * (2 * 12 * 4 * 4 * 64)) / 0.050 / 1e9
    assert device_gflops_per_second(CPU, torch.float16) == pytest.approx(expected)
    image = (1, 4, 8, 8)  # in two layouts
    assert shapes == [(8, 8), (1, 7, 9), image, image, (1, 12, 4, 64)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_linear_layer_is_not_much_quicker_than_the_peak(one_thread: None, dtype: torch.dtype) -> None:
    """In half precision a CPU may multiply by transposed weights thirty times as fast as two matrices; and measuring
    takes seconds, whatever a precision costs."""
    layer, tokens = torch.nn.Linear(768, 3072).to(dtype).eval(), torch.rand(1, 145, 768).to(dtype)
    with torch.inference_mode():
        seconds = quickest(lambda: layer(tokens))
        start = time.perf_counter()
        assert device_gflops_per_second(CPU, dtype) > 0.5 * 2 * 145 * 768 * 3072 / seconds / 1e9
        assert time.perf_counter() - start < 20


def test_no_convolution_is_much_quicker_than_the_peak(one_thread: None) -> None:
    """One that leaves no room for short cuts; on some processors it is twice as quick as a product."""
    layer, images = torch.nn.Conv2d(128, 128, 7, padding=3, bias=False).eval(), torch.rand(1, 128, 32, 32)
    with torch.inference_mode():
        seconds = quickest(lambda: layer(images))
        assert device_gflops_per_second(CPU, torch.float32) > 0.5 * 2 * 128**2 * 7**2 * 32**2 / seconds / 1e9


@pytest.mark.gpu
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
