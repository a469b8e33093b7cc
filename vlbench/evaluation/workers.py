"""How many data-loading worker processes there are by default."""

from __future__ import annotations

import shutil
from pathlib import Path

from vlbench.evaluation.processes import local_processes
from vlbench.measuring.machine import physical_cores, usable_cores

MOST_WORKERS = 16
SHARED_MEMORY = Path("/dev/shm")  # where batches are on their way from a worker; containers often have 64 MiB of it
SHARED_BYTES = 2**29  # for the batches of one worker


def reading_workers(device: str) -> int:
    """For evaluation: for a GPU all cores of this process but one; none for a CPU, which computes itself."""
    return _limited(usable_cores() // local_processes() - 1) if device == "cuda" else 0


def training_workers(device: str, threads: int) -> int:
    """For training, at least one: for a GPU as for evaluation; for a CPU the cores that `threads` leaves free.

    Args:
        threads: of all processes of this machine together.
    """
    free = (physical_cores() - threads) // local_processes()
    return max(1, reading_workers(device) if device == "cuda" else _limited(free))


def _limited(cores: int) -> int:
    room = shutil.disk_usage(SHARED_MEMORY).free // SHARED_BYTES if SHARED_MEMORY.is_dir() else MOST_WORKERS
    return max(0, min(cores, room, MOST_WORKERS))
