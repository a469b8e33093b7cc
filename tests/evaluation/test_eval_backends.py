"""`vlbench eval` with several backends and precisions: each has an accuracy of its own, beside that of eager ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.helpers import others_slow, tiny, write_tiny
from vlbench.cli.main import app
from vlbench.errors import InputError
from vlbench.evaluation.conversion import example_groups
from vlbench.evaluation.evaluate import evaluation_hash
from vlbench.evaluation.split import EvaluationSettings, Split
from vlbench.runner import programs
from vlbench.runner.backends import BACKENDS
from vlbench.runner.equality import TOLERANCES
from vlbench.runner.reader import read_evaluations
from vlbench.runner.records import Evaluation
from vlbench.tasks.registry import TASKS
from vlbench.tasks.shapes import items

QUICK = ("--device", "cpu", "--threads", "1", "--batch", "8", "--no-latency", "--no-control")
RUNTIMES = "eager,onnxruntime,openvino"


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("test", 4), ("train", 10)):
        monkeypatch.setitem(items.SCENES, split, count)
    monkeypatch.setitem(items.SEARCHED, "test", 4)


def run(folder: Path, *options: object, model: str = "vilt-b32", task: str = "shapes") -> Result:
    words = ("eval", "--models", write_tiny(folder, model), "--task", task, "--out", folder / "out", *QUICK, *options)
    result = CliRunner().invoke(app, list(map(str, words)))
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def evaluated(folder: Path, *options: object, **named: Any) -> dict[tuple[str, str], Evaluation]:
    """By backend and precision."""
    result = run(folder, *options, **named)
    assert result.exit_code == 0, result.output
    return {(line.backend, line.precision): line for line in read_evaluations(folder / "out")}


def predictions(folder: Path, evaluation: Evaluation) -> Any:
    return json.loads((folder / "out" / evaluation.predictions).read_text())


@pytest.mark.slow
def test_runtimes_in_fp32_answer_as_eager_pytorch(tmp_path: Path) -> None:
    evaluations = evaluated(tmp_path, "--backend", RUNTIMES)
    assert list(evaluations) == [(name, "fp32") for name in RUNTIMES.split(",")]
    eager = evaluations.pop(("eager", "fp32"))
    assert (eager.conversion, eager.difference) == (None, None)
    for (backend, _), evaluation in evaluations.items():
        assert predictions(tmp_path, evaluation) == predictions(tmp_path, eager)
        assert evaluation.difference is not None
        assert (evaluation.difference.value, evaluation.difference.changed) == (0, 0)
        assert evaluation.difference.n == eager.items
        conversion = evaluation.conversion
        assert conversion is not None
        assert (conversion.runtime or "").startswith(BACKENDS[backend].package)
        assert conversion.size_bytes
        assert not conversion.eager_stages
        assert conversion.equality is not None
        assert conversion.equality.inputs == 3
        assert conversion.equality.within_tolerance
        assert set(conversion.equality.largest_by_part) >= {"text", "visual.patch", "interaction", "head", "output"}


@pytest.mark.slow
def test_quantised_models_are_evaluated_without_a_word_of_the_quantiser(tmp_path: Path) -> None:
    result = run(tmp_path, "--backend", "onnxruntime,openvino", "--precision", "int8,int8-static")
    assert result.exit_code == 0
    lines = [line for line in result.stderr.splitlines() if "━" not in line or "tiny" not in line]
    assert lines == [f"results: {tmp_path / 'out'}"]
    evaluations = read_evaluations(tmp_path / "out")
    assert len({line.evaluation_hash for line in evaluations}) == len(evaluations) == 4
    for line in evaluations:
        assert line.difference is None  # there is no evaluation in eager PyTorch
        assert line.conversion is not None
        assert line.conversion.equality is not None
        assert (line.conversion.equality.largest or 0) > TOLERANCES["fp32"]


@pytest.mark.slow
def test_an_evaluation_is_compared_to_an_earlier_one_in_the_folder_and_each_pair_is_kept(tmp_path: Path) -> None:
    evaluated(tmp_path)
    evaluations = evaluated(tmp_path, "--backend", "onnxruntime", "--precision", "int8-static")
    difference = evaluations["onnxruntime", "int8-static"].difference
    assert difference is not None
    accuracies = [evaluations[pair].accuracy.value for pair in (("onnxruntime", "int8-static"), ("eager", "fp32"))]
    assert difference.value == pytest.approx(accuracies[0] - accuracies[1])
    again = run(tmp_path, "--backend", "eager,onnxruntime", "--precision", "fp32,int8-static")
    name = tiny("vilt-b32").name
    assert f"kept from {tmp_path / 'out'}: {name};" in again.stderr
    assert f"kept from {tmp_path / 'out'}: {name}, onnxruntime int8-static;" in again.stderr
    assert "left out: --precision int8-static: eager does not compute in it on cpu" in again.stderr
    assert "difference to eager fp32" in again.stdout
    assert len(read_evaluations(tmp_path / "out")) == 3


def test_pairs_that_no_backend_computes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--precision int8-static: eager does not compute in it on cpu; it does in"):
        run(tmp_path, "--precision", "int8-static")
    with pytest.raises(InputError, match=r"^--backend onnx: no such backend; did you mean onnxruntime"):
        run(tmp_path, "--backend", "onnx")
    with pytest.raises(InputError, match=r"^--backend cuda-graph: executes batches of one size alone; eager works$"):
        run(tmp_path, "--backend", "cuda-graph")


@pytest.mark.slow
def test_a_model_with_other_outputs_has_no_accuracy_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, "fp32", 0.0)
    result = run(tmp_path, "--backend", "onnxruntime,eager", "--precision", "fp32,int8-static")
    assert result.exit_code == 1
    assert "tiny, onnxruntime fp32: no accuracy: the output of " in result.stderr
    pairs = [(line.backend, line.precision) for line in read_evaluations(tmp_path / "out")]
    assert pairs == [("eager", "fp32"), ("onnxruntime", "int8-static")]


def test_a_runtime_that_is_not_installed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vlbench.runner.backends.openvino", None)
    result = run(tmp_path, "--backend", "openvino,eager")
    assert result.exit_code == 1
    assert "openvino fp32: no accuracy: --backend openvino: cannot be imported" in result.stderr
    assert "pip install 'vlbench[openvino]' installs it, or use eager" in result.stderr
    assert [line.backend for line in read_evaluations(tmp_path / "out")] == ["eager"]


def test_what_cannot_be_converted_for_a_later_batch_stays_eager_and_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "MOST_EXPORTS", 1)
    evaluations = evaluated(tmp_path, "--backend", "eager,onnxruntime")
    conversion = evaluations["onnxruntime", "fp32"].conversion
    assert conversion is not None
    assert set(conversion.eager_stages) == {"text", "interaction", "head"}  # with and without padding
    assert "differ from call to call in more than sizes" in conversion.eager_stages["text"]
    assert predictions(tmp_path, evaluations["onnxruntime", "fp32"]) == predictions(
        tmp_path, evaluations["eager", "fp32"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "task"),
    others_slow(
        [
            ("uniter-base", "shapes"),
            ("vilt-b32", "shapes-pairs"),
            ("vilt-b32", "shapes-retrieval"),
            ("hf-clip-vit-b32", "shapes-retrieval"),
        ]
    ),
)
def test_each_kind_of_model_and_task_runs_in_onnx_runtime(tmp_path: Path, model: str, task: str) -> None:
    evaluations = evaluated(tmp_path, "--backend", "eager,onnxruntime", model=model, task=task)
    difference = evaluations["onnxruntime", "fp32"].difference
    assert difference is not None
    assert (difference.value, difference.changed) == (0, 0)


@pytest.mark.slow
def test_compiled_models_answer_as_eager_pytorch(tmp_path: Path) -> None:
    evaluations = evaluated(tmp_path, "--backend", "eager,compile")
    compiled = evaluations["compile", "fp32"]
    assert compiled.conversion is not None
    assert not compiled.conversion.eager_stages
    assert predictions(tmp_path, compiled) == predictions(tmp_path, evaluations["eager", "fp32"])


def test_the_hash_of_eager_pytorch_knows_no_backend() -> None:
    """So that evaluations of older versions are kept."""
    split = Split(EvaluationSettings(task=TASKS["shapes"], data=Path(), split="test"))
    head = split.head_for(tiny("vilt-b32"))
    hashes = [evaluation_hash(head, split.under(backend=name)) for name in ("eager", "onnxruntime", "openvino")]
    assert hashes[0] == evaluation_hash(head, split)
    assert len(set(hashes)) == 3


def test_passes_are_a_full_batch_a_smaller_one_of_short_texts_and_two_of_one_length() -> None:
    full, short, alike = example_groups([5, 9, 7, 3, 8, 7, 4, 6], batch_size=4)
    assert full == [0, 1, 2, 3]
    assert short == [3, 6]
    assert sorted(alike) == [2, 5]
    assert example_groups([5], batch_size=4) == [[0]]
