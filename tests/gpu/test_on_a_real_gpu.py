"""What only a GPU can show. Everything here is skipped without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from vlbench.api import load
from vlbench.architectures.build import build
from vlbench.inputs import read_example
from vlbench.measuring.gpu import probe
from vlbench.measuring.launch import measure_launch
from vlbench.runner.backends import load_backend
from vlbench.runner.cells import Cell
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.workload import DTYPES, build_workload, prepare_batch, set_up_torch
from vlbench.specs.catalog import resolve

pytestmark = pytest.mark.gpu
WITHIN = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2}  # distance of an output from that of a CPU in fp32


def cell_of(name: str, **settings: Any) -> Cell:
    chosen = RunSettings(**{"threads": 4, "device": "cuda"} | settings)
    (cell,) = expand(resolve(name), read_example(None, None), chosen, probe(4))
    return cell


def output_of(name: str, **settings: Any) -> torch.Tensor:
    set_up_torch(4)
    cell = cell_of(name, **settings)
    with torch.inference_mode():
        model = build(cell.spec).eval().to(cell.device, DTYPES[cell.precision])
        return model(*prepare_batch(cell)).double().cpu()


def distance(output: torch.Tensor, expected: torch.Tensor) -> float:
    return float((output - expected).norm() / expected.norm())


@pytest.mark.parametrize("precision", WITHIN)
@pytest.mark.parametrize("name", ["vit-b32", "vilt-b32", "clip-rn50", "pixelbert-r50", "vsepp", "hf-lxmert-vqa"])
def test_it_computes_what_a_cpu_does(name: str, precision: str) -> None:
    expected = output_of(name, device="cpu")
    assert distance(output_of(name, precision=precision), expected) < WITHIN[precision]


@pytest.mark.parametrize(("name", "batch"), [("uniter-base", 40), ("uniter-base-table6", 12)])
def test_each_image_of_a_batch_is_that_of_batch_1(name: str, batch: int) -> None:
    """Above 2^31 pooled values, which torchvision's kernels cannot count."""
    alone, many = output_of(name, precision="bf16"), output_of(name, precision="bf16", batch=batch)
    assert max(distance(many[index], alone[0]) for index in (0, batch // 2, batch - 1)) < WITHIN["bf16"]


@contextmanager
def no_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["vilt-b32", "vit-b16", "clip-vit-b32", "pixelbert-r50", "vsepp"])
def test_a_graph_computes_the_same_and_is_not_bound_by_the_host(name: str) -> None:
    workload = build_workload(cell_of(name, precision="bf16"))
    with torch.inference_mode():
        expected = workload.model(*workload.inputs).double()
        torch.cuda.synchronize()
        with no_waiting():
            workload.model(*workload.inputs)
        prepared = load_backend("cuda-graph").prepare(workload)
        assert distance(prepared.forward().double(), expected) < 1e-2
    share = measure_launch(prepared.forward).gpu_busy_share
    assert share is not None
    assert share > 0.8


def test_energy_clock_and_others_are_seen() -> None:
    pytest.importorskip("pynvml")
    result = load("vilt").measure(device="cuda", threads=4, restarts=1, budget_seconds=40)
    (restart,) = result.restarts
    assert result.status == "ok"
    assert restart.warm_up.steady
    assert restart.interference.gpu_clock_mhz > 100
    assert restart.interference.gpu_other_processes == 0
    assert 10 < result.joules / (result.latency_ms.median / 1e3) < 2_000, "watts"


def test_a_cold_cache_is_no_faster() -> None:
    warm, cold = (
        load("vit-b32").measure(
            device="cuda", threads=4, restarts=1, budget_seconds=20, precision="bf16", backend="cuda-graph", l2=l2
        )
        for l2 in ("warm", "cold")
    )
    assert cold.latency_ms.median > 0.98 * warm.latency_ms.median


PREPARED_TO_FORK = """
import ctypes
from vlbench.architectures.registry import preload
from vlbench.runner import worker
from vlbench.specs.catalog import catalog
kinds = (worker.kinds_of({"action": "fill", "spec": spec.model_dump()}) for spec in catalog().values())
for kind in sorted(set().union(*kinds)):
    preload(kind)
print(ctypes.CDLL("libcuda.so.1").cuDeviceGetCount(ctypes.byref(ctypes.c_int())))
"""


def test_what_a_worker_imports_does_not_start_cuda() -> None:
    """Or its forks could not use it: 3 is CUDA_ERROR_NOT_INITIALIZED."""
    process = subprocess.run([sys.executable, "-c", PREPARED_TO_FORK], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["3"]


def test_ab_of_equal_sides_is_not_contended_by_itself(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    options = ("--threads", "4", "--budget", "20", "--threshold", "10%", "--record", str(record))
    command = [sys.executable, "-m", "vlbench", "ab", "--models", "vit-b32", "--device", "cuda", *options]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert process.returncode == 0, process.stdout + process.stderr
    (workload,) = json.loads(record.read_text())["workloads"]
    counts = [
        samples["interference"]["gpu_other_processes"]
        for replicate in workload["replicates"]
        for samples in replicate.values()
    ]
    assert set(counts) <= {0, None}
