"""A GPU as PyTorch and NVML together describe it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from vlbench.measuring.machine import GPU_HARDWARE, Machine, describe_machine
from vlbench.measuring.nvml import Gpu


def gpu_of(device: torch.device) -> Gpu | None:
    """The GPU of a device as NVML shows it; None for a CPU."""
    if device.type != "cuda":
        return None
    return Gpu(str(device), str(torch.cuda.get_device_properties(device).uuid))


def probe(threads: int) -> Machine:
    """This machine, with its GPU if PyTorch sees one."""
    if not torch.cuda.is_available():
        return describe_machine(threads=threads, gpu=None)
    properties = torch.cuda.get_device_properties(0)
    settings = Gpu(uuid=str(properties.uuid), holds_context=False).settings()
    reported = {f"gpu_{name}": value for name, value in asdict(settings).items()} if settings else {}
    known: dict[str, Any] = {"cuda": torch.version.cuda, "cudnn": _dotted(torch.backends.cudnn.version())}
    known |= {name: reported.get(name) for name in GPU_HARDWARE} | {"gpu_memory_bytes": properties.total_memory}
    present = {name: value for name, value in known.items() if value is not None}
    return describe_machine(threads=threads, gpu=properties.name, gpu_settings=present)


def _dotted(version: int | None) -> str | None:
    """`9.12.0` of 91200, and `8.9.7` of 8907: cuDNN's own numbers."""
    if version is None:
        return None
    base = 10_000 if version >= 90_000 else 1_000
    return f"{version // base}.{version % base // 100}.{version % 100}"
