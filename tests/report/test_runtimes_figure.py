"""What a runtime buys: bars of one model, eager fp32 first, whose stages sum to the latency, and exact ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vlbench
from tests.report.written import MACHINE, converted, folder_of, line, summary
from vlbench.errors import InputError
from vlbench.regression.compare.effects import independent
from vlbench.report import runtimes_figure
from vlbench.report.page import runtimes_section
from vlbench.report.paper import drawing
from vlbench.report.runtimes import RuntimeGroup, runtime_groups

EAGER = (10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6)
HALF = tuple(value / 2 for value in EAGER)


def timed(*by_restart: float) -> dict[str, Any]:
    return summary(sorted(by_restart)[len(by_restart) // 2], by_restart[0], by_restart[-1]) | {"by_restart": by_restart}


def groups(folder: Path, *lines: Any) -> list[RuntimeGroup]:
    return runtime_groups(vlbench.read(folder_of(folder, *lines)))


CELLS = (
    converted("a", "openvino", "int8", latency_ms=timed(*HALF)),
    converted("a", "openvino", scope="model", cell_hash="whole", latency_ms=timed(*EAGER), latency_ms_by_stage=None),
    line("a", latency_ms=timed(*EAGER)),
    line("alone"),
)


def test_a_model_with_several_backends_is_a_group_with_eager_fp32_first(tmp_path: Path) -> None:
    (group,) = groups(tmp_path, *CELLS)
    assert [bar.name for bar in group.bars] == ["eager fp32", "openvino fp32, whole model", "openvino int8"]
    assert group.label == "a"


def test_the_stages_of_a_bar_sum_to_its_latency_and_a_whole_model_is_one_segment(tmp_path: Path) -> None:
    (group,) = groups(tmp_path, *CELLS)
    eager, whole, int8 = group.bars
    # of 8 ms by stage: head 6, visual 2, of which 1 is the patch embedding
    shares = {"visual.patch": 1 / 8, "visual.rest": 1 / 8, "head": 6 / 8}
    for bar, latency in ((eager, 10.3), (int8, 5.15)):
        assert dict(bar.segments) == pytest.approx({stage: latency * share for stage, share in shares.items()})
    assert whole.segments == (("whole model", 10.3),)


def test_the_ratio_is_that_of_all_pairs_of_restarts_with_its_exact_interval(tmp_path: Path) -> None:
    (group,) = groups(tmp_path, *CELLS)
    eager, _, int8 = group.bars
    assert eager.effect is None
    assert int8.effect == independent(EAGER, HALF, 0.95)
    assert int8.effect
    assert int8.effect.ratio == pytest.approx(0.5)
    assert int8.words == f"5.15 ms, 0.50 times [{int8.effect.low:.2f}, {int8.effect.high:.2f}]"
    assert eager.words == "10.3 ms"


def test_without_eager_fp32_there_are_bars_but_no_ratios(tmp_path: Path) -> None:
    (group,) = groups(tmp_path, CELLS[0], converted("a", "onnxruntime", latency_ms=timed(*EAGER)))
    assert [(bar.name, bar.effect) for bar in group.bars] == [("onnxruntime fp32", None), ("openvino int8", None)]


def test_other_batches_and_machines_are_other_groups(tmp_path: Path) -> None:
    def both(**values: Any) -> list[Any]:
        return [line("a", **values), converted("a", "openvino", **(values | {"cell_hash": f"o{values}"}))]

    cells = [
        *both(cell_hash="1"),
        *both(cell_hash="8", batch=8),
        *both(cell_hash="2", machine=MACHINE | {"threads": 1}),
    ]
    assert [group.label for group in groups(tmp_path, *cells)] == [
        "a, batch 1, 2 threads",
        "a, batch 8, 2 threads",
        "a, batch 1, 1 thread",
    ]


def test_failed_cells_are_no_bars_and_contended_ones_are_marked(tmp_path: Path) -> None:
    noise = {"verdict": "contended", "reasons": ["something else used 1.2 cores"]}
    invalid = converted("a", "onnxruntime", status="invalid", latency_ms=None, error="another output")
    (group,) = groups(tmp_path, line("a", noise=noise), converted("a", "openvino"), invalid)
    assert [bar.name for bar in group.bars] == ["eager fp32 (contended)", "openvino fp32"]


def test_without_several_backends_the_figure_says_what_makes_them(tmp_path: Path) -> None:
    results = vlbench.read(folder_of(tmp_path, line("a"), line("b")))
    with (
        drawing() as plt,
        pytest.raises(InputError, match="vlbench run --backend eager,onnxruntime,openvino does that"),
    ):
        runtimes_figure.picture(results, plt)
    assert runtimes_section.section(results) is None


def test_whole_models_alone_can_be_drawn(tmp_path: Path) -> None:
    cells = [
        converted("a", backend, scope="model", latency_ms_by_stage=None, latency_ms=timed(*EAGER))
        for backend in ("onnxruntime", "openvino")
    ]
    with drawing() as plt:
        drawn = runtimes_figure.picture(vlbench.read(folder_of(tmp_path, *cells)), plt)
        plt.close(drawn)
    (axes,) = drawn.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "onnxruntime fp32, whole model",
        "openvino fp32, whole model",
    ]


def test_the_page_has_the_same_bars_and_a_table_of_them(tmp_path: Path) -> None:
    section = runtimes_section.section(vlbench.read(folder_of(tmp_path, *CELLS)))
    assert section
    (chart,), (table,) = section.charts, section.tables
    rows = chart.data["runtimes"]
    assert [row["behind"] for row in rows if row["behind"]] == [
        "10.3 ms",
        f"10.3 ms, 1.00 times {table.texts[1][3].partition(' ')[2]}",
        f"5.15 ms, 0.50 times {table.texts[2][3].partition(' ')[2]}",
    ]
    assert [row[:2] for row in table.texts] == [
        ["a", "eager fp32"],
        ["a", "openvino fp32, whole model"],
        ["a", "openvino int8"],
    ]
