"""Measures how fast this machine computes and copies.

As a program it prints the speed of fresh processes as one line of JSON:

python -m vlbench.measuring.peaks --threads N [--processes K]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.errors import WorkerError
from vlbench.measuring.latency import timer_for
from vlbench.measuring.observe import reference_kernel
from vlbench.measuring.records import MachineSpeed, ProcessSpeed
from vlbench.measuring.statistics import percentile
from vlbench.system.child_processes import die_with_parent

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


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_MATRIX = 2_048
_COPIED_FLOATS = 64 * 2**20
_PEAK_SECONDS, _LAYER_SECONDS, _WARM_UP_SECONDS = 0.7, 0.35, 0.25
_REFERENCE_CALLS = 15
_WIDTH, _HEADS, _TOKENS = 384, 6, 160
# Sizes of kernels by type of device, from small to large.
SIDES = {"cpu": (256, 512, 1_024, 2_048), "cuda": (1_024, 2_048, 4_096, 8_192)}  # of matrices
_LINEAR = {  # tokens, inputs, outputs
    "cpu": ((64, 256, 256), (256, 768, 768), (256, 768, 3_072), (1_024, 768, 3_072)),
    "cuda": ((2_048, 1_024, 4_096), (16_384, 1_024, 4_096), (16_384, 4_096, 4_096)),
}
_CONVOLUTIONS = {  # channels, pixels of a side, pixels of the kernel's side
    "cpu": ((32, 16, 3), (256, 32, 1), (256, 32, 5)),
    "cuda": ((256, 64, 3), (512, 128, 3)),
}
_ATTENDED = {"cpu": (64, 256), "cuda": (1_024, 4_096)}  # tokens
_ATTENTION_HEADS, _HEAD_WIDTH = 12, 64
COPIED_BYTES = {"cpu": 2**27, "cuda": 2**30}
_SIDE_SECONDS, _LONGEST_SECONDS = 0.05, 0.35  # for each kernel; for one call
_RAMP_SECONDS = 0.3  # a GPU's clock takes that long to rise
# The first calls on a GPU load or choose a kernel. Its events can be a little early or late, so no single call decides.
_DISCARDED_CALLS, _LEAST_CALLS = {"cpu": 0, "cuda": 3}, {"cpu": 1, "cuda": 5}
_QUICK_SHARE = {"cpu": 0.0, "cuda": 0.25}  # the quickest call on a CPU, where whatever else runs delays the others


def measure_speed(*, threads: int, processes: int) -> MachineSpeed:
    """Takes about 3 s, plus 1 s per process, and 1 GiB of memory. Raises WorkerError if a process dies."""
    return MachineSpeed(
        threads=threads,
        gemm_gflops_per_second_one_thread=call_in_fresh_process(gemm_gflops_per_second, 1),
        gemm_gflops_per_second=call_in_fresh_process(gemm_gflops_per_second, threads),
        copy_gigabytes_per_second=call_in_fresh_process(copy_gigabytes_per_second, threads),
        processes=tuple(call_in_fresh_process(process_speed, threads) for _ in range(processes)),
        sees_gpu=torch.cuda.is_available(),
    )


class Kernel(NamedTuple):
    """Something to time: how many operations it does, a MAC being two, or how many bytes it moves."""

    amount: int
    work: Callable[[], object]


def products(device: torch.device, dtype: torch.dtype) -> Iterator[Kernel]:
    """Of square matrices."""
    for side in SIDES[device.type]:
        left, right = _random(device, dtype, (side, side), (side, side))  # GPUs multiply ones faster
        product = torch.empty(side, side, device=device, dtype=dtype)
        yield Kernel(2 * side**3, partial(torch.mm, left, right, out=product))


def linear_layers(device: torch.device, dtype: torch.dtype) -> Iterator[Kernel]:
    """As models run them: with a bias, and weights that lie transposed. In half precision a CPU has other code for
    these, which can be thirty times as fast as its product of two matrices."""
    for tokens, inputs, outputs in _LINEAR[device.type]:
        values, weight, bias = _random(device, dtype, (1, tokens, inputs), (outputs, inputs), (outputs,))
        yield Kernel(2 * tokens * inputs * outputs, partial(F.linear, values, weight, bias))


def convolutions(device: torch.device, dtype: torch.dtype) -> Iterator[Kernel]:
    """Products and convolutions come from different libraries, and one of them may not be optimised for the processor:
    on AMD's, MKL multiplies half as fast as oneDNN convolves."""
    for channels, pixels, side in _CONVOLUTIONS[device.type]:
        images, weight = _random(device, dtype, (1, channels, pixels, pixels), (channels, channels, side, side))
        for layout in (torch.contiguous_format, torch.channels_last):
            arguments = (tensor.contiguous(memory_format=layout) for tensor in (images, weight))
            yield Kernel(2 * (channels * side * pixels) ** 2, partial(F.conv2d, *arguments, padding=side // 2))


def attentions(device: torch.device, dtype: torch.dtype) -> Iterator[Kernel]:
    for tokens in _ATTENDED[device.type]:
        shape = (1, _ATTENTION_HEADS, tokens, _HEAD_WIDTH)
        queries, keys, values = _random(device, dtype, shape, shape, shape)
        operations = 4 * _ATTENTION_HEADS * tokens**2 * _HEAD_WIDTH
        yield Kernel(operations, partial(F.scaled_dot_product_attention, queries, keys, values))


def _random(device: torch.device, dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    return [torch.rand(shape, device=device).to(dtype) for shape in shapes]


KINDS = (products, linear_layers, convolutions, attentions)


def device_gflops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """The highest rate of any kernel of KINDS, in 10^9 operations per second; a MAC is two.

    Takes 2 to 4 s. Kernels of a kind grow, and end where the next would take more than 0.35 s at the rate of the last:
    half precision can be a thousand times slower on a CPU without hardware support.
    """
    return max(fastest_kernel(device, dtype, kind)[0] for kind in KINDS) / 1e9


def fastest_kernel(
    device: torch.device, dtype: torch.dtype, kind: Callable[[torch.device, torch.dtype], Iterator[Kernel]] = products
) -> tuple[float, Kernel]:
    """The kernel of a kind with the highest rate, and that rate in operations per second."""
    best: tuple[float, Kernel] | None = None
    rate = 0.0
    for kernel in kind(device, dtype):
        if best is None:
            raise_clock(device, kernel.work)
        elif kernel.amount > _LONGEST_SECONDS * rate:
            break
        rate = kernel.amount / seconds_of(device, kernel.work)
        if best is None or rate > best[0]:
            best = rate, kernel
    assert best is not None
    return best


def device_gigabytes_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """The highest rate of a copy, a sum of two tensors or a fill in the device's memory: bytes read plus bytes written,
    in 10^9 per second, as in STREAM."""
    count = COPIED_BYTES[device.type] // dtype.itemsize
    source, other, target = (torch.zeros(count, device=device, dtype=dtype).fill_(value) for value in (1, 2, 0))
    kernels = (
        Kernel(2 * source.nbytes, lambda: target.copy_(source)),
        Kernel(3 * source.nbytes, lambda: torch.add(source, other, out=target)),
        Kernel(source.nbytes, lambda: target.fill_(1)),
    )
    raise_clock(device, kernels[0].work)
    return max(moved / seconds_of(device, work) for moved, work in kernels) / 1e9


def raise_clock(device: torch.device, work: Callable[[], object]) -> None:
    """Keeps a GPU busy until its clock, which falls while it rests, has risen; nothing on a CPU."""
    timer, end = timer_for(device), time.monotonic() + _RAMP_SECONDS
    while device.type == "cuda" and time.monotonic() < end:
        timer(work)


def seconds_of(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of the quickest call on a CPU, the first included; on a GPU, of the slowest of the quickest quarter."""
    timer = timer_for(device)
    for _ in range(_DISCARDED_CALLS[device.type]):
        timer(work)
    samples: list[float] = []
    end = time.monotonic() + _SIDE_SECONDS
    while len(samples) < _LEAST_CALLS[device.type] or time.monotonic() < end:
        samples.append(timer(work))
    return percentile(sorted(samples), _QUICK_SHARE[device.type]) / 1e3


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
