"""Cores that compared processes share: physical ones first, no set where all are needed, every thread of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from vlbench.measuring.machine import confine, core_sets
from vlbench.runner.worker_client import Worker

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux confines processes")


def machine(root: Path, siblings: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(siblings))
    for core, text in siblings.items():
        folder = root / f"sys/devices/system/cpu/cpu{core}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("siblings", "threads", "sets"),
    [
        ({0: "0", 1: "1"}, 1, [(0,), (1,)]),
        ({0: "0", 1: "1"}, 2, []),
        ({0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, 1, [(0,), (1,)]),
        ({0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, 2, [(0, 1)]),
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, 2, [(0, 2)]),
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, 3, [(0, 2, 1)]),
        ({core: str(core) for core in range(5, 12)}, 3, [(5, 6, 7), (8, 9, 10)]),
        ({3: "3"}, 1, []),
    ],
)
def test_sets_of_cores(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    siblings: dict[int, str],
    threads: int,
    sets: list[tuple[int, ...]],
) -> None:
    assert core_sets(threads, machine(tmp_path, siblings, monkeypatch)) == sets


def test_a_system_that_does_not_tell_siblings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    assert core_sets(1, tmp_path) == [(0,), (1,), (2,)]


FORKING = """
import os, sys, threading, time
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        print('{"ready": 1}', flush=True)
        time.sleep(60)
    os.waitpid(child, 0)
"""


def test_every_thread_of_a_job_is_confined_and_the_worker_is_not() -> None:
    allowed = os.sched_getaffinity(0)
    core = max(allowed)
    with Worker(1, command=[sys.executable, "-u", "-c", FORKING]) as worker:
        worker.send({"action": "any"})
        assert worker.receive(60) == {"ready": 1}
        assert worker.process
        worker.confine((core,))
        (job,) = psutil.Process(worker.process.pid).children()
        threads = [thread.id for thread in job.threads()]
        assert len(threads) == 2
        assert [os.sched_getaffinity(thread) for thread in threads] == [{core}, {core}]
        assert os.sched_getaffinity(worker.process.pid) == allowed


def test_a_process_that_has_ended_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    confine(process.pid, (0,))
