"""Cores that processes which are compared share, so that none of them has a better one than another.

On a shared host one virtual core can be slower than the next for as long as its neighbour computes; a scheduler that
moves a process between them adds that to its time.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from vlbench.measure.os_counters import ROOT


def core_sets(threads: int, root: Path = ROOT) -> list[tuple[int, ...]]:
    """Disjoint sets of so many logical cores, of physical cores of their own where there are enough of them.

    Empty where a computation of so many threads takes all cores that this process may run on, and on systems that
    cannot confine one (all but Linux).
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
    """Every thread of a process and of its descendants runs on these cores alone, and so does what they start later."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                for thread in one.threads():
                    with contextlib.suppress(ProcessLookupError):
                        os.sched_setaffinity(thread.id, cores)


def _siblings(core: int, root: Path) -> str:
    """The logical cores of this one's physical core, as Linux writes them; the core itself where it does not tell."""
    try:
        return (root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(core)
