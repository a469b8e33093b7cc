"""Findings on speed from known figures; the measuring child, and what becomes of one that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vlbench.doctor import diagnose as diagnosis_of
from vlbench.doctor import speeds
from vlbench.doctor.diagnose import diagnose
from vlbench.doctor.speeds import measure_speed, speed_findings
from vlbench.errors import WorkerError
from vlbench.measuring import peaks
from vlbench.measuring.records import MachineSpeed, ProcessSpeed


def speed(**values: Any) -> MachineSpeed:
    """Of two threads that double one's speed, and six processes alike."""
    process = ProcessSpeed(reference_kernel_ms=(0.330, 0.331, 0.332), layer_ms=(3.0, 3.1, 3.2))
    alike: dict[str, Any] = {
        "threads": 2,
        "gemm_gflops_per_second_one_thread": 100.0,
        "gemm_gflops_per_second": 195.0,
        "copy_gigabytes_per_second": 20.0,
        "processes": (process,) * 6,
    }
    return MachineSpeed(**alike | values)


def process(reference: float = 0.33, layer: float = 3.0) -> ProcessSpeed:
    return ProcessSpeed(reference_kernel_ms=(reference,) * 5, layer_ms=(layer,) * 5)


def levels(measured: MachineSpeed) -> dict[str, str]:
    return {found.check: found.level for found in speed_findings(measured)}


def test_an_even_machine() -> None:
    assert levels(speed()) == {
        "steady clock": "good",
        "clock by process": "good",
        "speed states": "good",
        "cores": "good",
        "peaks": "note",
    }


@pytest.mark.parametrize(
    ("values", "check", "level"),
    [
        ({"processes": (process(layer=3.0), process(layer=3.3))}, "speed states", "warning"),
        ({"processes": (process(layer=3.0), process(layer=5.0))}, "speed states", "unfit"),
        ({"processes": (process(0.33), process(0.36))}, "clock by process", "warning"),
        (
            {"processes": (ProcessSpeed(reference_kernel_ms=(0.3, 0.3, 0.4, 0.4), layer_ms=(3.0,)),)},
            "steady clock",
            "warning",
        ),
        ({"gemm_gflops_per_second": 105.0}, "cores", "warning"),
    ],
)
def test_an_uneven_machine(values: dict[str, Any], check: str, level: str) -> None:
    assert levels(speed(**values))[check] == level


def test_one_thread_needs_no_scaling() -> None:
    found = {one.check: one.finding for one in speed_findings(speed(threads=1, gemm_gflops_per_second=100.0))}
    assert "cores" not in found
    assert "matrix product 100 GFLOP/s with 1 thread; copy 20.0 GB/s" in found["peaks"]


def test_peaks_count_operations_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_best_seconds", lambda work: (work(), 0.5)[1])
    monkeypatch.setattr(peaks, "_MATRIX", 64)
    monkeypatch.setattr(peaks, "_COPIED_FLOATS", 1_000)
    threads = torch.get_num_threads()
    try:
        assert peaks.gemm_gflops_per_second(1) == pytest.approx(2 * 64**3 / 0.5 / 1e9)
        assert peaks.copy_gigabytes_per_second(1) == pytest.approx(2 * 4_000 / 0.5 / 1e9)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys; sys.exit('no memory left')", "no memory left"),
        ("import os; os.abort()", "exit code -6"),
        ("print('garbage')", "exit code 0 and no result"),
        ("", "exit code 0 and no result"),
        ("import time; time.sleep(60)", "not measured within 1 s"),
    ],
)
def test_a_child_that_fails_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, words: str
) -> None:
    run = subprocess.run
    monkeypatch.setattr(speeds, "TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(subprocess, "run", lambda command, **rest: run([sys.executable, "-c", script], **rest))
    with pytest.raises(WorkerError, match=words):
        measure_speed(1)


def test_a_diagnosis_without_speed_is_unfit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(threads: int) -> MachineSpeed:
        raise WorkerError("no memory left")

    monkeypatch.setattr(diagnosis_of, "measure_speed", fail)
    found = diagnose(1, root=tmp_path)
    assert not found.fit
    assert found.speed is None
    assert any("no memory left" in one.finding for one in found.findings)
