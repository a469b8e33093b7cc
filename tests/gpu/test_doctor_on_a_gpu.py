"""`vlbench doctor` on a GPU: machines without one, children that fail, and the command on a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.test_speeds import speed as speed_of_cpu
from tests.gpu.fake_cuda import fake_gpu_environment
from tests.gpu.fake_nvml import FakeGpu, FakeNvml
from tests.gpu.test_gpu_findings import report
from vlbench.doctor import diagnose as diagnosis_of
from vlbench.doctor import gpu as examination
from vlbench.doctor import speeds
from vlbench.doctor.diagnose import diagnose
from vlbench.doctor.gpu import examine_gpu
from vlbench.errors import WorkerError
from vlbench.measuring.records import GpuReport


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modules that should have been run in a child process; each fails."""
    run: list[str] = []

    def fail(module: str, *_: object) -> None:
        run.append(module)
        raise WorkerError("No CUDA GPUs are available")

    monkeypatch.setattr(examination, "result_of_child", fail)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return run


def test_without_a_gpu_no_child_is_started_and_nothing_is_found(
    monkeypatch: pytest.MonkeyPatch, child: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert examine_gpu(1, sees_gpu=False) == (None, [])
    assert child == []


@pytest.mark.parametrize(
    ("visible", "words", "finding", "change"),
    [
        (None, "Torch not compiled with CUDA enabled", "Torch not compiled with CUDA", "a PyTorch with CUDA: https://"),
        ("", "No CUDA GPUs are available", "CUDA_VISIBLE_DEVICES='' hides them", "unset it"),
        ("-1", "No CUDA GPUs are available", "CUDA_VISIBLE_DEVICES='-1' hides them", "unset it"),
        ("0", "The NVIDIA driver on your system is too old", "driver on your system is too old", "update the driver"),
        (None, "Error 804: forward compatibility", "Error 804", "update the driver"),
    ],
)
def test_gpus_that_pytorch_cannot_use_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, child: list[str], visible: str | None, words: str, finding: str, change: str
) -> None:
    def fail(*_: object) -> None:
        raise WorkerError(words)

    monkeypatch.setattr(examination, "result_of_child", fail)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(FakeGpu(), FakeGpu()))  # type: ignore[arg-type]
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nothing, (warning,) = examine_gpu(1, sees_gpu=False)
    assert nothing is None
    assert warning.level == "warning"
    assert warning.finding.startswith("2 GPUs here, but PyTorch can use none: ")
    assert finding in warning.finding
    assert change in (warning.change or "")


def test_a_child_that_dies_on_a_gpu_that_pytorch_sees_is_unfit(child: list[str]) -> None:
    nothing, (failure,) = examine_gpu(1, sees_gpu=True)
    assert nothing is None
    assert (failure.check, failure.level) == ("GPU speed", "unfit")
    assert child == ["vlbench.measuring.gpu_speed"]


@pytest.mark.slow
def test_the_diagnosis_is_of_the_machine_with_its_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(diagnosis_of, "measure_speed", lambda threads: speed_of_cpu(sees_gpu=True))
    monkeypatch.setattr(examination, "result_of_child", lambda *_: report())
    diagnosis = diagnose(1, root=tmp_path)
    assert diagnosis.machine.gpu == "NVIDIA H200"
    assert diagnosis.gpu_speed == report().speed
    assert {"GPU", "GPU clock", "GPU speed", "peaks"} <= {finding.check for finding in diagnosis.findings}
    assert type(diagnosis).model_validate_json(diagnosis.model_dump_json()) == diagnosis


def test_the_rest_of_the_doctor_runs_where_the_gpu_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, child: list[str]
) -> None:
    monkeypatch.setattr(diagnosis_of, "measure_speed", lambda threads: speed_of_cpu(sees_gpu=True))
    diagnosis = diagnose(1, root=tmp_path)
    assert diagnosis.machine.gpu is None
    assert not diagnosis.fit
    assert {"GPU speed", "peaks", "threads"} <= {finding.check for finding in diagnosis.findings}


def doctor(*options: str, **gpu: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with exit code 9 if that process imported PyTorch."""
    code = (
        "import sys\nfrom vlbench.cli.main import app\n"
        f"code = app(['doctor', '--threads', '1', *{list(options)!r}], standalone_mode=False)\n"
        "sys.exit(9 if 'torch' in sys.modules else code)"
    )
    environment = os.environ | fake_gpu_environment(product_ms=2.0, **gpu)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command_on_a_gpu() -> None:
    done = doctor("--format", "json", reasons=[0x20], clocks=[345, 1980, 1410], persistence=0, power_limit_mw=500_000)
    diagnosis = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    levels = {finding["check"]: finding["level"] for finding in diagnosis["findings"]}
    assert levels["GPU clock"] == "unfit"
    assert levels["GPU power cap"] == levels["GPU persistence"] == "warning"
    assert diagnosis["machine"]["gpu"] == "NVIDIA FAKE 200"
    assert diagnosis["machine"]["gpu_power_limit_watts"] == 500
    rates = diagnosis["gpu_speed"]["tflops_per_second"]
    assert all(300 < rate <= 2 * 8192**3 / 2e-3 / 1e12 for rate in rates.values()), rates
    assert 20 < len(diagnosis["gpu_speed"]["load"]["states"]) <= 60


@pytest.mark.slow
def test_the_child_where_the_gpus_memory_is_taken_and_nvml_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake_gpu_environment(out_of_memory_for="pin_memory", nvml=False, product_ms=2.0).items():
        monkeypatch.setenv(name, value)
    report, findings = examine_gpu(1, sees_gpu=True)
    assert report is not None
    by_check = {finding.check: finding for finding in findings}
    assert by_check["GPU speed"].level == "unfit"
    assert by_check["GPU speed"].finding.startswith("could not be measured: CUDA out of memory")
    assert by_check["NVML"].level == "warning"


@pytest.mark.slow
def test_the_child_where_the_driver_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "The NVIDIA driver on your system is too old (found version 11040)"
    for name, value in fake_gpu_environment(cuda_error=f"{words}. Please update your GPU driver").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WorkerError) as failure:
        speeds.result_of_child("vlbench.measuring.gpu_speed", GpuReport, 1)
    assert str(failure.value) == words
