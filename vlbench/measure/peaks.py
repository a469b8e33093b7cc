"""Measures the speed of this machine in fresh processes, and prints it as one line of JSON.

python -m vlbench.measure.peaks --threads N [--processes K]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

from vlbench.measure.fresh import call_in_fresh_process
from vlbench.measure.reference import reference_kernel
from vlbench.measure.speed import MachineSpeed, ProcessSpeed

_MATRIX = 2_048
_COPIED_FLOATS = 64 * 2**20
_PEAK_SECONDS, _LAYER_SECONDS, _WARM_UP_SECONDS = 0.7, 0.35, 0.25
_REFERENCE_CALLS = 15
_WIDTH, _HEADS, _TOKENS = 384, 6, 160


def measure_speed(*, threads: int, processes: int) -> MachineSpeed:
    """About 3 s, and 1 s a process. Raises WorkerError where a process dies, as for want of memory (1 GiB is used)."""
    return MachineSpeed(
        threads=threads,
        gemm_gflops_one_thread=call_in_fresh_process(gemm_gflops, 1),
        gemm_gflops=call_in_fresh_process(gemm_gflops, threads),
        copy_gigabytes_per_second=call_in_fresh_process(copy_gigabytes_per_second, threads),
        processes=tuple(call_in_fresh_process(process_speed, threads) for _ in range(processes)),
    )


def gemm_gflops(threads: int) -> float:
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
    return ProcessSpeed(reference_ms=tuple(reference() for _ in range(_REFERENCE_CALLS)), layer_ms=tuple(layer_ms))


def _best_seconds(work: Callable[[], object]) -> float:
    work()
    return min(_samples_ms(work, _PEAK_SECONDS)) / 1e3


def _samples_ms(work: Callable[[], object], seconds: float) -> list[float]:
    """At least three."""
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
