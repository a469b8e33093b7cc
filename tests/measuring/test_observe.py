"""What an observer sees: in trees with known figures, and beside a real burner."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest
import torch
from pydantic import TypeAdapter

from vlbench.measuring.noise import Interference, judge, why_contended
from vlbench.measuring.observe import Observer, reference_kernel

COSTS = """
import time
from vlbench.measuring.observe import Observer

for _ in range(300):
    start = time.perf_counter()
    observer = Observer(None)
    observer.start()
    observer.finish()
    print(time.perf_counter() - start)
"""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def stat(ticks: int) -> str:
    return f"cpu  {ticks} 0 0 9000 0 0 0 {ticks // 10} 0 0\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\n"


def observe(seconds: float = 0.15) -> Interference:
    observer = Observer(None)
    observer.start()
    work(seconds)
    return observer.finish()


def work(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(500))


def test_rates_are_of_what_was_observed(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    path = tmp_path / "proc/stat"
    path.write_text(stat(1_000))
    observer = Observer(None, root=tmp_path)
    observer.start()
    time.sleep(0.2)
    path.write_text(stat(1_050))  # half a second of processor time, five hundredths stolen
    interference = observer.finish()
    assert interference.cores == 4
    assert interference.wall_seconds == pytest.approx(0.2, rel=0.5)
    assert interference.other_processes_cores is not None
    assert interference.other_processes_cores * interference.wall_seconds == pytest.approx(0.5, abs=0.05)
    assert interference.steal_cores is not None
    assert interference.steal_cores * interference.wall_seconds == pytest.approx(0.05, abs=0.001)
    assert (interference.cpu_pressure, interference.waiting_threads, interference.quota_throttled_share) == (
        None,
        None,
        None,
    )


def test_another_one_s_turn_is_not_observed(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    path = tmp_path / "proc/stat"
    path.write_text(stat(1_000))
    observer = Observer(None, root=tmp_path)
    observer.start()
    time.sleep(0.03)
    observer.pause()
    observer.pause()
    path.write_text(stat(1_500))
    time.sleep(0.3)
    observer.resume()
    observer.resume()
    time.sleep(0.03)
    interference = observer.finish()
    assert interference.other_processes_cores == 0
    assert interference.wall_seconds < 0.25


def test_the_reference_is_timed_before_between_and_after() -> None:
    values = iter([0.5, 0.6, 0.7])
    observer = Observer(lambda: next(values))
    observer.start()
    observer.between_blocks()
    assert observer.finish().reference_kernel_ms == (0.5, 0.6, 0.7)


def test_a_second_start_forgets_the_first() -> None:
    values = iter([1.0, 2.0, 3.0, 4.0])
    observer = Observer(lambda: next(values))
    observer.start()
    time.sleep(0.05)
    observer.finish()
    observer.start()
    interference = observer.finish()
    assert interference.reference_kernel_ms == (3.0, 4.0)
    assert interference.wall_seconds < 0.05


def test_an_observer_that_was_not_started_says_so() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        Observer(None).finish()


def test_an_empty_tree_gives_evidence_that_judges_nothing(tmp_path: Path) -> None:
    observer = Observer(None, root=tmp_path)
    observer.start()
    assert why_contended(observer.finish()) is None


@pytest.mark.serial
def test_observing_costs_less_than_a_millisecond() -> None:
    """In a process of its own: each thread costs another 0.04 ms, and libraries that other tests use keep many."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    costs = subprocess.check_output([sys.executable, "-c", COSTS], env=os.environ | one_thread, text=True)
    assert min(map(float, costs.split())) < 1e-3


def test_evidence_survives_its_way_to_disk() -> None:
    interference = observe(0.01)
    record = TypeAdapter(Interference)
    assert record.validate_json(record.dump_json(interference)) == interference


@pytest.mark.serial
def test_the_reference_takes_a_millisecond_or_two_and_repeats() -> None:
    reference = reference_kernel()
    values = [reference() for _ in range(20)]
    assert 0.02 < min(values) < 5
    assert median(values) < 1.5 * min(values)


@pytest.mark.serial
def test_the_reference_runs_on_one_thread_whatever_pytorch_s_number() -> None:
    reference = reference_kernel()
    threads = torch.get_num_threads()
    torch.set_num_threads(max(2, threads))
    try:
        cpu, wall = time.process_time(), time.monotonic()
        for _ in range(50):
            reference()
        assert time.process_time() - cpu <= 1.2 * (time.monotonic() - wall) + 0.02
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def burner() -> Iterator[None]:
    code = "print('ready', flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


@LINUX
@pytest.mark.usefixtures("burner")
def test_a_burner_is_seen_in_every_restart_and_contends_the_cell() -> None:
    found = [observe(0.3) for _ in range(3)]
    assert all(one.other_processes_cores is not None and one.other_processes_cores >= 0.5 for one in found), found
    noise = judge([10.0, 10.0, 10.0], found, within=0.02, ci95=None)
    assert noise.verdict == "contended"
    assert noise.contended_restarts == 3


@pytest.mark.serial
@LINUX
def test_own_threads_are_not_taken_for_others() -> None:
    """Two threads of this process compute; what the kernel counts of the whole machine is theirs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        matrix = torch.ones(600, 600)
        observer = Observer(None)
        observer.start()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            matrix @ matrix
        interference = observer.finish()
    finally:
        torch.set_num_threads(threads)
    assert interference.cores is not None
    assert interference.other_processes_cores is not None
    own = interference.cpu_seconds / interference.wall_seconds
    assert own + interference.other_processes_cores <= interference.cores + 0.2
