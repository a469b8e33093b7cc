"""Pins compared processes to the same cores, so that none of them gets a faster core than another.

On a shared host one virtual core can be slower than the next for as long as its neighbour computes. A scheduler that
moves a process between cores adds that difference to its time.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from vlbench.measure.os_counters import ROOT


def core_sets(threads: int, root: Path = ROOT) -> list[tuple[int, ...]]:
    """Disjoint sets of `threads` logical cores, each on its own physical core if there are enough of those.

    Empty if `threads` is as many as the cores that this process may run on, and on systems that cannot pin a process
    (all but Linux).
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    usable = sorted(os.sched_getaffinity(0))
    if threads >= len(usable):
        return []
    first_of: dict[str, int] = {}
    for core in usable:
        first_of.setdefault(_siblings(core, root), core)
    physical = list(first_of.values())
    if len(physical) < threads:
        return [tuple(physical + [core for core in usable if core not in physical])[:threads]]
    return [tuple(physical[start : start + threads]) for start in range(0, len(physical) - threads + 1, threads)]


def confine(pid: int, cores: tuple[int, ...]) -> None:
    """Pins every thread of a process and of its descendants to these cores; threads that start later inherit it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                for thread in process.threads():
                    with contextlib.suppress(ProcessLookupError):
                        os.sched_setaffinity(thread.id, cores)


def _siblings(core: int, root: Path) -> str:
    """The logical cores on the same physical core, as Linux writes them; the core itself if that is unknown."""
    try:
        return (root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(core)
