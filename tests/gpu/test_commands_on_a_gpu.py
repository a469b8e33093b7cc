"""Whole commands on a GPU that a stand-in plays: what they record, whom they count as others, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.command_line import kept_workers, vlbench
from tests.gpu.fake_cuda import fake_gpu_environment
from tests.helpers import write_tiny
from tests.paths import ROOT
from vlbench.api import load
from vlbench.inputs import read_example
from vlbench.regression.live import run as live_run
from vlbench.runner.benchmark import benchmark
from vlbench.runner.plan import RunSettings
from vlbench.specs.catalog import resolve

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here; pytest -m gpu uses it")
Show = Callable[..., None]


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the processes of all tests list that they hold a context: so a worker can serve several tests."""
    return str(tmp_path_factory.mktemp("gpu") / "contexts")


@pytest.fixture
def show_gpu(monkeypatch: pytest.MonkeyPatch, contexts: str) -> Show:
    """Lets the processes that a test starts see a GPU, by default one that draws 100 W."""

    def show(**options: Any) -> None:
        for name, value in fake_gpu_environment(**{"contexts": contexts, "watts": 100} | options).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return show


def measure(model: Path, **settings: Any) -> Any:
    """Without a folder, and so without the peaks of the machine: a CPU would take minutes for those of a GPU."""
    usual = {"device": "cuda", "threads": 1, "restarts": 1, "budget_seconds": 2}
    with kept_workers():
        return load(model).measure(**usual | settings)


def test_a_result_records_the_gpu(show_gpu: Show, tmp_path: Path) -> None:
    show_gpu()
    result = measure(write_tiny(tmp_path), budget_seconds=20)
    (restart,) = result.restarts
    assert (result.status, result.device, result.l2) == ("ok", "cuda", "warm")
    assert restart.warm_up.steady
    assert restart.interference.gpu_other_processes == 0
    assert restart.interference.gpu_clock_mhz == 1980
    assert restart.interference.gpu_discarded_samples == 0
    assert 0 < restart.launch.gpu_busy_ms < restart.launch.wall_ms
    assert restart.launch.host_ms <= restart.launch.wall_ms
    assert result.launch == restart.launch
    assert 0.1 < result.joules / (result.latency_ms.median / 1e3 * 100) < 10, "100 W for the time of a pass"
    assert result.machine.gpu_driver == "580.95.05"


@pytest.mark.slow
def test_a_process_of_somebody_else_is_seen_also_from_a_container(show_gpu: Show, tmp_path: Path) -> None:
    show_gpu(hidden=1_000_000, pids=[99_999_999])
    result = measure(write_tiny(tmp_path))
    assert result.restarts[0].interference.gpu_other_processes == 1
    assert "other processes on the GPU: 1" in str(result.noise.reasons)


@pytest.mark.slow
def test_a_cold_cache_is_another_measurement(show_gpu: Show, tmp_path: Path) -> None:
    show_gpu()
    model = write_tiny(tmp_path)
    warm, cold = measure(model, budget_seconds=20), measure(model, budget_seconds=20, l2="cold")
    assert (warm.l2, cold.l2) == ("warm", "cold")
    assert warm.cell_hash != cold.cell_hash
    assert warm.joules is not None
    assert cold.joules is None, "zeroing the buffer costs energy, too"


def test_a_cpu_has_no_cold_cache(tmp_path: Path) -> None:
    options = ("--device", "cpu", "--l2", "cold", "--out", tmp_path / "out")
    process = vlbench("run", "--models", write_tiny(tmp_path), *options)
    assert process.returncode == 2
    assert process.stderr == (
        "vlbench: --l2 cold: empties the cache of a GPU, and this measures on the CPU; leave it out\n"
    )


@pytest.mark.slow
def test_without_nvml_it_measures_all_the_same(show_gpu: Show, tmp_path: Path) -> None:
    show_gpu(nvml=False)
    result = measure(write_tiny(tmp_path))
    interference = result.restarts[0].interference
    assert result.status == "ok"
    assert (interference.gpu_clock_mhz, interference.gpu_other_processes, result.joules) == (None, None, None)
    assert "gpu_driver" not in result.machine.model_dump()


@pytest.mark.slow
def test_running_out_of_memory_leaves_the_next_model_its_turn(show_gpu: Show, tmp_path: Path) -> None:
    show_gpu(out_of_memory_for="scaled_dot_product_attention")
    specs = resolve(f"{write_tiny(tmp_path, 'vilt-b32')},{write_tiny(tmp_path, 'vsepp')}")
    settings = RunSettings(threads=1, device="cuda", restarts=1, budget_seconds=2)
    first, second = benchmark(specs, read_example(None, None), settings).results
    assert first.status == "failed"
    assert first.error.startswith("out of memory: CUDA out of memory. Tried to allocate")
    assert second.status == "ok"


