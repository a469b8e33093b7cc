"""What the shipped suites call reported is what the papers print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vlbench.suites.reader import resolve_suites
from vlbench.suites.schema import Suite


@pytest.fixture(scope="module")
def papers(reference_data: Path) -> Path:
    return reference_data.parent / "papers"


def table(papers: Path, paper: str, name: str) -> list[dict[str, Any]]:
    tables = json.loads((papers / f"{paper}.json").read_text())["tables"]
    return next(table["rows"] for table in tables if table["id"] == name)


def suite(name: str) -> Suite:
    return resolve_suites([name])[0].suite


def test_vilts_table_6(papers: Path) -> None:
    printed = table(papers, "vilt", "Table 6")
    vilt_ms = printed[-1]["time_ms"]
    rows = suite("vilt-table6").rows
    assert [row.label for row in rows] == [row["model"] for row in printed]
    for row, cells in zip(rows, printed, strict=True):
        expected = {"params": cells["params_M"], "flops": cells["flops_G"], "time": cells["time_ms"]}
        assert row.reported == expected | {"ratio": pytest.approx(cells["time_ms"] / vilt_ms, abs=0.05)}


def test_the_tolerances_of_table_6() -> None:
    """0.1% of parameters but for ViLBERT's real encoder, 0.2% of FLOPs but for UNITER's stated tokens."""
    known = suite("vilt-table6")
    assert (known.column("params").tolerance, known.column("flops").tolerance) == (0.001, 0.002)
    own = {row.label: row.tolerance for row in known.rows if row.tolerance}
    assert own == {"ViLBERT": {"params": 0.016}, "UNITER-Base": {"flops": 0.01}}


def test_the_errata_of_table_6_quote_what_the_papers_print(papers: Path) -> None:
    """Each erratum of a cell names the figures of the conflict that it tells of."""
    conflicts = {row["where"]: row for row in table(papers, "errata", "Conflicts")}
    rows = {row.label: row for row in suite("vilt-table6").rows}
    quoted = {
        ("Pixel-BERT-R50", "params", "ViLT Table 6, Pixel-BERT-R50 params"): ("94.9", "25", "110"),
        ("ViLT-B/32", "flops", "ViLT Table 6, ViLT FLOPs"): ("55.9", "44.0"),
        ("ViLBERT", "time", "ViLT Table 3 vs Tables 2, 4, 6"): ("900", "920"),
        ("VinVL-Base", "time", "ViLT arXiv v1 vs ICML"): ("1000",),
        ("UNITER-Base", "ratio", "Perceiver-VL vs ViLT time of the same models (ms)"): ("32", "31"),
        ("Pixel-BERT-R50", "ratio", "Perceiver-VL vs ViLT time of the same models (ms)"): ("150", "32", "4.7"),
    }
    for (label, column, where), figures in quoted.items():
        conflict = " ".join(map(str, conflicts[where].values()))
        for figure in figures:
            assert figure in rows[label].erratum[column]
            assert figure in conflict


def test_vilts_figure_1(papers: Path) -> None:
    keys = {"backbone": "backbone_ms", "region": "region_ops_ms", "embedding": "linear_embed_ms"}
    keys |= {"transformer": "transformer_ms", "total": "total_ms"}
    for row, cells in zip(suite("vilt-figure1").rows, table(papers, "vilt", "Figure 1"), strict=True):
        assert row.label == cells["model"]
        printed = {name: cells[key] for name, key in keys.items() if cells[key] is not None}
        expected: dict[str, Any] = {f"{name}_ms": value for name, value in printed.items()}
        stages = {name: value for name, value in printed.items() if name != "total"}
        shares = {f"{name}_share": 100 * value / sum(stages.values()) for name, value in stages.items()}
        assert row.reported == expected | {name: pytest.approx(value, abs=0.05) for name, value in shares.items()}


def test_vilts_table_7(papers: Path) -> None:
    rows = suite("vilt-table7").rows
    for row, cells in zip(rows, table(papers, "vilt", "Table 7"), strict=True):
        words = {"cnn": cells["cnn_backbone"], "roi_head": cells["roi_head"], "nms": cells["nms"]}
        expected = {name: word or "-" for name, word in words.items()}
        assert row.reported == expected | {"layers": int(cells["transformer_layers"].strip("~"))}
        assert row.label == cells["model"]
    assert suite("vilt-table7").column("layers").tolerance == 0


def test_vits_sizes(papers: Path) -> None:
    printed = {row["model"][4]: row["params_M"] for row in table(papers, "vit", "Table 1")}
    profile = {row["model"]: row["gmacs"] for row in table(papers, "vit", "Code-side reference (timm)")}
    sizes = {"B": "base", "L": "large", "H": "huge"}
    for row in suite("vit-sizes").rows:
        size, patch = row.label.removeprefix("ViT-").split("/")
        assert row.reported["params"] == printed[size]
        assert row.reported.get("macs") == profile.get(f"vit_{sizes[size]}_patch{patch}_224")


def test_the_tolerance_of_a_size_is_what_table_1_leaves_open() -> None:
    """Patch size (projection of 3 colours and positions), a classifier of 1,000 classes, rounding to a million."""
    for row in suite("vit-sizes").rows:
        width, printed = {"B": (768, 86), "L": (1024, 307), "H": (1280, 632)}[row.label[4]]
        patches = 0 if "H" in row.label else 3 * (32**2 - 16**2) * width - (14**2 - 7**2) * width
        open_to = (patches + 1000 * width + 1000 + 0.5e6) / 1e6 / printed
        assert row.tolerance["params"] == pytest.approx(open_to, rel=0.02)
