"""How reproductions are printed and drawn, from made-up outcomes of shipped suites."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from rich.console import Console

from tests.helpers import others_slow
from vlbench.measuring.machine import Machine
from vlbench.report.paper import drawing
from vlbench.report.reproduction import QUICK, notes, reproduction_json, reproduction_tables
from vlbench.report.suite_figures import draw, picture
from vlbench.suites.outcomes import ClaimOutcome, ReproducedCell, Reproduction, SuiteOutcome
from vlbench.suites.reader import resolve_suites
from vlbench.tables.terminal import to_terminal
from vlbench.tables.writers import to_latex, to_markdown

MACHINE = Machine(cpu="any", cores=1, logical_cores=1, threads=1, ram_bytes=2**30, gpu=None, os="any", python="3")


def reproduction(name: str, *, quick: bool = False, **changes: Any) -> Reproduction:
    """Every cell 1.5 more than its place in the table, the first one changed; one claim."""
    (loaded,) = resolve_suites([name])
    suite = loaded.suite
    cells = []
    for row in suite.rows:
        for column in suite.columns:
            value = len(cells) + 1.5
            timed = column.cells == "latency"
            fields: dict[str, Any] = {
                "suite": suite.name,
                "row": row.label,
                "model": row.model,
                "quantity": column.name,
            }
            fields |= {"category": column.cells, "unit": column.unit, "measured": value, "error": None, "reason": None}
            fields |= {"reported": row.reported.get(column.name), "tolerance": column.tolerance, "verdict": "measured"}
            fields |= {
                "interval": (0.9 * value, 1.1 * value) if timed else None,
                "erratum": row.erratum.get(column.name),
            }
            cells.append(ReproducedCell(**(fields | (changes if not cells else {}))))
    claim = ClaimOutcome(
        suite=suite.name,
        text="50% & more",
        where="section 1",
        expr='params["ViLT-B/32"] > 1',
        verdict="holds",
        value=2.0,
        interval=(1.5, 2.5),
        reason=None,
    )
    outcome = SuiteOutcome(suite=suite, cells=tuple(cells), claims=(claim,), quick=quick)
    settings = {"device": "cpu", "precision": "fp32", "backend": "eager", "scope": "stages"}
    return Reproduction(suites=(outcome,), machine=MACHINE, settings=settings, quick=quick)


def first_row(found: Reproduction) -> dict[str, str]:
    """Of the first suite's measured values, as they are written."""
    table = reproduction_tables(found)[0]
    return dict(zip(table.names, table.texts[0], strict=True))


def test_a_cell_stands_beside_what_the_paper_prints() -> None:
    found = reproduction("vilt-table6", error=0.5, verdict="outside")
    first = first_row(found)
    assert first["model"] == "ViLBERT"
    assert next(iter(first_row(reproduction("token-scaling")))) == "row", "its rows are one model, changed"
    assert (first["params M"], first["params paper"], first["params error"]) == ("1.5 !", "274.3", "+50.00%")
    assert first["time paper"] == "900 [1]"
    assert any(line.startswith("[1] Tables 3 and 6 print") for line in notes(found.suites[0]))
    assert "Outside its tolerance: ViLBERT params, 0.10% are allowed" in notes(found.suites[0])


def test_what_is_missing_is_said_with_its_reason() -> None:
    found = reproduction("vilt-table6", measured=None, verdict="not measured", reason="failed: out of memory")
    assert first_row(found)["params M"] == "-"
    assert "Not measured: ViLBERT params: failed: out of memory" in notes(found.suites[0])
    assert not found.passed


CONTENDED = "the latency of {} is contended: other processes kept 0.9 of 2 cores busy"


def test_a_contended_latency_is_marked_with_its_reason() -> None:
    found = reproduction("vilt-table6", reason=CONTENDED.format("ViLBERT"))
    assert first_row(found)["params M"] == "1.5 (contended)"
    told = f"Contended: ViLBERT params: {CONTENDED.format('ViLBERT')}; measure again on an idle machine"
    assert told in notes(found.suites[0])
    assert not any(line.startswith("Contended") for line in notes(reproduction("vilt-table6").suites[0]))
    for write in (to_markdown, to_latex):
        assert "(contended)" in write(reproduction_tables(found))


@pytest.mark.parametrize("suite", ["vilt-table6", "vilt-figure1", "token-scaling"])
def test_a_contended_latency_is_marked_in_the_figure(suite: str) -> None:
    (calm,) = reproduction(suite).suites
    first, column = calm.suite.rows[0].label, calm.suite.figure.columns[0]
    reasons = {(first, column): CONTENDED.format(first)}
    cells = tuple(replace(cell, reason=reasons.get((cell.row, cell.quantity))) for cell in calm.cells)
    for outcome, is_marked in ((replace(calm, cells=cells), True), (calm, False)):
        with drawing() as plt:
            texts = [text.get_text() for text in picture(outcome, MACHINE, plt).findobj(Text)]
        assert any(text.endswith("(contended)") for text in texts) == is_marked
        assert any(f"Not to be trusted: {CONTENDED.format(first)}"[:60] in text for text in texts) == is_marked


def test_every_form_holds_cells_claims_and_the_machine() -> None:
    found = reproduction("vilt-table6")
    console = Console(width=220, record=True, file=io.StringIO())
    console.print(to_terminal(reproduction_tables(found), 220))
    for text in (console.export_text(), *(write(reproduction_tables(found)) for write in (to_markdown, to_latex))):
        for words in ("ViLBERT", "274.3", "holds", "2.00, 95", "Machine: any"):
            assert words in text
    assert r"50\% \& more" in to_latex(reproduction_tables(found))
    content = json.loads(reproduction_json(found))
    assert len(content["cells"]) == 11 * 5
    assert content["claims"][0]["verdict"] == "holds"


def test_a_table_that_is_too_wide_is_turned_and_nothing_is_cut_off() -> None:
    found = reproduction("vilt-figure1")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(to_terminal(reproduction_tables(found), 100))
    text = console.export_text()
    assert "…" not in text
    assert "region operations share paper" in text


def test_small_settings_are_said() -> None:
    assert QUICK in notes(reproduction("nms-style", quick=True).suites[0])
    assert QUICK not in notes(reproduction("nms-style").suites[0])


@pytest.mark.parametrize("name", others_slow(["vilt-figure1", "nms-style", "resolution-scaling", "vilt-table6"]))
def test_a_figure_is_drawn_in_both_forms(tmp_path: Path, name: str) -> None:
    written = draw(reproduction(name), tmp_path)
    assert [path.name for path in written] == [f"{name}.png", f"{name}.svg"]
    with Image.open(written[0]) as image:
        assert min(image.size) > 300
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10
    assert "<svg" in written[1].read_text()


def test_a_suite_without_the_figures_is_not_drawn(tmp_path: Path) -> None:
    found = reproduction("nms-style")
    empty = SuiteOutcome(suite=found.suites[0].suite, cells=(), claims=(), quick=False)
    assert draw(Reproduction(suites=(empty,), machine=None, settings=None, quick=False), tmp_path) == []
