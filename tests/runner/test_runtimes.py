"""Tiny models through the runtimes that are installed: equal to eager PyTorch, recorded, and planned in pairs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.command_line import vlbench
from tests.helpers import others_slow, write_tiny
from vlbench.errors import InputError
from vlbench.inputs import read_example
from vlbench.measuring.counters import tensors_of
from vlbench.measuring.machine import describe_machine
from vlbench.runner import plan
from vlbench.runner.backends import load_backend, runtime_version
from vlbench.runner.cells import Cell
from vlbench.runner.convert import convert_cell, why_not_measured, writable
from vlbench.runner.plan import RunSettings, expand, pairs_of, split_measured, supported
from vlbench.runner.reader import read_results
from vlbench.runner.records import Result
from vlbench.runner.store import MemoryStore
from vlbench.runner.workload import build_workload, set_up_torch
from vlbench.specs.catalog import catalog

RUNTIMES = ("onnxruntime", "openvino")
SETTINGS = RunSettings(device="cpu", threads=1)
MACHINE = describe_machine(threads=1, gpu=None)
THREADS = {"onnxruntime": "intra_op_num_threads", "openvino": "INFERENCE_NUM_THREADS"}
COMPARED = (  # tests/docs/test_runtimes_page.py compares more models in fp32
    *product(["vilt-b32"], ["fp32", "int8", "int8-static"], RUNTIMES),
    *product(["pixelbert-r50"], ["int8-static"], RUNTIMES),
    ("uniter-base", "fp32", "onnxruntime"),
    ("uniter-base", "int8-static", "openvino"),
    ("clip-vit-b32", "int8-static", "onnxruntime"),
    ("hf-vilt-b32", "int8", "openvino"),
)
DETECTOR = {
    "visual.rpn": "selects boxes by their scores",
    "visual.roi_head": "pools boxes of any number",
    "visual.nms": "selects regions by their scores",
}


@pytest.fixture(autouse=True)
def _threads_kept(one_thread: None) -> None:
    """A conversion sets PyTorch's threads."""


