"""A backend is found by its name, refused by one line where there is none, and measured as a whole and by stage."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.paths import ROOT
from tests.runner.conftest import vlbench
from tests.runner.toy_backend import CONVERTED, STAGE_MS, TOYS
from vlbench.errors import InputError
from vlbench.inputs import read_example
from vlbench.measuring.machine import describe_machine
from vlbench.runner import benchmark as benchmark_module
from vlbench.runner import worker_client
from vlbench.runner.backends import BACKENDS, EAGER, check_backend, check_pair, load_backend, runtime_version
from vlbench.runner.benchmark import benchmark
from vlbench.runner.cells import Cell
from vlbench.runner.plan import RunSettings, expand, pairs_of
from vlbench.runner.records import Result
from vlbench.runner.workload import build_workload
from vlbench.specs.catalog import catalog

IN_WORKER = "from tests.runner.toy_backend import register; from vlbench.runner.worker import main; register(); main()"
SETTINGS = RunSettings(device="cpu", threads=1, budget_seconds=0.5, restarts=1)


@pytest.fixture(scope="module", autouse=True)
def _toys() -> Iterator[None]:
    """Registered here and in the workers that are started."""
    with pytest.MonkeyPatch.context() as patch:
        for name, info in TOYS.items():
            patch.setitem(BACKENDS, name, info)
        patch.setattr(worker_client, "WORKER", [sys.executable, "-c", IN_WORKER])
        yield


def tiny_cell(name: str, backend: str = EAGER) -> Cell:
    settings, machine = replace(SETTINGS, backend=backend), describe_machine(threads=1, gpu=None)
    (cell,) = expand([catalog()[name].tiny()], read_example(None, None), settings, machine)
    return cell


def measured(*backends: str) -> dict[str, Result]:
    """The results of one run of a tiny ViLT."""
    settings = pairs_of(SETTINGS, backends, ["fp32"])
    results = benchmark([catalog()["vilt-b32"].tiny()], read_example(None, None), settings).results
    return {result.backend: result for result in results}


@pytest.fixture(scope="module")
def results(_toys: None) -> dict[str, Result]:
    return measured(*TOYS, EAGER)


def test_each_backend_is_a_class_of_a_module_and_each_module_holds_one() -> None:
    names = {name: info for name, info in BACKENDS.items() if name not in TOYS}
    for info in names.values():
        module, _, class_name = info.target.partition(":")
        spec = find_spec(module)
        assert spec
        assert spec.origin
        assert f"class {class_name}" in Path(spec.origin).read_text()
        assert set(info.precisions) <= {"cpu", "cuda"}
    folder = ROOT / "vlbench/runner/backends"
    modules = {path.stem.replace("_", "-") for path in folder.glob("*.py")} - {"--init--"}
    assert modules == set(names)


def test_a_toy_is_measured_end_to_end_and_by_stage(results: dict[str, Result]) -> None:
    result = results["toy"]
    assert (result.status, result.error, result.scope) == ("ok", None, "stages")
    (restart,) = result.restarts
    assert list(restart.seconds_by_phase) == ["build", "convert", "first_pass", "warm_up", "latency", "input"]
    fastest = {name: min(samples) for name, samples in restart.latency_ms_by_stage.items()}
    assert list(fastest) == ["total", "text", "visual", "visual.patch", "interaction", "head", "rest"]
    assert all(fastest[name] >= STAGE_MS for name in ("text", "visual", "visual.patch", "interaction"))
    assert fastest["head"] < STAGE_MS
    assert min(fastest["total"], *restart.latency_ms) >= 3 * STAGE_MS


def test_a_result_says_what_the_backend_made_of_the_model(results: dict[str, Result]) -> None:
    conversion = results["toy"].conversion
    assert conversion
    assert conversion.runtime is None
    assert conversion.options == {"threads": 1}
    assert conversion.eager_stages == {"head": "a toy has no heads"}
    assert conversion.size_bytes is None  # PyTorch has the weights
    assert conversion.seconds is not None
    assert conversion.first_pass_ms is not None
    assert conversion.first_pass_ms >= 3 * STAGE_MS
    equality = conversion.equality
    assert equality
    assert (equality.inputs, equality.largest, equality.mean) == (3, 0, 0)
    assert set(equality.largest_by_part) == {"text", "visual.patch", "interaction", "output"}


def test_eager_converts_nothing_and_records_no_conversion(results: dict[str, Result]) -> None:
    result = results[EAGER]
    assert (result.status, result.conversion, result.scope) == ("ok", None, None)
    assert list(result.restarts[0].seconds_by_phase) == ["build", "first_pass", "warm_up", "latency", "input"]


def test_a_backend_that_computes_something_else_gets_no_number(results: dict[str, Result]) -> None:
    result = results["wrong"]
    assert (result.status, result.latency_ms, result.restarts) == ("invalid", None, ())
    assert re.fullmatch(
        r"the output of interaction differs from eager PyTorch's by [\d.e+-]+ of its largest value; "
        r"at most 0.0001 is allowed",
        result.error or "",
    )
    assert result.conversion
    assert result.conversion.equality
    assert result.conversion.equality.largest_by_part["visual.patch"] == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raises-converting", "LookupError: no such kernel"),
        ("raises-running", "LookupError: no such kernel"),
        ("aborts-converting", "the worker killed by signal 6 without a result"),
        ("aborts-running", "the worker killed by signal 6 without a result"),
        (
            "absent",
            "--backend absent: cannot be imported (No module named 'tests.no_such_runtime'); "
            "pip install 'vlbench[toys]' installs it, or use eager",
        ),
    ],
)
def test_a_backend_that_does_not_work_is_a_row_with_the_reason_and_the_others_go_on(
    name: str, reason: str, results: dict[str, Result]
) -> None:
    assert (results[name].status, results[name].latency_ms) == ("failed", None)
    assert (results[name].error or "").startswith(reason)
    assert "line 7" not in (results[name].error or "")
    assert results["toy"].status == results[EAGER].status == "ok"


def test_a_folder_that_cannot_be_written_is_a_row_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file lies where the folder would be made."""

    class Folder:
        def __enter__(self) -> Path:
            (tmp_path / "file").touch()
            return tmp_path / "file"

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(benchmark_module, "temporary_folder", Folder)
    results = measured("toy", EAGER)
    assert (results["toy"].status, results[EAGER].status) == ("failed", "ok")
    assert (results["toy"].error or "").endswith(
        "converted models cannot be written there (Not a directory); TMPDIR names another folder"
    )


