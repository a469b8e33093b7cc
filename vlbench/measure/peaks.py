"""Measures how fast this machine computes and copies.

As a program it prints the speed of fresh processes as one line of JSON:

python -m vlbench.measure.peaks --threads N [--processes K]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from vlbench.child_processes import die_with_parent
from vlbench.errors import WorkerError
from vlbench.measure.latency import timer_for
from vlbench.measure.observe import reference_kernel
from vlbench.measure.records import MachineSpeed, ProcessSpeed

T = TypeVar("T")


def call_in_fresh_process(function: Callable[..., T], *arguments: Any) -> T:
    """Calls the function in a fresh process; function, arguments and result must be picklable.

    On Linux the process is forked, so it needs no imports, but the caller must not have computed with threads before.
    On other systems it is spawned.

    Raises WorkerError if the process ends without a result or the function raises.
    """
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        process.join()
        raise WorkerError(f"a measuring process ended without a result, exit code {process.exitcode}") from None
    finally:
        receiver.close()
    process.join()
    if error is not None:
        raise WorkerError(f"a measuring process failed: {error}")
    return result


def _answer(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    die_with_parent()
    try:
        sender.send((function(*arguments), None))
    except Exception as error:  # the caller raises it
        sender.send((None, f"{type(error).__name__}: {error}"))


_MATRIX = 2_048
_COPIED_FLOATS = 64 * 2**20
_PEAK_SECONDS, _LAYER_SECONDS, _WARM_UP_SECONDS = 0.7, 0.35, 0.25
_REFERENCE_CALLS = 15
_WIDTH, _HEADS, _TOKENS = 384, 6, 160
_SIDES = {"cpu": (256, 512, 1_024, 2_048, 4_096), "cuda": (1_024, 2_048, 4_096, 8_192)}  # of matrices
_COPIED_BYTES = {"cpu": 2**27, "cuda": 2**30}
_SIDE_SECONDS, _LONGEST_SECONDS = 0.08, 0.35  # for each matrix size; for one product
# A kernel too wide for Winograd and similar algorithms, which do fewer operations than are counted.
_CHANNELS, _PIXELS, _KERNEL = 256, 32, 5


def measure_speed(*, threads: int, processes: int) -> MachineSpeed:
    """Takes about 3 s, plus 1 s per process, and 1 GiB of memory. Raises WorkerError if a process dies."""
    return MachineSpeed(
        threads=threads,
        gemm_gflops_per_second_one_thread=call_in_fresh_process(gemm_gflops_per_second, 1),
        gemm_gflops_per_second=call_in_fresh_process(gemm_gflops_per_second, threads),
        copy_gigabytes_per_second=call_in_fresh_process(copy_gigabytes_per_second, threads),
        processes=tuple(call_in_fresh_process(process_speed, threads) for _ in range(processes)),
    )


def device_gflops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """The highest rate of a matrix product or, on a CPU, of a convolution, in 10^9 operations per second.

    A MAC is two operations. On a CPU, products and convolutions come from different libraries, and one of them may not
    be optimised for the processor: on AMD's, MKL multiplies half as fast as oneDNN convolves.
    """
    products = product_gflops_per_second(device, dtype)
    return max(products, convolution_gflops_per_second(dtype, products)) if device.type == "cpu" else products


def convolution_gflops_per_second(dtype: torch.dtype, expected: float) -> float:
    """On the CPU; 0 if it would take too long at the expected rate."""
    operations = 2 * (_CHANNELS * _KERNEL * _PIXELS) ** 2
    if operations / expected / 1e9 > _LONGEST_SECONDS:
        return 0.0
    images = torch.rand(1, _CHANNELS, _PIXELS, _PIXELS).to(dtype)
    weights = torch.rand(_CHANNELS, _CHANNELS, _KERNEL, _KERNEL).to(dtype)
    seconds = _best_of(timer_for(torch.device("cpu")), lambda: F.conv2d(images, weights, padding=_KERNEL // 2))
    return operations / seconds / 1e9


def product_gflops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Of square matrices. Their sides double while a product is short: half precision can be a thousand times slower on
    a CPU without hardware support."""
    timer, best = timer_for(device), 0.0
    for side in _SIDES[device.type]:
        left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))  # GPUs multiply ones faster
        product = torch.empty(side, side, device=device, dtype=dtype)
        seconds = _best_of(timer, lambda: torch.mm(left, right, out=product))  # noqa: B023  called before the next
        best = max(best, 2 * side**3 / seconds / 1e9)
        if 8 * seconds > _LONGEST_SECONDS:
            break
    return best


def device_gigabytes_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """The highest rate of a copy within the device's memory: bytes read plus bytes written, in 10^9 per second."""
    count = _COPIED_BYTES[device.type] // dtype.itemsize
    source, target = (torch.zeros(count, device=device, dtype=dtype).fill_(value) for value in (1, 0))
    return 2 * source.nbytes / _best_of(timer_for(device), lambda: target.copy_(source)) / 1e9


def _best_of(timer: Callable[[Callable[[], object]], float], work: Callable[[], object]) -> float:
    """Seconds of the fastest call, the first included."""
    samples = [timer(work)]
    end = time.monotonic() + _SIDE_SECONDS
    while time.monotonic() < end:
        samples.append(timer(work))
    return min(samples) / 1e3


def gemm_gflops_per_second(threads: int) -> float:
    torch.set_num_threads(threads)
    left, right, product = (torch.ones(_MATRIX, _MATRIX) for _ in range(3))
    return 2 * _MATRIX**3 / _best_seconds(lambda: torch.mm(left, right, out=product)) / 1e9


def copy_gigabytes_per_second(threads: int) -> float:
    torch.set_num_threads(threads)
    source, target = torch.ones(_COPIED_FLOATS), torch.zeros(_COPIED_FLOATS)
    return 2 * source.nbytes / _best_seconds(lambda: target.copy_(source)) / 1e9


def process_speed(threads: int) -> ProcessSpeed:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 4 * _WIDTH, batch_first=True, norm_first=True).eval()
    tokens = torch.rand(1, _TOKENS, _WIDTH)
    reference = reference_kernel()
    with torch.inference_mode():
        _samples_ms(lambda: layer(tokens), _WARM_UP_SECONDS)
        layer_ms = _samples_ms(lambda: layer(tokens), _LAYER_SECONDS)
    return ProcessSpeed(
        reference_kernel_ms=tuple(reference() for _ in range(_REFERENCE_CALLS)), layer_ms=tuple(layer_ms)
    )


def _best_seconds(work: Callable[[], object]) -> float:
    work()
    return min(_samples_ms(work, _PEAK_SECONDS)) / 1e3


def _samples_ms(work: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of at least three calls."""
    samples: list[float] = []
    end = time.monotonic() + seconds
    while len(samples) < 3 or time.monotonic() < end:
        start = time.perf_counter_ns()
        work()
        samples.append((time.perf_counter_ns() - start) / 1e6)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the speed of this machine.")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--processes", type=int, default=6)
    options = parser.parse_args()
    print(measure_speed(threads=options.threads, processes=options.processes).model_dump_json())


if __name__ == "__main__":
    main()
