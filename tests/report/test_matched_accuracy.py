"""Which accuracy belongs to which latency: of the same model, backend and precision, or of outputs that are equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vlbench
from tests.report.written import converted, evaluated, folder_of, line
from vlbench.report.matched_accuracy import Accuracies

KEY = ("shapes", "test", "accuracy")
EAGER = evaluated("a", 0.8)


def of(backend: str, precision: str, value: float) -> dict[str, Any]:
    return evaluated("a", value, backend=backend, precision=precision, evaluation_hash=f"{backend} {precision}")


def values(folder: Path, *lines: Any, evaluations: Any) -> list[float | None]:
    results = vlbench.read(folder_of(folder, *lines, evaluations=evaluations))
    accuracies = Accuracies(results.folders)
    found = [accuracies.of(KEY, folder, result) for folder, _, result in results.named]
    return [accuracy and accuracy.value for accuracy in found]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (line("a"), 0.8),
        (line("a", backend="eager+detectron2"), 0.8),
        (line("b"), None),
        (converted("a", "openvino"), 0.8),
        (converted("a", "openvino", largest=1e-4), 0.8),  # as much as is allowed
        (converted("a", "openvino", largest=1.1e-4), None),
        (converted("a", "openvino", largest=None), None),  # other shapes
        (line("a", backend="openvino"), None),  # nobody compared the outputs
        (line("a", precision="bf16"), None),
        (converted("a", "openvino", "bf16"), None),
        (converted("a", "openvino", "fp16"), None),
        (converted("a", "openvino", "int8", largest=0.0), None),
        (converted("a", "openvino", "int8-static", largest=0.0), None),
    ],
)
def test_the_accuracy_of_eager_pytorch_is_that_of_equal_outputs_in_fp32(
    tmp_path: Path, cell: Any, value: float | None
) -> None:
    assert values(tmp_path, cell, evaluations=[EAGER]) == [value]


def test_an_accuracy_of_the_same_backend_and_precision_comes_first(tmp_path: Path) -> None:
    cells = [line("a"), converted("a", "openvino"), converted("a", "openvino", "int8"), converted("a", "onnxruntime")]
    evaluations = [EAGER, of("openvino", "fp32", 0.79), of("openvino", "int8", 0.7)]
    by_cell = dict(zip((cell["cell_hash"] for cell in cells), (0.8, 0.79, 0.7, 0.8), strict=True))
    results = vlbench.read(folder_of(tmp_path, *cells, evaluations=evaluations))
    accuracies = Accuracies(results.folders)
    for folder, _, result in results.named:
        accuracy = accuracies.of(KEY, folder, result)
        assert accuracy
        assert accuracy.value == by_cell[result.cell_hash]
    assert accuracies.keys_of(results.named)[0][:2] == ("shapes", "test")


def test_an_int8_accuracy_is_never_that_of_fp32(tmp_path: Path) -> None:
    cells = [line("a"), converted("a", "openvino")]
    assert values(tmp_path, *cells, evaluations=[of("openvino", "int8", 0.7)]) == [None, None]


def test_evaluations_of_several_backends_are_all_read_and_the_latest_of_each_counts(tmp_path: Path) -> None:
    later = of("openvino", "int8", 0.72) | {"evaluation_hash": "again"}
    evaluations = [EAGER, of("openvino", "int8", 0.7), later]
    results = vlbench.read(folder_of(tmp_path, line("a"), evaluations=evaluations))
    first = results.accuracy[results.accuracy["first"]]
    assert first[["backend", "precision", "value"]].values.tolist() == [
        ["eager", "fp32", 0.8],
        ["openvino", "int8", 0.72],
    ]


def test_the_folder_of_a_measurement_comes_before_a_later_one(tmp_path: Path) -> None:
    folder_of(tmp_path / "here", converted("a", "openvino"), evaluations=[EAGER])
    later = evaluated("a", 0.5, measured_at="2026-02-01T00:00:00+00:00")
    folder_of(tmp_path / "there", converted("b", "openvino"), converted("a", "onnxruntime"), evaluations=[later])
    results = vlbench.read(tmp_path / "here", tmp_path / "there")
    accuracies = Accuracies(results.folders)
    found = [accuracies.of(KEY, folder, result) for folder, _, result in results.named]
    assert [accuracy and accuracy.value for accuracy in found] == [0.8, None, 0.5]
