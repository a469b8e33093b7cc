"""The frontier by hand, means over seeds, and a picture whose names can be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot as plt
from PIL import Image
from typer.testing import CliRunner

from tests.helpers import write_lines, write_results
from tests.report.evaluated import CELL, MACHINE, evaluation, result
from vlbench.cli.main import app
from vlbench.report import frontier_figure
from vlbench.report.colours import FAMILIES
from vlbench.report.frontier import FrontierPoint, frontier_frame, group_key, lines, pareto, standings
from vlbench.report.labels import place_labels
from vlbench.report.paper import drawing
from vlbench.runner.records import Conversion, Equality, Evaluation, Result


def points(*values: tuple[float, float]) -> list[FrontierPoint]:
    return [FrontierPoint(cost=cost, accuracy=accuracy) for cost, accuracy in values]


@pytest.mark.parametrize(
    ("values", "on"),
    [
        ([], []),
        ([(10, 0.5)], [True]),
        ([(10, 0.5), (20, 0.6)], [True, True]),
        ([(10, 0.6), (20, 0.5)], [True, False]),
        ([(10, 0.5), (10, 0.6)], [False, True]),  # as dear, less accurate
        ([(10, 0.5), (20, 0.5)], [True, False]),  # as accurate, dearer
        ([(10, 0.5), (10, 0.5), (20, 0.4)], [True, True, False]),
        ([(30, 0.9), (10, 0.5), (20, 0.4), (25, 0.7), (5, 0.3)], [True, True, False, True, True]),
    ],
)
def test_a_model_is_on_the_frontier_unless_another_beats_it(values: list[Any], on: list[bool]) -> None:
    assert pareto(points(*values)) == on


def wide(cost: float, accuracy: float, cost_by: float = 1, accuracy_by: float = 0.05) -> FrontierPoint:
    return FrontierPoint(
        cost=cost,
        accuracy=accuracy,
        cost_interval=(cost - cost_by, cost + cost_by),
        accuracy_interval=(accuracy - accuracy_by, accuracy + accuracy_by),
    )


@pytest.mark.parametrize(
    ("others", "standing"),
    [
        (wide(10, 0.8), "no"),
        (wide(19, 0.8), "perhaps"),  # the latencies overlap
        (wide(10, 0.65), "perhaps"),  # the accuracies overlap
        (wide(18, 0.71), "no"),  # the latencies touch: no slower at the worst
        (wide(18, 0.69), "perhaps"),
        (wide(10, 0.59), "yes"),
        (FrontierPoint(cost=20, accuracy=0.8), "perhaps"),  # it may be the faster one
    ],
)
def test_within_intervals_nobody_is_surely_beaten(others: FrontierPoint, standing: str) -> None:
    assert standings([wide(20, 0.6), others]) == [standing, "yes"]


def test_of_two_that_share_one_accuracy_the_slower_is_beaten_unless_their_latencies_overlap() -> None:
    points = [replace(wide(cost, 0.8), evaluated="patch") for cost in (10, 11.9, 12.1)]
    assert standings(points) == ["yes", "perhaps", "no"]
    assert standings([replace(point, evaluated=None) for point in points]) == ["yes", "perhaps", "perhaps"]


def test_of_two_that_cost_exactly_the_same_the_less_accurate_is_beaten() -> None:
    exact = [FrontierPoint(cost=5, accuracy=at, accuracy_interval=(at - 0.01, at + 0.01)) for at in (0.6, 0.8)]
    assert standings(exact) == ["no", "yes"]
    assert standings(points((5, 0.6), (5, 0.8), (5, 0.8))) == ["no", "yes", "yes"]


TWO_THREADS = MACHINE.model_copy(update={"threads": 2})
THREE = (("patch", 12.0, 0.83, 1), ("grid", 22.0, 0.86, 3), ("region", 160.0, 0.6, 30))


def three(**values: Any) -> tuple[list[Result], list[Evaluation]]:
    cells = [result(name, latency, giga * 10**9) for name, latency, _, giga in THREE]
    return cells, [evaluation(name, accuracy, **values) for name, _, accuracy, _ in THREE]


def test_a_row_a_model() -> None:
    rows = frontier_frame(*three()).to_dict("records")
    grid = {key: value for key, value in rows[1].items() if key not in ("deviation", "variant", "line", "evaluated")}
    assert grid == {
        "task": "shapes",
        "split": "test",
        "metric": "accuracy",
        "model": "grid",
        "label": "grid",
        "model_label": "grid",
        "executed_label": "",
        "family": "grid",
        "backend": "eager",
        "precision": "fp32",
        "scope": "stages",
        "n": 1000,
        "majority": 0.25,
        "text_only": 0.45,
        "seeds": 1,
        "accuracy": 0.86,
        "accuracy_low": pytest.approx(0.84),
        "accuracy_high": pytest.approx(0.88),
        "latency_ms": 22.0,
        "latency_ms_low": pytest.approx(20.9),
        "latency_ms_high": pytest.approx(23.1),
        "macs": 3 * 10**9,
        "frontier": "yes",
        "frontier_macs": "yes",
        "on_frontier": True,
    }
    assert [row["frontier"] for row in rows] == ["yes", "yes", "no"]
    assert [row["on_frontier"] for row in rows] == [True, True, False]


def test_tasks_and_splits_have_frontiers_of_their_own() -> None:
    cells, here = three()
    frame = frontier_frame(
        cells, [*here, evaluation("region", 0.5, split="val"), evaluation("patch", 0.4, task="nlvr")]
    )
    assert list(frame["frontier"]) == ["yes", "yes", "no", "yes", "yes"]


def test_macs_can_say_otherwise_than_the_clock_and_can_be_missing() -> None:
    cells = [result("patch", 10, 5 * 10**9), result("grid", 20, 2 * 10**9), result("region", 30, None)]
    found = frontier_frame(cells, [evaluation("patch", 0.8), evaluation("grid", 0.8), evaluation("region", 0.9)])
    assert list(found["frontier"]) == ["yes", "perhaps", "yes"]
    assert list(found["frontier_macs"])[:2] == ["perhaps", "yes"]
    assert found["frontier_macs"].isna().tolist() == [False, False, True]


def test_without_latency_or_accuracy_there_is_nothing(tmp_path: Path) -> None:
    cells, found = three()
    failed = [result(name, None) for name, *_ in THREE]
    for results, evaluations in ((cells, []), ([], found), (failed, found), ([], [])):
        assert frontier_frame(results, evaluations).empty
        assert lines(results, evaluations) == []
        assert frontier_figure.draw(results, evaluations, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
    assert list(frontier_frame([*failed[:2], cells[2]], found)["model"]) == ["region"]


def test_latencies_of_other_settings_do_not_mix() -> None:
    cells, found = three()
    batched = [result("region", 10.0, batch=8), result("patch", 5.0, machine=TWO_THREADS)]
    frame = frontier_frame([*batched, *cells], found)
    assert list(frame["latency_ms"]) == [12.0, 22.0, 160.0]
    again = frontier_frame([*cells, result("patch", 14.0)], found)
    assert list(again["latency_ms"]) == [14.0, 22.0, 160.0]  # the latest


def converted(name: str, backend: str, precision: str, latency: float, **values: Any) -> Result:
    equality = Equality(inputs=3, largest=1e-6, mean=1e-7, tolerance=1e-4, largest_by_part={})
    settings = {"backend": backend, "precision": precision, "scope": "stages"}
    return result(name, latency, **(settings | {"conversion": Conversion(equality=equality)} | values))


def backends() -> tuple[list[Result], list[Evaluation]]:
    cells, found = three()
    cells += [converted("patch", "openvino", "int8", 4.0), converted("patch", "openvino", "fp32", 8.0)]
    cells += [converted("patch", "onnxruntime", "int8", 3.0)]  # which nobody evaluated
    return cells, [*found, evaluation("patch", 0.8, backend="openvino", precision="int8")]


def test_each_backend_and_precision_is_a_point_with_its_own_accuracy() -> None:
    frame = frontier_frame(*backends())
    columns = ["label", "accuracy", "latency_ms", "frontier"]
    assert frame[columns].values.tolist() == [
        ["patch eager fp32", 0.83, 12.0, "no"],  # as accurate as OpenVINO, and slower
        ["patch openvino fp32", 0.83, 8.0, "yes"],
        ["grid", 0.86, 22.0, "yes"],
        ["region", 0.6, 160.0, "no"],
        ["patch openvino int8", 0.8, 4.0, "yes"],
    ]
    assert frame["line"].tolist() == [0, 0, 1, 2, 0]
    assert frame["executed_label"].tolist() == ["eager fp32", "openvino fp32", "", "", "openvino int8"]


def test_whole_models_and_stages_are_two_points() -> None:
    cells, found = three()
    cells = [
        *cells,
        converted("patch", "openvino", "fp32", 8.0),
        converted("patch", "openvino", "fp32", 6.0, scope="model"),
    ]
    assert frontier_frame(cells, found)["label"].tolist()[:3] == [
        "patch eager fp32 stages",
        "patch openvino fp32 stages",
        "patch openvino fp32 model",
    ]


def test_points_of_one_model_are_joined_and_named_once() -> None:
    cells, found = backends()
    with drawing() as pyplot:
        drawn = frontier_figure.picture(frontier_frame(cells, found), cells[0], pyplot)
    over_latency, over_macs = drawn.axes
    names = {text.get_text() for text in over_latency.texts} - {""}
    assert names == {"patch", "openvino fp32", "openvino int8", "grid", "region"}
    joined = [line.get_xdata() for line in over_latency.lines if len(line.get_xdata()) == 3]
    assert [list(xs) for xs in joined] == [[4.0, 8.0, 12.0]]
    assert {text.get_text() for text in over_macs.texts} - {""} == {"patch", "openvino int8", "grid", "region"}
    entries = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert entries[:5] == ["patch", "grid", "region", "eager", "openvino"]
    plt.close(drawn)


class Trained(Evaluation):
    """An evaluation that says how the model was trained."""

    training: Any = None


class Training:
    def __init__(self, preset: str, seed: int) -> None:
        self.preset, self.seed = preset, seed


def trained(value: float, seed: int, preset: str = "tiny", **values: Any) -> Trained:
    one = evaluation("patch", value, weights=f"runs/{seed}.safetensors", spec_hash=f"patch {seed}", **values)
    fields = {name: getattr(one, name) for name in Evaluation.model_fields if name != "schema_version"}
    return Trained(**(fields | {"training": Training(preset, seed)}))


def test_seeds_are_one_point_with_their_deviation() -> None:
    seeds = [trained(0.80, 0), trained(0.84, 1), trained(0.88, 2)]
    cells = [result("patch", 10.0, spec_hash="patch 0"), result("patch", 12.0, spec_hash="patch 2")]
    (row,) = frontier_frame(cells, seeds).to_dict("records")
    assert (row["seeds"], row["accuracy"], row["deviation"]) == (3, pytest.approx(0.84), pytest.approx(0.04))
    assert (row["accuracy_low"], row["accuracy_high"]) == (pytest.approx(0.80), pytest.approx(0.88))
    assert (row["latency_ms"], row["label"]) == (pytest.approx(10.95), "patch")
    (again,) = frontier_frame(cells, [*seeds, trained(0.90, 1)]).to_dict("records")
    assert (again["seeds"], again["accuracy"]) == (3, pytest.approx(0.86))  # of a seed the latest


def test_presets_and_weights_are_points_of_their_own_with_names_that_tell_them_apart() -> None:
    assert group_key(trained(0.8, 0)) == group_key(trained(0.9, 1)) != group_key(trained(0.8, 0, "small"))
    one, other = evaluation("patch", 0.8, weights="a/one.pt"), evaluation("patch", 0.7, weights="b/other.pt")
    found = frontier_frame([result("patch", 10.0)], [one, other, evaluation("patch", 0.7, task="nlvr")])
    assert list(found["label"]) == ["patch (one.pt)", "patch (other.pt)", "patch"]


def test_the_line_names_who_is_on_the_frontier() -> None:
    (line,) = lines(*three())
    assert line == "Frontier of accuracy, shapes test: over latency patch, grid; over MACs patch, grid"
    cells = [result("patch", 10.0, None), result("grid", 10.2, None)]
    (line,) = lines(cells, [evaluation("patch", 0.8), evaluation("grid", 0.79)])
    assert line == "Frontier of accuracy, shapes test: over latency patch, perhaps grid"
    assert lines(cells[:1], [evaluation("patch", 0.8)]) == []


def crowd(count: int) -> tuple[list[Result], list[Evaluation]]:
    """Models of which some cost the same, and all lie near each other."""
    names = [f"{list(FAMILIES)[number % 3]}-with-a-long-name-{number}" for number in range(count)]
    cells = [result(name, 10.0 + 3 * (number // 2)) for number, name in enumerate(names)]
    return cells, [evaluation(name, 0.7 + 0.012 * number) for number, name in enumerate(names)]


@pytest.mark.parametrize("count", [1, 2, 15])
def test_names_lie_apart_from_each_other_from_the_points_and_within_the_axes(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, list[Any], Any]] = []

    def watched(axes: Any, at: Any, names: Any, **values: Any) -> list[Any]:
        texts = place_labels(axes, at, names, **values)
        centres = axes.transData.transform(at)
        boxes = [text.get_window_extent() for text in texts]
        seen.append((axes.get_window_extent(), boxes, centres))
        return texts

    monkeypatch.setattr(frontier_figure, "place_labels", watched)
    frontier_figure.draw(*crowd(count), tmp_path)
    assert len(seen) == 2
    for inner, boxes, centres in seen:
        assert len(boxes) == count
        for place_of, box in enumerate(boxes):
            assert inner.x0 <= box.x0 <= box.x1 <= inner.x1
            assert inner.y0 <= box.y0 <= box.y1 <= inner.y1
            assert not any(box.overlaps(other) for other in boxes[:place_of])
            assert not any(box.contains(*centre) for centre in centres)


def test_pictures_are_written_a_task_and_split_and_are_the_same_again(tmp_path: Path) -> None:
    before = plt.get_fignums()
    cells, found = three()
    found.append(evaluation("patch", 0.6, split="val", majority=None, text_only=None))
    written = frontier_figure.draw(cells, found, tmp_path / "new" / "folder")
    names = [f"frontier-shapes-{split}.{kind}" for split in ("test", "val") for kind in ("png", "svg")]
    assert [path.name for path in written] == names
    again = frontier_figure.draw(cells, found, tmp_path / "again")
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]
    colours = {colour for _, colour in Image.open(written[0]).convert("RGB").getcolors(10**6)}
    for colour, _ in FAMILIES.values():
        assert tuple(bytes.fromhex(colour[1:])) in colours
    assert plt.get_fignums() == before


def test_without_macs_there_is_one_panel(tmp_path: Path) -> None:
    cells = [result("patch", 10.0, None), result("grid", 20.0, None)]
    found = [evaluation("patch", 0.6), evaluation("grid", 0.7, spread=None)]
    one, _ = frontier_figure.draw(cells, found, tmp_path)
    two, _ = frontier_figure.draw(*three(), tmp_path / "both")
    assert 1.6 * Image.open(one).width < Image.open(two).width


def shown(folder: Path, *arguments: object) -> Any:
    return CliRunner().invoke(app, ["show", str(folder), *map(str, arguments)], catch_exceptions=False)


def test_show_draws_and_tells_the_frontier(tmp_path: Path) -> None:
    cells, found = three()
    write_results(tmp_path, cells)
    write_lines(tmp_path / "evaluations.jsonl", found)
    told = shown(tmp_path, "--figures", tmp_path / "figures")
    assert "Frontier of accuracy, shapes test: over latency patch, grid" in told.stdout
    assert "frontier-shapes-test" in told.stderr
    assert (tmp_path / "figures" / "frontier-shapes-test.png").is_file()
    for output in ("markdown", "latex"):
        assert "Frontier of accuracy" in shown(tmp_path, "--format", output).stdout
    for output in ("json", "csv"):
        assert "Frontier of" not in shown(tmp_path, "--format", output).stdout
    (tmp_path / "cells.jsonl").unlink()
    told = shown(tmp_path, "--figures", tmp_path / "other")
    assert (told.exit_code, "no model has both" in told.stderr) == (0, True)
    assert not (tmp_path / "other").exists()


def test_show_without_evaluations_draws_nothing(tmp_path: Path) -> None:
    write_results(tmp_path, [result(CELL.spec.name, 10.0)])
    told = shown(tmp_path, "--figures", tmp_path / "figures")
    assert (told.exit_code, "none" in told.stderr) == (0, True)
    assert "Frontier" not in told.stdout
