"""A backend is found by its file, refused by one line where there is none, and measured as a whole and by stage."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.paths import ROOT
from tests.runner.conftest import vlbench
from tests.runner.toy_backend import STAGE_MS
from vlbench.errors import InputError
from vlbench.inputs import read_example
from vlbench.measuring.machine import describe_machine
from vlbench.runner import worker_client
from vlbench.runner.backends import BACKENDS, check_backend, load_backend
from vlbench.runner.benchmark import benchmark
from vlbench.runner.cells import Cell
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.records import Conversion, Result
from vlbench.runner.workload import build_workload
from vlbench.specs.catalog import catalog

TOY = "tests.runner.toy_backend:ToyBackend"
IN_WORKER = f"""
from vlbench.runner.backends import BACKENDS
from vlbench.runner.worker import main
BACKENDS["toy"] = {TOY!r}
main()
"""
SETTINGS = RunSettings(device="cpu", threads=1, budget_seconds=0.5, restarts=1)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """Registered here and in the workers that are started."""
    monkeypatch.setitem(BACKENDS, "toy", TOY)
    monkeypatch.setattr(worker_client, "WORKER", [sys.executable, "-c", IN_WORKER])
    return "toy"


def tiny_cell(name: str, backend: str = "eager") -> Cell:
    settings, machine = replace(SETTINGS, backend=backend), describe_machine(threads=1, gpu=None)
    (cell,) = expand([catalog()[name].tiny()], read_example(None, None), settings, machine)
    return cell


def measured(settings: RunSettings) -> Result:
    (result,) = benchmark([catalog()["vilt-b32"].tiny()], read_example(None, None), settings).results
    assert result.status == "ok", result.error
    return result


def test_each_module_of_the_folder_is_a_backend() -> None:
    assert BACKENDS["eager"] == "vlbench.runner.backends.eager:EagerBackend"
    for target in BACKENDS.values():
        module, _, name = target.partition(":")
        spec = find_spec(module)
        assert spec
        assert spec.origin
        assert f"class {name}" in Path(spec.origin).read_text()
    assert callable(load_backend("eager").prepare)


def test_a_toy_is_measured_end_to_end_and_by_stage(toy: str) -> None:
    result = measured(replace(SETTINGS, backend=toy))
    assert result.backend == "toy"
    (restart,) = result.restarts
    assert restart.conversion == Conversion(size_bytes=7, eager_stages={"head": "a toy has no heads"})
    assert list(restart.seconds_by_phase) == ["build", "convert", "first_pass", "warm_up", "latency", "input"]
    fastest = {name: min(samples) for name, samples in restart.latency_ms_by_stage.items()}
    assert list(fastest) == ["total", "text", "visual", "visual.patch", "interaction", "head", "rest"]
    assert all(fastest[name] >= STAGE_MS for name in ("text", "visual", "visual.patch", "interaction"))
    assert fastest["head"] < STAGE_MS
    assert min(fastest["total"], *restart.latency_ms) >= 3 * STAGE_MS


def test_eager_converts_nothing_and_records_no_conversion() -> None:
    (restart,) = measured(SETTINGS).restarts
    assert restart.conversion is None
    assert list(restart.seconds_by_phase) == ["build", "first_pass", "warm_up", "latency", "input"]


@pytest.mark.parametrize("name", ["vilt-b32", "uniter-base", "hf-clip-vit-b32", "hf-visualbert-vqa"])
def test_converted_stages_give_the_models_output(name: str, toy: str) -> None:
    with torch.inference_mode():
        expected = load_backend("eager").prepare(build_workload(tiny_cell(name))).forward()
        workload = build_workload(tiny_cell(name, toy))
        prepared = load_backend(toy).prepare(workload)
        assert torch.equal(prepared.forward(), expected)
    converted = {name: ["forward" in vars(module) for module in group] for name, group in workload.convertible.items()}
    assert all(all(flags) for name, flags in converted.items() if name != "head")


def test_the_backend_of_the_page_works() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/backends.md").read_text(), re.MULTILINE | re.DOTALL)
    module: dict[str, Any] = {}
    exec(compile(code, "docs/backends.md", "exec"), module)
    with torch.inference_mode():
        expected = load_backend("eager").prepare(build_workload(tiny_cell("pixelbert-r50"))).forward()
        prepared = module["ChannelsLastBackend"]().prepare(build_workload(tiny_cell("pixelbert-r50")))
        assert torch.allclose(prepared.forward(), expected, atol=1e-5)
    assert dict.fromkeys(prepared.eager_stages.values()) == {"it has no convolution": None}
    assert "visual.backbone" not in prepared.eager_stages


def test_an_unknown_backend_is_one_line_that_names_the_known() -> None:
    with pytest.raises(InputError, match=r"^--backend tpu: no such backend; known: cuda-graph, eager$"):
        check_backend("tpu")
    with pytest.raises(InputError, match="no such backend"):
        tiny_cell("vilt-b32").model_validate(tiny_cell("vilt-b32").model_dump() | {"backend": "tpu"})
    process = vlbench("run", "--models", "vilt", "--backend", "eagre")
    assert process.returncode == 2
    assert process.stderr == "vlbench: --backend eagre: no such backend; did you mean eager?\n"


def test_a_backend_whose_runtime_is_absent_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "absent", "tests.no_such_runtime:AbsentBackend")
    message = (
        r"^--backend absent: cannot be imported \(No module named 'tests.no_such_runtime'\); install it, or use eager$"
    )
    with pytest.raises(InputError, match=message):
        load_backend("absent")