@pytest.fixture
def runtime(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


def tiny_cell(name: str, **changes: Any) -> Cell:
    (cell,) = expand([catalog()[name].tiny()], read_example(None, None), replace(SETTINGS, **changes), MACHINE)
    return cell


@pytest.mark.parametrize(
    ("name", "precision", "runtime"),
    others_slow(COMPARED),
    indirect=["runtime"],
)
def test_a_model_gives_what_eager_pytorch_gives(name: str, precision: Any, runtime: str, tmp_path: Path) -> None:
    eager_stages = DETECTOR if name == "uniter-base" else {}
    conversion = convert_cell(tiny_cell(name, backend=runtime, precision=precision), tmp_path)
    assert why_not_measured(conversion) is None
    assert conversion.eager_stages == eager_stages
    assert conversion.runtime == runtime_version(runtime)
    assert conversion.options[THREADS[runtime]] == 1
    assert conversion.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert min(conversion.seconds or 0, conversion.first_pass_ms or 0) > 0
    equality = conversion.equality
    assert equality
    assert equality.inputs == 3
    assert equality.mean <= (equality.largest or 0) <= equality.tolerance
    if precision == "fp32":
        assert (equality.largest or 0) < 1e-4
    assert ("output" in equality.largest_by_part) == (not eager_stages)


@pytest.mark.parametrize("runtime", others_slow(RUNTIMES), indirect=True)
def test_a_whole_model_is_one_part(runtime: str, tmp_path: Path) -> None:
    conversion = convert_cell(tiny_cell("vilt-b32", backend=runtime, scope="model"), tmp_path)
    assert why_not_measured(conversion) is None
    assert conversion.equality
    assert set(conversion.equality.largest_by_part) == {"model"}
    assert conversion.eager_stages == {}


@pytest.mark.parametrize("runtime", others_slow(RUNTIMES), indirect=True)
def test_a_model_that_selects_boxes_is_not_converted_as_a_whole(runtime: str, tmp_path: Path) -> None:
    message = (
        "^--scope model: visual.rpn selects boxes by their scores, which no backend converts; --scope stages works$"
    )
    with pytest.raises(InputError, match=message):
        convert_cell(tiny_cell("uniter-base", backend=runtime, scope="model"), tmp_path)


@pytest.mark.parametrize(
    ("name", "runtime"),
    others_slow(product(("vilt-b32", "uniter-base", "hf-vilt-b32"), reversed(RUNTIMES))),
    indirect=["runtime"],
)
def test_weights_that_the_runtime_has_are_released(name: str, runtime: str, tmp_path: Path) -> None:
    """What stays in PyTorch keeps its own. transformers' ViLT orders patches anew in every pass."""
    set_up_torch(1)
    with torch.no_grad():
        workload = build_workload(tiny_cell(name, backend=runtime), tmp_path)
        weights = {key: weight.numel() for key, weight in workload.model.named_parameters()}
        prepared = load_backend(runtime).prepare(workload)
        before = list(tensors_of(prepared.forward()))
        prepared.release_weights(workload.model)
        after = list(tensors_of(prepared.forward()))
    torch.testing.assert_close(after, before)
    assert {key: weight.numel() for key, weight in workload.model.named_parameters()} == weights, "of the same shapes"
    in_memory = {weight.untyped_storage().data_ptr(): weight for weight in workload.model.parameters()}
    kept = sum(weight.untyped_storage().nbytes() // weight.element_size() for weight in in_memory.values())
    assert kept < 0.3 * sum(weights.values())


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "folder"
    with (
        pytest.raises(InputError, match=rf"^{folder}: .* cannot be written there \(Not a directory\); TMPDIR names"),
        writable(folder),
    ):
        pass


@pytest.fixture(scope="module")
def pairs_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Eager PyTorch and ONNX Runtime, in fp32 and int8."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("pairs")
    options = (
        "--backend",
        "eager,onnxruntime",
        "--precision",
        "fp32,int8-static",
        "--format",
        "json",
        "--device",
        "cpu",
    )
    model, out = write_tiny(folder), folder / "out"
    limits = ("--threads", 1, "--restarts", 1, "--budget", 0.5)
    return out, vlbench("run", "--models", model, *options, *limits, "--out", out)


def test_each_pair_is_a_measurement_and_an_unsupported_one_is_a_line(
    pairs_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, process = pairs_run
    assert process.returncode == 0, process.stderr
    left_out = [line for line in process.stderr.splitlines() if "left out" in line]
    (line,) = left_out
    assert line.startswith("vlbench: left out: --precision int8-static: eager does not compute in it on cpu;")
    lines = json.loads(process.stdout)
    results = lines["results"] if isinstance(lines, dict) else lines
    assert [(some["backend"], some["precision"], some["scope"]) for some in results] == [
        ("eager", "fp32", None),
        ("onnxruntime", "fp32", "stages"),
        ("onnxruntime", "int8-static", "stages"),
    ]
    assert results[0]["conversion"] is None
    for result in results[1:]:
        assert result["status"] == "ok", result["error"]
        assert result["conversion"]["options"]["intra_op_num_threads"] == 1
        assert result["conversion"]["runtime"] == runtime_version("onnxruntime")
        assert result["peak_memory_bytes"] > 0
        assert "convert" in result["seconds_by_phase"]
    assert results[2]["conversion"]["size_bytes"] < results[1]["conversion"]["size_bytes"]
    assert [(some.backend, some.precision) for some in read_results(folder)] == [
        ("eager", "fp32"),
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8-static"),
    ]


def test_a_result_is_kept_for_the_same_version_of_its_runtime_alone(
    pairs_run: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = read_results(pairs_run[0])
    store: MemoryStore[Result] = MemoryStore()
    store.results = results
    spec = catalog()["vilt-b32"].tiny()
    usable, _ = supported(pairs_of(SETTINGS, ["eager", "onnxruntime"], ["fp32", "int8-static"]), MACHINE)
    cells = [cell for some in usable for cell in expand([spec], read_example(None, None), some, results[0].machine)]
    missing, kept = split_measured(cells, store, results[0].machine)
    assert (len(missing), len(kept)) == (0, 3)
    monkeypatch.setattr(plan, "runtime_version", lambda name: f"{name} 0.0.1")
    missing, kept = split_measured(cells, store, results[0].machine)
    assert [result.backend for result in kept] == ["eager"]
    assert len(missing) == 2


def test_pairs_are_planned_for_each_backend_and_precision() -> None:
    pairs = pairs_of(SETTINGS, ["eager", "openvino"], ["fp32", "bf16", "int8-static"])
    usable, refusals = supported(pairs, MACHINE)
    assert [(some.backend, some.precision) for some in pairs] == [
        (backend, precision) for backend in ("eager", "openvino") for precision in ("fp32", "bf16", "int8-static")
    ]
    assert [(some.backend, some.precision) for some in usable] == [
        ("eager", "fp32"),
        ("eager", "bf16"),
        ("openvino", "fp32"),
        ("openvino", "bf16"),
        ("openvino", "int8-static"),
    ]
    assert [str(refusal) for refusal in refusals] == [
        "--precision int8-static: eager does not compute in it on cpu; it does in fp32, bf16, fp16, int8"
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--backend", "eager", "--precision", "int8-static"),
            "--precision int8-static: eager does not compute in it on cpu; it does",
        ),
        (("--backend", "onnxrt"), "--backend onnxrt: no such backend; did you mean onnxruntime?"),
        (("--precision", "fp32,int4"), "--precision int4: no such precision; did you mean int8?"),
        (("--backend", ","), "--backend: names none; eager, compile, onnxruntime"),
    ],
)
def test_bad_names_and_pairs_without_one_that_works_are_one_line(options: tuple[str, str], message: str) -> None:
    process = vlbench("run", "--models", "vilt", "--device", "cpu", *options)
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"vlbench: {message}")


def test_a_worker_that_measures_eager_pytorch_imports_no_runtime() -> None:
    """Nor what exports and compiles, nor transformers."""
    code = f"""
import sys
from vlbench.runner import worker
from vlbench.runner.cells import Cell
worker.measure_restart(Cell.model_validate_json({tiny_cell("vilt-b32", budget_seconds=0.1).model_dump_json()!r}))
names = ("onnxruntime", "openvino", "nncf", "onnx", "onnxscript", "torchao", "transformers", "torch._inductor",
         "torch._dynamo", "vlbench.runner.programs", "vlbench.runner.convert", "vlbench.runner.backends.compile")
print([name for name in names if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert process.stdout == "[]\n"


@pytest.mark.slow
def test_a_quantiser_of_pytorch_says_nothing() -> None:
    """torchao uses what PyTorch deprecates, when it is imported."""
    pytest.importorskip("torchao")
    code = """
import torch
from torch import nn
from pathlib import Path
from vlbench.runner.conversion import Part, Target
from vlbench.runner.quantisation import quantised
layer, target = nn.Sequential(nn.Linear(32, 32)), Target(folder=Path())
part = Part(name="text", module=layer, eager=layer.forward, calls=[], outputs=[], calibration=list, target=target)
print(quantised(part)(torch.ones(1, 32)).shape)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert process.stdout == "torch.Size([1, 32])\n"
    assert process.stderr == ""