@pytest.mark.parametrize(
    ("device", "visible", "said"),
    [
        ("cuda:1", "GPU-aaaa", "--device cuda:1: CUDA_VISIBLE_DEVICES is 'GPU-aaaa', which has no GPU of this number"),
        ("cuda:x", None, "--device cuda:x: no such device; auto, cpu, cuda, or cuda:1 for the second GPU works"),
    ],
)
@pytest.mark.parametrize("command", ["run", "ab", "eval", "train"])
def test_a_gpu_that_is_not_there_is_one_line(
    show_gpu: Show,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    device: str,
    visible: str | None,
    said: str,
) -> None:
    show_gpu()
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    task = ("--task", "shapes") if command == "eval" else ()
    process = vlbench(command, "--models", write_tiny(tmp_path), *task, "--device", device, cwd=tmp_path)
    assert (process.returncode, process.stderr) == (2, f"vlbench: {said}\n")


@pytest.mark.slow
def test_a_numbered_gpu_is_the_only_one_that_is_seen(
    show_gpu: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes that measure take it as their first, so that results of either GPU are of the same cell."""
    show_gpu(uuid="GPU-bbbb")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa,GPU-bbbb")
    result = measure(write_tiny(tmp_path), device="cuda:1")
    assert (result.status, result.device) == ("ok", "cuda")
    assert result.restarts[0].interference.gpu_clock_mhz == 1980, "NVML found that GPU"


@pytest.fixture
def two_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few for a verdict, which these tests do not need."""
    monkeypatch.setattr(live_run, "LEAST_FIRST", 2)
    monkeypatch.setattr(live_run, "least_pairs", lambda share: 2)


def ab(tmp_path: Path, *options: object) -> tuple[Any, dict[str, Any]]:
    record = tmp_path / "record.json"
    process = vlbench("ab", *options, "--threads", 1, "--budget", 1, "--threshold", "50%", "--record", record)
    assert record.exists(), process.stderr
    return process, json.loads(record.read_text())


def interferences(record: dict[str, Any]) -> list[dict[str, Any]]:
    (workload,) = record["workloads"]
    return [samples["interference"] for replicate in workload["replicates"] for samples in replicate.values()]


@pytest.mark.slow
@pytest.mark.usefixtures("two_replicates")
@pytest.mark.parametrize(("device", "hidden"), [("auto", 0), ("cuda", 1_000_000)])
def test_ab_does_not_count_its_own_members_as_others(show_gpu: Show, tmp_path: Path, device: str, hidden: int) -> None:
    show_gpu(hidden=hidden)
    process, record = ab(tmp_path, "--models", write_tiny(tmp_path), "--device", device)
    assert "a verdict takes 2 replicates of " in process.stderr, "said after the first"
    assert "a change is confirmed by 8 more" in process.stderr
    found = interferences(record)
    assert len(found) >= 3 * 2
    assert {interference["gpu_other_processes"] for interference in found} == {0}
    assert {interference["gpu_clock_mhz"] for interference in found} == {1980}


CALLABLES = """
import torch
matrix = torch.ones(64, 64)

def on_the_gpu():
    return matrix.to("cuda") @ matrix
"""


@pytest.mark.slow
@pytest.mark.usefixtures("two_replicates")
def test_a_function_that_uses_cuda_is_timed_on_the_gpu(
    show_gpu: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "functions_of_mine.py").write_text(CALLABLES)
    show_gpu()
    monkeypatch.setenv("PYTHONPATH", f"{fake_gpu_environment()['PYTHONPATH']}:{tmp_path}")
    process, record = ab(tmp_path, "--callable", "functions_of_mine:on_the_gpu")
    (workload,) = record["workloads"]
    assert workload["base"]["device"] == workload["head"]["device"] == "cuda", process.stderr
    assert {interference["gpu_clock_mhz"] for interference in interferences(record)} == {1980}


HOLDS_A_CONTEXT = """
import sys, torch
from vlbench.api import load
trained = torch.ones(8, device="cuda")
result = load(sys.argv[1]).measure(device="cuda", threads=1, restarts=1, budget_seconds=2)
print(result.restarts[0].interference.gpu_other_processes, trained.sum().item())
"""


@pytest.mark.slow
def test_the_process_that_trained_may_hold_the_gpu_while_another_measures(show_gpu: Show, tmp_path: Path) -> None:
    show_gpu()
    command = [sys.executable, "-c", HOLDS_A_CONTEXT, str(write_tiny(tmp_path))]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert process.stdout.split() == ["0", "8.0"], process.stderr
