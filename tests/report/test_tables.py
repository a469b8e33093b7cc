"""Tables: figures rounded honestly, gaps shown as gaps, names escaped, failures told."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from rich.console import Console

from vlbench.inputs import read_example
from vlbench.measuring.machine import describe_machine
from vlbench.measuring.noise import Noise
from vlbench.measuring.statistics import summarise
from vlbench.report.notes import notes
from vlbench.report.tables import result_tables, results_csv, results_json, stage_table, summary_table
from vlbench.runner.cells import blank_result
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.records import Restart, Result, WarmUp
from vlbench.specs.catalog import catalog
from vlbench.tables.table import GAP, Table
from vlbench.tables.terminal import to_terminal
from vlbench.tables.writers import to_latex, to_markdown

MACHINE = describe_machine(threads=2, gpu=None)


def result_of(name: str, **values: object) -> Result:
    (cell,) = expand([catalog()[name]], read_example(None, None), RunSettings(threads=2), MACHINE)
    return blank_result(cell, MACHINE, measured_at="2026-01-31T00:00:00+00:00", **values)


def measured(name: str, **values: object) -> Result:
    found: dict[str, object] = {
        "status": "ok",
        "image_tokens": 241,
        "params_total": 111_597_314,
        "params_trainable": 111_000_000,
        "macs": 25_888_869_888,
        "flops": 51_777_739_776,
        "peak_memory_bytes": 500 * 2**20,
        "latency_ms": summarise([[400.0], [410.0], [390.0], [405.0], [395.0], [402.0]]),
        "latency_ms_by_stage": {
            "total": summarise([[403.0]]),
            "visual": summarise([[9.5]]),
            "head": summarise([[0.1234]]),
        },
        "noise": Noise(verdict="stable"),
        "restarts": (restart(steady=True), restart(steady=True)),
    }
    return result_of(name, **(found | values))


def restart(*, steady: bool) -> Restart:
    return Restart(latency_ms=(400.0,), warm_up=WarmUp(n=3, steady=steady), measured_at="2026-01-31T00:00:00+00:00")


def failed(name: str) -> Result:
    return result_of(name, status="failed", error="out of memory: you tried to allocate 51 TB")


def printed(results: list[Result], width: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(to_terminal(result_tables(results), width))
    return console.file.getvalue()  # type: ignore[attr-defined]


WRITERS = {
    "json": lambda results: "".join(results_json(results)),
    "csv": results_csv,
    "markdown": lambda results: to_markdown(result_tables(results)),
    "latex": lambda results: to_latex(result_tables(results)),
}


def written(table: Table) -> list[dict[str, str]]:
    """Each row as it is written, without the columns that are empty."""
    shown = table.without_empty()
    return [dict(zip(shown.names, row, strict=True)) for row in shown.texts]


def test_figures_are_in_the_units_that_the_columns_name() -> None:
    (row,) = written(summary_table([measured("vilt-b32")]))
    assert row == {
        "model": "vilt-b32",
        "backend": "eager",
        "precision": "fp32",
        "family": "patch",
        "image": "384x640",
        "tokens": "40+241",
        "params M": "111.6",
        "trainable M": "111.0",
        "GMACs": "25.9",
        "GFLOPs": "51.8",
        "peak MiB": "500",
        "latency ms": "401",
        "95% interval": "390 to 410",
        "restarts": "6",
        "examples/s": "2.49",
        "noise": "stable",
    }


@pytest.mark.parametrize(
    ("macs", "told"), [(0, "0.0"), (98_123_456, "0.0981"), (140_000_000, "0.140"), (1_000_000_000, "1.0")]
)
def test_small_figures_keep_three_digits(macs: int, told: str) -> None:
    (row,) = written(summary_table([measured("vilt-b32").model_copy(update={"macs": macs})]))
    assert row["GMACs"] == told


def test_stages_stand_beside_both_totals_and_a_stage_that_no_model_has_is_no_column() -> None:
    assert written(stage_table([measured("vilt-b32")])) == [
        {"model": "vilt-b32", "visual": "9.50", "head": "0.12", "staged total": "403", "end to end": "401"}
    ]


def test_what_prepares_an_example_is_the_last_column_and_in_no_total() -> None:
    results = [measured("vilt-b32", input_ms=summarise([[4.5], [5.5]])), measured("vit-b16")]
    assert [row["input"] for row in written(stage_table(results))] == ["5.00", GAP]
    assert stage_table(results).names[-3:] == ["staged total", "end to end", "input"]
    assert written(stage_table(results))[0]["staged total"] == "403"
    assert "input_ms.median" in results_csv(results).partition("\n")[0]
    assert "input_ms" not in results_csv(results[1:])


def test_a_failed_cell_shows_gaps_and_its_reason() -> None:
    text = printed([measured("vilt-b32"), failed("uniter-base")])
    row = next(line for line in text.splitlines() if line.startswith("uniter-base "))
    assert row.split()[3:] == ["60+?", *["-"] * 8]
    assert "uniter-base: failed: out of memory: you tried to allocate 51 TB" in text


def test_only_failed_cells_still_print() -> None:
    for form in WRITERS.values():
        assert "uniter-base" in form([failed("uniter-base")])
    assert "failed" in printed([failed("uniter-base")])


def test_too_few_restarts_show_no_interval() -> None:
    few = measured("vilt-b32", latency_ms=summarise([[1.0], [2.0]]))
    _, row = written(summary_table([measured("vilt-b32"), few]))
    assert (row["95% interval"], row["restarts"]) == (GAP, "2")


def test_notes_say_once_what_all_share_and_what_did_not_settle() -> None:
    unsettled = measured(
        "vit-b16",
        restarts=(restart(steady=True), restart(steady=False)),
        noise=Noise(verdict="contended", reasons=("something else used 1.2 cores",)),
    )
    lines = notes([measured("vilt-b32"), unsettled])
    assert sum(line.startswith("Machine: ") for line in lines) == 1
    assert "vit-b16: warm-up had not settled in 1 of 2 restarts" in lines
    assert "vit-b16: contended: something else used 1.2 cores" in lines
    assert not any(line.startswith("vilt-b32: ") for line in lines)


def test_json_gives_back_the_results() -> None:
    results = [measured("vilt-b32"), failed("uniter-base")]
    assert [Result.model_validate(content) for content in json.loads(WRITERS["json"](results))] == results


def test_json_is_written_result_by_result() -> None:
    results = [measured("vilt-b32"), failed("uniter-base")]
    whole = json.dumps([result.model_dump(mode="json", by_alias=True) for result in results], indent=1)
    assert "".join(results_json(results)) == whole + "\n"
    assert json.loads("".join(results_json([]))) == []
    taken: list[str] = []
    pieces = results_json(taken.append(result.model) or result for result in results)
    assert (next(pieces), '"vilt-b32"' in next(pieces), taken) == ("[", True, ["vilt-b32"])


def test_csv_has_plain_units_and_no_samples() -> None:
    frame = pd.read_csv(io.StringIO(WRITERS["csv"]([measured("vilt-b32"), failed("uniter-base")])))
    assert frame["macs"][0] == 25_888_869_888
    assert "25888869888," in WRITERS["csv"]([measured("vilt-b32"), failed("uniter-base")])
    assert frame["latency_ms.ci95_low"][0] == 390
    assert pd.isna(frame["latency_ms.median"][1])
    assert not any("by_restart" in column or column.startswith("restarts") for column in frame.columns)
    assert frame["noise.verdict"][0] == "stable"


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_signs_that_mean_something_are_escaped(form: str) -> None:
    odd = measured("vilt-b32").model_copy(update={"model": "my_model"})
    text = WRITERS[form]([odd])
    assert (r"my\_model" in text) == (form == "latex")
    assert text.count("\\toprule") == (2 if form == "latex" else 0)


def test_a_narrow_terminal_gets_a_model_a_column_and_loses_no_figure() -> None:
    results = [measured("vilt-b32"), failed("uniter-base")]
    wide, narrow = printed(results).splitlines(), printed(results, width=70).splitlines()
    assert narrow[0].split() == ["vilt-b32", "uniter-base"]
    assert ["latency", "ms", "401", "-"] in [line.split() for line in narrow]
    assert max(len(line.rstrip()) for line in narrow[:10]) <= 70
    assert wide[0].startswith("model        family")
    assert set(" ".join(wide).split()) == set(" ".join(narrow).split())  # its stages still fit a model a row


def test_stages_of_different_families_stand_in_the_order_of_their_forward_passes() -> None:
    """Whatever a step is called: no list of the known ones leaves a new one out."""
    grid = ["total", "visual", "visual.backbone", "visual.projection", "interaction"]
    region = ["total", "visual", "visual.backbone", "visual.new_step", "visual.projection", "interaction"]
    results = [
        measured("vilt-b32", latency_ms_by_stage={name: summarise([[1.0]]) for name in names})
        for names in (grid, region)
    ]
    expected = ["model", "visual", ".backbone", ".new_step", ".projection", "interaction", "staged total", "end to end"]
    assert stage_table(results).names == expected
    assert stage_table(results[::-1]).names == expected