@pytest.mark.parametrize("name", ["vilt-b32", "uniter-base", "hf-clip-vit-b32", "hf-visualbert-vqa"])
def test_converted_stages_give_the_models_output(name: str, tmp_path: Path) -> None:
    with torch.no_grad():
        expected = load_backend(EAGER).prepare(build_workload(tiny_cell(name))).forward()
        workload = build_workload(tiny_cell(name, "toy"), tmp_path)
        prepared = load_backend("toy").prepare(workload)
        assert torch.equal(prepared.forward(), expected)
    assert (tmp_path / CONVERTED).exists()
    stages = {part.name.partition("-")[0] for part, _ in prepared.parts}
    assert stages >= set(workload.convertible) - {"head", *prepared.eager_stages}


def test_the_backend_of_the_page_works(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/backends.md").read_text(), re.MULTILINE | re.DOTALL)
    module: dict[str, Any] = {}
    exec(compile(code, "docs/backends.md", "exec"), module)
    with torch.no_grad():
        expected = load_backend(EAGER).prepare(build_workload(tiny_cell("pixelbert-r50"))).forward()
        prepared = module["ChannelsLastBackend"]().prepare(build_workload(tiny_cell("pixelbert-r50"), tmp_path))
        assert torch.allclose(prepared.forward(), expected, atol=1e-5)
    assert dict.fromkeys(prepared.eager_stages.values()) == {"it has no convolution": None}
    assert "visual.backbone" not in prepared.eager_stages


def test_an_unknown_backend_is_one_line_that_names_the_known() -> None:
    with pytest.raises(InputError, match=r"^--backend tpu: no such backend; known: .*eager"):
        check_backend("tpu")
    with pytest.raises(InputError, match="no such backend"):
        tiny_cell("vilt-b32").model_validate(tiny_cell("vilt-b32").model_dump() | {"backend": "tpu"})
    process = vlbench("run", "--models", "vilt", "--backend", "eager,eagre")
    assert process.returncode == 2
    assert process.stderr == "vlbench: --backend eagre: no such backend; did you mean eager?\n"


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        (("onnxruntime", "fp32", "cuda"), "--backend onnxruntime: runs on the CPU alone, and this measures"),
        (("cuda-graph", "fp32", "cpu"), "--backend cuda-graph: runs on a GPU alone, and this measures on cpu"),
        (
            ("eager", "int8-static", "cpu"),
            "--precision int8-static: eager does not compute in it on cpu; it does in fp32",
        ),
        (("onnxruntime", "bf16", "cpu"), "--precision bf16: onnxruntime does not compute in it on cpu;"),
        (("cuda-graph", "int8", "cuda"), "--precision int8: cuda-graph does not compute in it on cuda; it does in"),
    ],
)
def test_an_unsupported_pair_is_one_line(pair: tuple[str, str, str], line: str) -> None:
    with pytest.raises(InputError, match=f"^{line}"):
        check_pair(*pair)


def test_the_version_of_a_runtime_is_that_of_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime_version(EAGER) is None
    monkeypatch.setitem(BACKENDS, "pytest", replace(BACKENDS["toy"], package="pytest"))
    assert runtime_version("pytest") == f"pytest {pytest.__version__}"
    monkeypatch.setitem(BACKENDS, "pytest", replace(BACKENDS["toy"], package="no-such-package"))
    assert runtime_version("pytest") is None
