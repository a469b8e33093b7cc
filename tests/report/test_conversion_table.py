"""Tables of several backends and precisions: columns, order, the conversions, and notes that are not repeated."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import vlbench
from tests.report.written import converted, failed, folder_of, line, summary
from vlbench.report.notes import notes
from vlbench.report.tables import result_tables, results_csv
from vlbench.runner.reader import read_unsampled
from vlbench.runner.records import Result
from vlbench.tables.table import Table
from vlbench.tables.terminal import to_terminal
from vlbench.tables.writers import to_text

NMS = {"visual.nms": "it selects by scores", "visual.rpn": "it selects by scores"}
CELLS = (
    converted("b", "openvino", "int8", largest=0.25, mean=0.002, tolerance=0.25),
    converted("b", "onnxruntime", eager_stages=NMS, seconds=2.25, first_pass_ms=99.5),
    converted("b", "openvino", eager_stages=NMS),
    line("b"),
    line("a"),
    converted("a", "compile", runtime=None, size_bytes=None),
)


def read(folder: Path, *lines: Any) -> list[Result]:
    return read_unsampled(folder_of(folder, *lines))


def shown(table: Table) -> list[dict[str, str]]:
    seen = table.without_empty().keep(lambda column: column.shown != "files")
    return [dict(zip(seen.names, row, strict=True)) for row in seen.texts]


def test_backend_and_precision_are_columns_where_results_differ_and_eager_fp32_is_first(tmp_path: Path) -> None:
    executed = [["b", "eager", "fp32"], ["b", "onnxruntime", "fp32"], ["b", "openvino", "fp32"]]
    executed += [["b", "openvino", "int8"], ["a", "eager", "fp32"], ["a", "compile", "fp32"]]
    for table in result_tables(read(tmp_path, *CELLS))[:2]:
        assert [list(row.values())[:3] for row in shown(table)] == executed


def test_of_one_backend_in_one_precision_only_files_have_these_columns(tmp_path: Path) -> None:
    results = read(tmp_path, line("a"), line("b"))
    for table in result_tables(results)[:2]:
        assert not {"backend", "precision", "scope"} & set(shown(table)[0])
    assert result_tables(results)[0].names[:4] == ["model", "backend", "precision", "scope"]
    assert "Settings: cpu, fp32, eager, batch 1" in notes(results)


def test_a_whole_model_is_named_by_its_scope(tmp_path: Path) -> None:
    whole = converted("a", "openvino", scope="model", cell_hash="whole", latency_ms_by_stage=None)
    results = read(tmp_path, whole, converted("a", "openvino"), line("a"))
    assert [row["scope"] for row in shown(result_tables(results)[0])] == ["-", "stages", "model"]
    assert vlbench.read(tmp_path).cells["cell"].tolist() == [
        "a, eager, scope stages",
        "a, openvino, scope stages",
        "a, openvino, scope model",
    ]


def test_every_conversion_is_a_row_with_its_costs_and_its_differences(tmp_path: Path) -> None:
    *_, conversions, _ = result_tables(read(tmp_path, *CELLS))
    rows = [dict(zip(conversions.names, row, strict=True)) for row in conversions.texts]
    assert rows[0] == {
        "model": "b",
        "backend": "onnxruntime",
        "precision": "fp32",
        "scope": "stages",
        "converted s": "2.25",
        "first pass ms": "99.5",
        "size MiB": "3",
        "largest difference": "2e-06",
        "mean difference": "1e-07",
        "allowed": "0.0001",
        "eager stages": "2",  # the notes name them
    }
    assert [row["largest difference"] for row in rows] == ["2e-06", "2e-06", "0.25", "2e-06"]
    assert rows[-1]["size MiB"] == "-"  # compile writes none


def test_outputs_of_another_shape_are_not_alike(tmp_path: Path) -> None:
    cell = converted("a", "openvino", largest=None, status="invalid", error="other shapes", latency_ms=None)
    *_, conversions, remarks = result_tables(read(tmp_path, cell))
    assert shown(conversions)[0]["largest difference"] == "not alike"
    assert "a: invalid: other shapes" in remarks.notes


def test_without_conversions_there_is_no_such_table(tmp_path: Path) -> None:
    assert not result_tables(read(tmp_path, line("a")))[2]


def test_why_stages_stay_eager_is_one_line_for_all_backends_with_the_same_reasons(tmp_path: Path) -> None:
    other = converted("b", "compile", eager_stages={"text": "KeyError: 'ids'"})
    lines = [words for words in notes(read(tmp_path, *CELLS, other)) if "stays in PyTorch" in words]
    assert lines == [
        "b: stays in PyTorch with onnxruntime, openvino: visual.nms, visual.rpn (it selects by scores)",
        "b: stays in PyTorch with compile: text (KeyError: 'ids')",
    ]


def test_equal_notes_are_one_line_that_names_its_measurements(tmp_path: Path) -> None:
    def noisy(*reasons: str) -> dict[str, Any]:
        return {"verdict": "noisy", "reasons": reasons}

    cells = [
        line("a", noise=noisy("all of a", "once")),
        converted("a", "openvino", noise=noisy("all of a", "two of three")),
        converted("a", "openvino", "int8", noise=noisy("all of a", "two of three")),
        line("b", noise=noisy("once")),
        failed("c", backend="onnxruntime"),
    ]
    lines = notes(read(tmp_path, *cells))
    assert lines[-4:] == [
        "a: noisy: all of a",
        "a, eager, fp32; b: noisy: once",
        "a (openvino, fp32; openvino, int8): noisy: two of three",
        "c: failed: out of memory: 51 TB",
    ]
    assert "Settings: cpu, batch 1" in lines
    assert "Runtimes: openvino 1.2" in lines


def test_a_model_with_several_accuracies_has_its_notes_once(tmp_path: Path) -> None:
    result, *_ = read(tmp_path, line("a", noise={"verdict": "noisy", "reasons": ["±20%"]}))
    assert notes([result, result.model_copy(update={"accuracy": None})])[-1] == "a: noisy: ±20%"


def test_the_table_of_conversions_fits_a_terminal_of_120_columns(tmp_path: Path) -> None:
    long = converted("clip-vit-b32", "onnxruntime", "int8-static", eager_stages=NMS)
    console = Console(file=io.StringIO(), width=120)
    console.print(to_terminal(result_tables(read(tmp_path, long, line("clip-vit-b32")))[2:3], 120))
    _, head, row = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert head.split("  ")[0].startswith("model")
    assert "largest difference" in head
    assert row.split() == ["clip-vit-b32", "onnxruntime", "int8-static", "stages", "12.5", "250", "3", "2e-06", "2"]


def test_csv_has_a_conversion_in_plain_units(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv(read(tmp_path, *CELLS[1:2], line("a"))))))
    assert {name: value for name, value in rows[0].items() if name.startswith(("scope", "conversion"))} == {
        "scope": "stages",
        "conversion.runtime": "onnxruntime 1.2",
        "conversion.options": "threads=1; hint=LATENCY",
        "conversion.seconds": "2.25",
        "conversion.first_pass_ms": "99.5",
        "conversion.size_bytes": str(3 * 2**20),
        "conversion.eager_stages": "visual.nms: it selects by scores; visual.rpn: it selects by scores",
        "conversion.equality.inputs": "3",
        "conversion.equality.largest": "2e-06",
        "conversion.equality.mean": "1e-07",
        "conversion.equality.tolerance": "0.0001",
        "conversion.equality.largest_by_part.text": "1e-06",
    }
    assert rows[1]["conversion.runtime"] == ""
    assert not any(name.startswith(("scope", "conversion")) for name in results_csv(read(tmp_path / "a", line("a"))))


def test_frames_have_a_conversion_and_gaps_without_one(tmp_path: Path) -> None:
    cells = vlbench.read(folder_of(tmp_path, *CELLS[1:2], line("b"))).cells.set_index("backend")
    row = cells.loc["onnxruntime"]
    assert row[["scope", "runtime", "conversion_seconds", "first_pass_ms"]].tolist() == [
        "stages",
        "onnxruntime 1.2",
        2.25,
        99.5,
    ]
    assert row[["converted_bytes", "largest_difference", "tolerance"]].tolist() == [3 * 2**20, 2e-6, 1e-4]
    assert row["eager_stages"] == "visual.nms, visual.rpn"
    gaps = cells.loc["eager", ["scope", "runtime", "conversion_seconds", "converted_bytes", "largest_difference"]]
    assert gaps.isna().all()


@pytest.mark.parametrize("backend", ["eager", "cuda-graph"])
def test_a_result_of_before_conversions_were_recorded_still_reads(tmp_path: Path, backend: str) -> None:
    results = read(tmp_path, line("a", backend=backend, latency_ms=summary(8.0, 7.0, 9.0)))
    assert (results[0].scope, results[0].conversion) == (None, None)
    assert "8.00" in to_text(result_tables(results))
    assert vlbench.read(tmp_path).cells["backend"].tolist() == [backend]
