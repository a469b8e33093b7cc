"""Who meets a budget, surely or perhaps, in which order, and why the others do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vlbench
from tests.paths import RESULTS
from tests.report.conftest import Command
from tests.report.written import MACHINE, converted, evaluated, failed, folder_of, line, one_restart, summary
from vlbench.errors import InputError
from vlbench.measuring.machine import Machine, describe_machine
from vlbench.report.choice_tables import choice_json, choice_tables, other_lines, sentence
from vlbench.report.choosing import Choice, Requirements, choose
from vlbench.report.requirements import ModelBudget
from vlbench.tables.writers import to_markdown

HERE = Machine.model_validate(MACHINE)
ELSEWHERE = MACHINE | {"cpu": "Xeon 5"}
CONTENDED = {"verdict": "contended", "reasons": ["something else used 1.2 cores"]}
MIB = 2**20


def timed(model: str, median: float, low: float | None = None, high: float | None = None, **values: Any) -> Any:
    latency = summary(median, low or median, high or median)
    return line(model, latency_ms=latency if low else latency | {"ci95": None}, **values)


def chosen(folder: Path, *lines: Any, evaluations: Any = (), here: Machine | None = HERE, **wanted: Any) -> Choice:
    names = ("latency_ms", "memory_gb", "accuracy")
    budget = ModelBudget(**{name: wanted.pop(name) for name in names if name in wanted})
    results = vlbench.read(folder_of(folder, *lines, evaluations=evaluations))
    return choose(results, budget, Requirements(**wanted), here)


def verdicts(choice: Choice) -> dict[str, str]:
    return {one.cell: one.meets for one in choice.candidates}


@pytest.mark.parametrize(
    ("cell", "meets", "reason"),
    [
        (timed("a", 90, 80, 99.9), "yes", None),
        (timed("a", 90, 80, 100), "yes", None),  # on the border is within
        (timed("a", 90, 80, 100.1), "perhaps", "its 95% interval reaches 100 ms"),
        (timed("a", 100, 80, 120), "perhaps", "its 95% interval reaches 120 ms"),
        (timed("a", 100.5, 80, 120), "no", "0.50 ms over, 100.5% of the budget"),
        (timed("a", 150, 140, 160), "no", "50.0 ms over, 1.5 times the budget"),
        (timed("a", 50), "perhaps", "too few restarts for a 95% interval"),
        (timed("a", 150), "no", "50.0 ms over, 1.5 times the budget"),
        (one_restart("a"), "perhaps", "too few restarts for a 95% interval"),
        (timed("a", 50, 40, 60, noise=CONTENDED), "unknown", "contended: something else used 1.2 cores"),
        (timed("a", 90, 80, 99, noise={"verdict": "noisy", "reasons": ["±20%"]}), "yes", None),
        (failed("a"), "unknown", "failed: out of memory: 51 TB"),
        (line("a", status="invalid", error="no region", latency_ms=None), "unknown", "invalid: no region"),
        (line("a", latency_ms=None), "unknown", "no latency was measured"),
    ],
)
def test_the_upper_end_of_the_interval_must_be_within_the_budget(
    tmp_path: Path, cell: Any, meets: str, reason: str | None
) -> None:
    choice = chosen(tmp_path, cell, latency_ms=100)
    (one,) = choice.candidates
    assert (one.meets, one.reasons) == (meets, (reason,) if reason else ())
    assert choice.exit_code == (0 if meets == "yes" else 1)
    assert (one.rank is None) == (meets in ("no", "unknown"))


@pytest.mark.parametrize(
    ("peak", "meets"), [(2 * 10**9, "yes"), (2 * 10**9 + 1, "no"), (2 * 2**30, "no"), (None, "unknown")]
)
def test_a_gigabyte_is_a_thousand_million_bytes(tmp_path: Path, peak: int | None, meets: str) -> None:
    choice = chosen(tmp_path, timed("a", 90, 80, 99, peak_memory_bytes=peak), memory_gb=2)
    assert verdicts(choice) == {"a": meets}


@pytest.mark.parametrize("memory_gb", [1.001, 1.003, 2.3, 4.1, 0.7])
def test_rounding_does_not_decide_a_memory_of_exactly_the_budget(tmp_path: Path, memory_gb: float) -> None:
    peak = round(memory_gb * 10**9)
    cells = [timed(name, 90, 80, 99, peak_memory_bytes=count) for name, count in (("a", peak), ("b", peak + 10))]
    assert verdicts(chosen(tmp_path, *cells, memory_gb=memory_gb)) == {"a": "yes", "b": "no"}


def test_every_budget_must_be_met_and_one_no_is_enough(tmp_path: Path) -> None:
    cells = [
        timed("both", 50, 40, 60, peak_memory_bytes=10**9),
        timed("slow", 500, 400, 600, peak_memory_bytes=10**9),
        timed("large", 50, 40, 60, peak_memory_bytes=3 * 10**9),
        timed("perhaps", 99, 90, 110, peak_memory_bytes=10**9),
        timed("perhaps and large", 99, 90, 110, peak_memory_bytes=3 * 10**9),
        timed("contended and large", 50, 40, 60, peak_memory_bytes=3 * 10**9, noise=CONTENDED),
        timed("contended", 50, 40, 60, peak_memory_bytes=10**9, noise=CONTENDED),
    ]
    choice = chosen(tmp_path, *cells, latency_ms=100, memory_gb=2)
    assert verdicts(choice) == {
        "both": "yes",
        "perhaps": "perhaps",
        "contended and large": "no",
        "large": "no",
        "perhaps and large": "no",
        "slow": "no",
        "contended": "unknown",
    }
    assert [one.rank for one in choice.candidates] == [1, 2, *[None] * 5]
    assert "large: does not meet it: 3 GB of memory, 1 GB over" in other_lines(choice)
    contended = chosen(tmp_path / "memory", *cells, memory_gb=2)
    assert verdicts(contended)["contended"] == "yes"  # whose memory is known all the same


def test_without_accuracy_the_quickest_is_best_and_the_nearest_comes_first_of_the_others(tmp_path: Path) -> None:
    cells = [timed("b", 60, 50, 70), timed("a", 60, 50, 70, peak_memory_bytes=900 * MIB), timed("c", 30, 20, 40)]
    cells += [timed("perhaps", 10), timed("far", 900, 800, 999), timed("near", 110, 105, 120), failed("broken")]
    choice = chosen(tmp_path, *cells, latency_ms=100)
    assert [one.cell for one in choice.candidates] == ["c", "b", "a", "perhaps", "near", "far", "broken"]
    assert choice.ranked_by == "latency"
    assert (
        sentence(choice) == "Best within 100 ms: c (30.0 ms [20.0, 40.0], 500 MiB), the quickest of those that meet it."
    )
    assert any("weights are random" in note and "vlbench eval" in note for note in choice.notes)


def test_the_most_accurate_is_best_and_the_frontier_is_marked(tmp_path: Path) -> None:
    cells = [timed(name, ms, ms - 1, ms + 1) for name, ms in (("a", 10), ("b", 20), ("c", 30), ("d", 40), ("e", 200))]
    evaluations = [evaluated(name, value, value - 0.01, value + 0.01) for name, value in (("a", 0.5), ("b", 0.7))]
    evaluations += [evaluated("c", 0.6, 0.59, 0.61), evaluated("e", 0.99, 0.98, 1.0)]
    choice = chosen(tmp_path, *cells, evaluations=evaluations, latency_ms=100)
    assert [(one.rank, one.cell, one.meets, one.frontier) for one in choice.candidates] == [
        (1, "b", "yes", "yes"),
        (2, "c", "yes", "no"),
        (3, "a", "yes", "yes"),
        (4, "d", "yes", None),
        (None, "e", "no", "yes"),
    ]
    assert choice.ranked_by == "accuracy"
    assert sentence(choice) == "Best within 100 ms: b (70.0% [69.0, 71.0], 20.0 ms [19.0, 21.0], 500 MiB)."
    assert "Of unknown accuracy, so ranked last: d" in choice.notes


def test_of_equal_accuracy_the_quicker_is_better(tmp_path: Path) -> None:
    cells = [timed("a", 40, 39, 41), timed("b", 20, 19, 21)]
    choice = chosen(tmp_path, *cells, evaluations=[evaluated("a", 0.5), evaluated("b", 0.5)], latency_ms=100)
    assert [one.cell for one in choice.candidates] == ["b", "a"]


@pytest.mark.parametrize(
    ("low", "value", "meets"), [(0.8, 0.85, "yes"), (0.79, 0.85, "perhaps"), (None, 0.9, "perhaps"), (0.7, 0.79, "no")]
)
def test_the_lower_end_of_an_accuracy_must_be_enough(
    tmp_path: Path, low: float | None, value: float, meets: str
) -> None:
    own = evaluated("a", value, low, value)
    cells = [timed("a", 40, 39, 41), timed("b", 20, 19, 21)]
    choice = chosen(tmp_path, *cells, evaluations=[own], latency_ms=100, accuracy=0.8)
    assert verdicts(choice) == {"a": meets, "b": "unknown"}
    assert choice.budget.in_words() == "100 ms at 80% or more"


def test_the_task_that_most_models_were_asked_counts_unless_another_is_named(tmp_path: Path) -> None:
    cells = [timed("a", 40, 39, 41), timed("b", 20, 19, 21)]
    evaluations = [evaluated("a", 0.9, task="nlvr2"), evaluated("a", 0.4), evaluated("b", 0.6)]
    choice = chosen(tmp_path, *cells, evaluations=evaluations, latency_ms=100)
    assert choice.key == ("shapes", "test", "accuracy")
    assert [one.cell for one in choice.candidates] == ["b", "a"]
    assert any("nlvr2 test accuracy" in note and "--task" in note for note in choice.notes)
    named = chosen(tmp_path, *cells, evaluations=evaluations, latency_ms=100, task="nlvr2")
    assert named.key == ("nlvr2", "test", "accuracy")
    assert [one.cell for one in named.candidates] == ["a", "b"]


def test_only_cells_of_this_machine_are_candidates(tmp_path: Path) -> None:
    cells = [timed("a", 40, 39, 41), timed("b", 20, 19, 21, machine=ELSEWHERE)]
    cells.append(timed("c", 30, 29, 31, machine=MACHINE | {"ram_bytes": 16 * 2**30 - 2**20, "torch": "9"}))
    choice = chosen(tmp_path, *cells, latency_ms=100)
    assert [one.cell for one in choice.candidates] == ["c", "a"]
    assert choice.here
    assert choice.notes[:2] == (
        "Measured on this machine: EPYC 7, 2 cores, 16 GiB",
        "Measurements of other machines left out: 1 (Xeon 5, 2 cores, 16 GiB)",
    )


def test_another_machine_is_told_and_several_others_are_refused(tmp_path: Path) -> None:
    elsewhere = Machine.model_validate(ELSEWHERE | {"cpu": "mine"})
    one = timed("a", 40, 39, 41)
    choice = chosen(tmp_path / "one", one, latency_ms=100, here=elsewhere)
    assert not choice.here
    assert choice.notes[0] == "Measured on EPYC 7, 2 cores, 16 GiB, not on this machine"
    two = [one, timed("b", 20, 19, 21, machine=ELSEWHERE)]
    with pytest.raises(
        InputError, match=r"measurements of 2 machines, none of them this one: .*; choose one by --machine WORDS"
    ):
        chosen(tmp_path / "two", *two, latency_ms=100, here=elsewhere)
    named = chosen(tmp_path / "two", *two, latency_ms=100, here=elsewhere, machine="XEON")
    assert verdicts(named) == {"b": "yes"}
    with pytest.raises(
        InputError, match="--machine M3: no measurements of it; there are EPYC 7, 2 cores, 16 GiB; Xeon"
    ):
        chosen(tmp_path / "two", *two, latency_ms=100, machine="M3")


def test_settings_that_are_asked_for_are_the_only_candidates(tmp_path: Path) -> None:
    cells = [timed("a", 40, 39, 41, batch=8, cell_hash="8"), timed("a", 20, 19, 21)]
    cells += [timed("a", 10, 9, 11, precision="bf16", device="cuda", cell_hash="bf16")]
    both = chosen(tmp_path, *cells, latency_ms=100)
    assert [one.cell for one in both.candidates] == ["a, batch 1, cuda", "a, batch 1, cpu", "a, batch 8, cpu"]
    assert "Latency is of a pass of the whole batch, of 1, 8" in both.notes
    assert verdicts(chosen(tmp_path, *cells, latency_ms=100, batch=8)) == {"a": "yes"}
    assert verdicts(chosen(tmp_path, *cells, latency_ms=100, device="cuda", precision="bf16")) == {"a": "yes"}
    with pytest.raises(InputError, match="--batch 4: no such measurements; there are 1, 8"):
        chosen(tmp_path, *cells, latency_ms=100, batch=4)
    with pytest.raises(InputError, match="--precision fp16: no such measurements; there are bf16"):
        chosen(tmp_path, *cells, latency_ms=100, device="cuda", precision="fp16")


def test_of_a_cell_that_was_measured_again_the_latest_that_tells_counts(tmp_path: Path) -> None:
    folder_of(tmp_path / "1", timed("a", 50, 40, 60, measured_at="2026-01"), timed("b", 50, 40, 60))
    folder_of(tmp_path / "2", timed("a", 30, 20, 40, measured_at="2026-03"), failed("b", measured_at="2027-01"))
    folder_of(tmp_path / "3", timed("a", 70, 60, 80, measured_at="2026-05", noise=CONTENDED))
    choice = choose(vlbench.read(tmp_path), ModelBudget(latency_ms=100), Requirements(), HERE)
    assert [(one.folder, one.cell, one.latency_ms) for one in choice.candidates] == [("2", "a", 30), ("1", "b", 50)]
    assert "Earlier measurements left out: 3" in choice.notes


def test_what_to_do_where_none_surely_meets_it(tmp_path: Path) -> None:
    perhaps = chosen(tmp_path / "1", timed("a", 95, 90, 105), latency_ms=100)
    assert sentence(perhaps) == (
        "None is sure to be within 100 ms; perhaps a (95.0 ms [90.0, 105], 500 MiB): its 95% interval reaches 105 ms. "
        "vlbench run --models a --within 1% --out NEW narrows the interval."
    )
    none = chosen(tmp_path / "2", timed("a", 900, 800, 1000), timed("b", 300, 200, 400), latency_ms=100)
    assert sentence(none) == "None is within 100 ms. Nearest is b: 200 ms over, 3.0 times the budget."
    unknown = chosen(tmp_path / "3", failed("a"), latency_ms=100)
    assert sentence(unknown) == "Whether any is within 100 ms is unknown."
    assert [one.exit_code for one in (perhaps, none, unknown)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "no budget: add --latency-ms MS"),
        ({"accuracy": 0.8}, "no budget"),
        ({"latency_ms": 0}, "--latency-ms 0: not a number above 0"),
        ({"latency_ms": -5}, "--latency-ms -5: not"),
        ({"latency_ms": float("nan")}, "--latency-ms nan: not"),
        ({"memory_gb": float("inf")}, "--memory-gb inf: not"),
        ({"latency_ms": 1, "accuracy": 80}, "--accuracy 80: not a share"),
    ],
)
def test_what_is_no_budget_is_refused(values: dict[str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        ModelBudget(**values)


def test_markdown_and_json_say_the_same(tmp_path: Path) -> None:
    cells = [timed("a|b", 40, 39, 41), timed("slow", 200, 190, 210), failed("broken")]
    evaluations = [evaluated("a|b", 0.5, 0.4, 0.6)]
    choice = chosen(tmp_path, *cells, evaluations=evaluations, latency_ms=100, memory_gb=1)
    text = to_markdown(choice_tables(choice))
    assert "a\\|b" in text.splitlines()[2]
    assert "**Best within 100 ms and 1 GB: a\\|b (50.0% \\[40.0, 60.0\\]" in text
    assert "- slow: does not meet it: 100 ms over, 2.0 times the budget" in text
    content = json.loads(choice_json(choice))
    assert content["budget"] == {"latency_ms": 100, "memory_bytes": 10**9, "accuracy": None}
    assert (content["best"], content["this_machine"], content["ranked_by"]) == ("a|b", True, "accuracy")
    assert content["task"] == {"task": "shapes", "split": "test", "metric": "accuracy"}
    first, second, third = content["candidates"]
    assert (first["rank"], first["meets"], first["latency_ms"], first["latency_ms_ci95"]) == (1, "yes", 40, [39, 41])
    assert first["share_of_budget"] == {"latency": 0.4, "memory": 500 * MIB / 10**9}
    assert (first["accuracy"], first["accuracy_ci95"], first["frontier"]) == (0.5, [0.4, 0.6], "yes")
    assert (second["rank"], second["meets"], second["reasons"]) == (None, "no", ["100 ms over, 2.0 times the budget"])
    assert (third["meets"], third["latency_ms"], third["peak_memory_bytes"]) == ("unknown", None, None)


def published(name: str, **values: Any) -> Choice:
    results = vlbench.read(RESULTS / name)
    return choose(results, ModelBudget(**values), Requirements(), None)


def test_the_published_models() -> None:
    """Bars between their medians and intervals, as cells.jsonl has them."""
    tiny = published("epyc-2-cores/shapes", latency_ms=6.5)
    assert [(one.cell, one.meets) for one in tiny.candidates] == [
        ("vilt-b32-tiny", "yes"),
        ("pixelbert-convnext-tiny-tiny", "yes"),
        ("pixelbert-r50-tiny", "perhaps"),
        ("uniter-base-tiny", "no"),
    ]
    assert published("epyc-2-cores/shapes", latency_ms=10).best.result.model == "uniter-base-tiny"  # type: ignore[union-attr]
    assert verdicts(published("epyc-2-cores", latency_ms=335)) == {
        "vilt-b32": "perhaps",
        "pixelbert-r50": "no",
        "uniter-base": "no",
    }
    assert verdicts(published("epyc-2-cores", memory_gb=0.9)) == {
        "vilt-b32": "yes",
        "pixelbert-r50": "yes",
        "uniter-base": "no",
    }
    batches = published("xeon-2-cores/batch", latency_ms=1000)
    assert set(verdicts(batches).values()) == {"perhaps", "no"}  # one restart carries no interval


def test_the_command(tmp_path: Path, vlbench_command: Command) -> None:
    mine = describe_machine(threads=1, gpu=None).model_dump()
    folder_of(tmp_path / "there", timed("a", 40, 39, 41, machine=mine), timed("b", 200, 190, 210, machine=mine))
    done = vlbench_command("choose", "there", "--latency-ms", "100")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.split("\n\n")[1].startswith("Best within 100 ms: a (40.0 ms [39.0, 41.0]")
    assert "b: does not meet it: 100 ms over, 2.0 times the budget" in done.stdout
    assert "Measured on this machine" in done.stdout
    assert vlbench_command("choose", "there", "--latency-ms", "30").exit_code == 1
    content = json.loads(vlbench_command("choose", "there", "--memory-gb", "2", "--format", "json").stdout)
    assert [one["cell"] for one in content["candidates"]] == ["a", "b"]
    assert vlbench_command("choose", "there", "--memory-gb", "2", "--format", "markdown").stdout.startswith(
        "|   rank |"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("there", "no budget: add --latency-ms MS, --memory-gb GB, or both"),
        ("there --latency-ms fast", "Invalid value for '--latency-ms'"),
        ("there --latency-ms -1", "--latency-ms -1: not a number above 0"),
        ("there --latency-ms 9 --accuracy 80", "--accuracy 80: not a share between 0 and 100%"),
        ("there --latency-ms 9 --accuracy 80%", "--accuracy 0.8: the results hold none of these models; vlbench eval"),
        ("there --latency-ms 9 --task vqav2", "--task vqav2: no accuracy of these models; there is none"),
        ("there --latency-ms 9 --device tpu", "'tpu' is not one of 'cpu', 'cuda'"),
        ("there --latency-ms 9 --device cuda", "--device cuda: no such measurements; there are cpu"),
        ("there --latency-ms 9 --batch 0", "Invalid value for '--batch'"),
        ("absent --latency-ms 9", "absent: is not a folder of results"),
        ("empty --latency-ms 9", "the results hold no measurements to choose from; vlbench run makes some"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, vlbench_command: Command, arguments: str, told: str) -> None:
    folder_of(tmp_path / "there", timed("a", 40, 39, 41))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "cells.jsonl").touch()
    done = vlbench_command("choose", *arguments.split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


RUNTIMES = (
    timed("a", 40, 39, 41),
    converted("a", "openvino", latency_ms=summary(20, 19, 21)),
    converted("a", "openvino", "int8", latency_ms=summary(10, 9, 11)),
    converted("a", "compile", latency_ms=summary(30, 29, 31), runtime=None),
    converted("a", "onnxruntime", scope="model", cell_hash="whole", latency_ms=summary(25, 24, 26)),
)
INT8 = evaluated("a", 0.7, 0.69, 0.71, backend="openvino", precision="int8", evaluation_hash="int8")


def test_backends_precisions_and_scopes_are_ranked_with_the_accuracy_of_each(tmp_path: Path) -> None:
    choice = chosen(tmp_path, *RUNTIMES, evaluations=[evaluated("a", 0.8, 0.79, 0.81), INT8], latency_ms=100)
    assert [(one.cell, one.accuracy and one.accuracy.value) for one in choice.candidates] == [
        ("a, openvino, fp32", 0.8),
        ("a, onnxruntime, fp32", 0.8),
        ("a, compile, fp32", 0.8),
        ("a, eager, fp32", 0.8),
        ("a, openvino, int8", 0.7),
    ]
    assert choice.best
    assert [one.frontier for one in choice.candidates] == ["yes", "no", "no", "no", "yes"]


def test_int8_without_an_accuracy_has_none_and_cannot_meet_a_budget_with_one(tmp_path: Path) -> None:
    choice = chosen(tmp_path, *RUNTIMES, evaluations=[evaluated("a", 0.8, 0.79, 0.81)], latency_ms=15, accuracy=0.75)
    unknown = [one for one in choice.candidates if one.meets == "unknown"]
    assert [one.result.precision for one in unknown] == ["int8"]
    assert choice.exit_code == 1


@pytest.mark.parametrize(
    ("wanted", "install", "export"),
    [
        ({"latency_ms": 15}, "openvino,int8", "--backend openvino --precision int8"),
        ({"latency_ms": 22, "precision": "fp32"}, "openvino", "--backend openvino --precision fp32"),
        ({"latency_ms": 30, "backend": "onnxruntime"}, "onnx", "--backend onnxruntime --precision fp32"),
        ({"latency_ms": 50, "backend": "eager", "precision": "fp32"}, None, None),
        ({"latency_ms": 50, "backend": "eager", "precision": "int8"}, "int8", None),
        ({"latency_ms": 50, "backend": "compile"}, None, None),
    ],
)
def test_a_choice_says_what_it_needs_installed_and_how_it_is_exported(
    tmp_path: Path, wanted: Any, install: str | None, export: str | None
) -> None:
    quantised = line("a", precision="int8", cell_hash="int8", latency_ms=summary(28, 27, 29))
    choice = chosen(tmp_path, *RUNTIMES, quantised, **wanted)
    content = json.loads(choice_json(choice))
    assert content["install"] == (install and f"pip install 'vlbench[{install}]'")
    assert content["export"] == (export and f"vlbench export model a {export} -o DIR")
    shown = to_markdown(choice_tables(choice))
    assert ("It needs: " in shown, "Export it: " in shown) == (bool(install), bool(export))
    assert {one.result.backend for one in choice.candidates} <= {wanted.get("backend")} or "backend" not in wanted


def test_the_weights_of_a_choice_are_exported_with_it(tmp_path: Path) -> None:
    choice = chosen(tmp_path, converted("a", "openvino", weights="my weights.ckpt"), latency_ms=100)
    assert json.loads(choice_json(choice))["export"] == (
        "vlbench export model a --weights 'a=my weights.ckpt' --backend openvino --precision fp32 -o DIR"
    )


def test_a_backend_without_measurements_names_those_that_have_some(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="--backend cuda-graph: no such measurements; there are compile, eager, onnxruntime, openvino"
    ):
        chosen(tmp_path, *RUNTIMES, latency_ms=100, backend="cuda-graph")


def test_an_unknown_backend_is_refused(vlbench_command: Command, tmp_path: Path) -> None:
    folder_of(tmp_path / "r", *RUNTIMES)
    done = vlbench_command("choose", "r", "--latency-ms", "100", "--backend", "openvin")
    assert (done.exit_code, done.stderr) == (
        2,
        "vlbench: --backend openvin: no such backend; did you mean openvino?\n",
    )
