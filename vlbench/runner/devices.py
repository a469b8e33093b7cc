"""Names of devices: `auto`, `cpu`, `cuda` and `cuda:1`; and how a process is shown only the GPU that it is to use."""

from __future__ import annotations

import os
import re
from typing import Literal

from vlbench.errors import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
DEVICES = "auto, cpu, cuda, or cuda:1 for the second GPU"


def check_device(name: str) -> str:
    """The name itself. Raises InputError if it is none."""
    if name not in ("auto", "cpu", "cuda") and not re.fullmatch(r"cuda:[0-9]{1,3}", name):
        raise InputError(f"--device {name}: no such device; {DEVICES} works")
    return name


def visible_gpu(name: str) -> dict[str, str]:
    """Variables with which a process sees only the GPU of this number, as its `cuda`; none for the other devices.

    Numbers are those of PyTorch: among the GPUs that CUDA_VISIBLE_DEVICES names, if it is set. Raises InputError where
    it names fewer.
    """
    index = check_device(name).partition(":")[2]
    if not index:
        return {}
    if VISIBLE not in os.environ:
        return {VISIBLE: str(int(index))}
    visible = [gpu.strip() for gpu in os.environ[VISIBLE].split(",") if gpu.strip()]
    if int(index) >= len(visible):
        raise InputError(f"--device {name}: {VISIBLE} is {os.environ[VISIBLE]!r}, which has no GPU of this number")
    return {VISIBLE: visible[int(index)]}


def check_l2(l2: str, device: str) -> None:
    """Raises InputError if the cache is to be emptied where there is no GPU."""
    if l2 == "cold" and device == "cpu":
        raise InputError("--l2 cold: empties the cache of a GPU, and this measures on the CPU; leave it out")


def resolve_device(name: str, *, has_gpu: bool) -> Literal["cpu", "cuda"]:
    """Where `auto` computes: on the GPU if there is one. Raises InputError for a GPU that PyTorch does not see."""
    if name.startswith("cuda") and not has_gpu:
        works = "nvidia-smi -L lists the GPUs" if ":" in name else "--device cpu works"
        raise InputError(f"--device {name}: PyTorch sees no {'such ' if ':' in name else ''}GPU here; {works}")
    return "cuda" if has_gpu and name != "cpu" else "cpu"
