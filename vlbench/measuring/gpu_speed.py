"""Measures how fast a GPU computes and copies, and whether it keeps that up for some seconds.

As a program it prints what it measured on the GPU that `--device cuda` takes, as one line of JSON:

python -m vlbench.measuring.gpu_speed --threads N
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from functools import partial
from itertools import pairwise

import psutil
import torch

from vlbench.measuring.gpu import gpu_of, probe
from vlbench.measuring.nvml import Gpu
from vlbench.measuring.peaks import DTYPES, Kernel, device_gigabytes_per_second, fastest_kernel, seconds_of
from vlbench.measuring.records import GpuLoad, GpuReport, GpuSpeed

LOAD_SECONDS, LOOK_SECONDS = 5.0, 0.1
_FIRST_WITH_BF16 = 8  # major compute capability of Ampere
_COPIED_FROM_HOST = 2**28  # bytes


def measure_gpu(threads: int) -> GpuReport:
    """Takes about 8 s and 3 GiB of the GPU's memory; where that fails, the report says why.

    Raises RuntimeError or AssertionError, as PyTorch does, if it can use no GPU.
    """
    torch.cuda.init()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = torch.device("cuda", torch.cuda.current_device())
    gpu = gpu_of(device)
    assert gpu is not None
    at_rest, speed, error = gpu.look(), None, None
    try:
        with torch.inference_mode():
            speed = _speed(device, gpu)
    except RuntimeError as failure:  # out of memory; a GPU that this PyTorch has no kernels for
        error = reason(failure)
    last = gpu.look()
    looks = [*(speed.load.states if speed else ()), *([last] if last else [])]
    return GpuReport(
        machine=probe(threads),
        device=str(device),
        uuid=str(torch.cuda.get_device_properties(device).uuid),
        visible=torch.cuda.device_count(),
        settings=gpu.settings(),
        at_rest=at_rest,
        others=max((look.others for look in looks if look.others is not None), default=None),
        holders=tuple(_name(pid) for pid in gpu.holders()),
        speed=speed,
        error=error,
    )


def _speed(device: torch.device, gpu: Gpu) -> GpuSpeed:
    memory, host = device_gigabytes_per_second(device, torch.float32), _host_gigabytes_per_second(device)
    fastest = {name: fastest_kernel(device, dtype) for name, dtype in DTYPES.items()}
    hottest = "bf16" if torch.cuda.get_device_capability(device)[0] >= _FIRST_WITH_BF16 else "fp16"
    return GpuSpeed.model_validate(
        {
            "tflops_per_second": {name: rate / 1e12 for name, (rate, _) in fastest.items()},
            "memory_gigabytes_per_second": memory,
            "host_gigabytes_per_second": host,
            "load": load_of(*fastest[hottest], gpu),
        }
    )


def load_of(rate: float, kernel: Kernel, gpu: Gpu, seconds: float = LOAD_SECONDS) -> GpuLoad:
    """Keeps the GPU busy: a tenth of a second of calls is always launched before the one before it has ended, and
    meanwhile NVML is asked.

    Args:
        rate: of the kernel, in operations per second.
    """
    calls = max(1, round(LOOK_SECONDS * rate / kernel.amount))

    def launch() -> torch.cuda.Event:
        for _ in range(calls):
            kernel.work()
        end = torch.cuda.Event(enable_timing=True)
        end.record()
        return end

    ends, states = [launch()], []
    stop = time.monotonic() + seconds
    while time.monotonic() < stop:
        ends.append(launch())
        states.append(gpu.look())
        ends[-2].synchronize()
    ends[-1].synchronize()
    spans_ms = [begin.elapsed_time(end) for begin, end in pairwise(ends)]
    return GpuLoad(
        tflops_per_second=tuple(calls * kernel.amount / span_ms / 1e9 for span_ms in spans_ms),
        states=tuple(state for state in states if state is not None),
    )


def _host_gigabytes_per_second(device: torch.device) -> dict[str, float]:
    """Of copies to the device, from memory that the driver has pinned and from any other."""
    target = torch.empty(_COPIED_FROM_HOST, dtype=torch.uint8, device=device)
    pageable = torch.ones(_COPIED_FROM_HOST, dtype=torch.uint8)
    sources = {"pinned": pageable.pin_memory(), "pageable": pageable}
    return {
        name: _COPIED_FROM_HOST / seconds_of(device, partial(target.copy_, source, non_blocking=True)) / 1e9
        for name, source in sources.items()
    }


def _name(pid: int) -> str:
    """`python3 (4711)`, or the number alone of a process that is not visible here."""
    try:
        return f"{psutil.Process(pid).name()} ({pid})"
    except psutil.Error:
        return str(pid)


def reason(error: BaseException) -> str:
    """The first sentence of PyTorch's error, or the driver's own words within it."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    by_driver = re.search(r"Error \d+: .*", line)
    return by_driver[0] if by_driver else line.partition(". ")[0].rstrip(".")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the speed of a GPU.")
    parser.add_argument("--threads", type=int, required=True)
    try:
        report = measure_gpu(parser.parse_args().threads)
    except (RuntimeError, AssertionError) as error:
        sys.exit(reason(error))
    print(report.model_dump_json())


if __name__ == "__main__":
    main()
