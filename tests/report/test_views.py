"""What figures show, against sums, hand-made formulas and the WCAG's contrast."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from evaluated import MACHINE, WHEN, result

import vlbench
from tests.paths import ROOT
from vlbench.measuring.statistics import LatencySummary
from vlbench.report import views
from vlbench.report.colours import FAMILIES, NEUTRALS, RANKS, contrast, ink_on, luminance, stage_colour
from vlbench.report.folders import Folder
from vlbench.report.frames import Results
from vlbench.runner.peaks import Peaks
from vlbench.runner.records import Result

DARK_PAGE, WHITE_PAGE = "#111827", "#FFFFFF"
REGION_STEPS = ("backbone", "fpn", "rpn", "roi_head", "nms", "projection", "rest")


def summary(median: float) -> LatencySummary:
    return LatencySummary(median=median, ci95=None, p90=None, p99=None, n=3, by_restart=(median,))


def staged(name: str, times: dict[str, float], **values: Any) -> Result:
    by_stage = {stage: summary(time) for stage, time in times.items()}
    return result(name, times["total"], latency_ms_by_stage=by_stage, **values)


def read(*folders: list[Result], peaks: tuple[Peaks, ...] = ()) -> Results:
    return Results(
        [
            Folder(label=f"f{number}", path=Path(), results=tuple(one), evaluations=(), reproduced=None, peaks=peaks)
            for number, one in enumerate(folders)
        ]
    )


REGION = {"total": 100.0, "text": 1.0, "visual": 80.0, "visual.backbone": 50.0, "visual.nms": 25.0, "interaction": 15.0}
REGION |= {"head": 2.0}


class TestStageBars:
    def test_segments_are_leaves_in_the_order_of_the_pass_and_sum_to_it(self) -> None:
        bars = views.stage_bars(read([staged("region", REGION)]))
        assert dict(zip(bars["stage"], bars["latency_ms"], strict=True)) == {
            **{"text": 1, "visual.backbone": 50, "visual.nms": 25, "visual.rest": 5},
            **{"interaction": 15, "head": 2, "rest": 2},
        }
        assert list(bars["end_ms"]) == [1, 51, 76, 81, 96, 98, 100]
        assert list(bars["start_ms"]) == [0, *bars["end_ms"][:-1]]
        assert bars["share"].sum() == pytest.approx(1)

    def test_parts_beyond_their_whole_are_narrowed_but_told_as_measured(self) -> None:
        times = {"total": 90.0, "visual": 40.0, "visual.patch": 30.0, "visual.projection": 20.0, "interaction": 60.0}
        bars = views.stage_bars(read([staged("patch", times)])).set_index("stage")
        assert list(bars.index) == ["visual.patch", "visual.projection", "interaction"]
        assert list(bars["latency_ms"]) == [30, 20, 60]
        assert list(bars["end_ms"]) == pytest.approx([0.6 * 36, 36, 90])
        assert list(bars["share"]) == pytest.approx([0.24, 0.16, 0.6])

    def test_a_measured_rest_is_told_as_measured(self) -> None:
        times = {"total": 10.0, "visual": 3.0, "interaction": 6.0, "rest": 0.5}
        bars = views.stage_bars(read([staged("patch", times)])).set_index("stage")
        assert bars.loc["rest", "latency_ms"] == 0.5
        assert bars["end_ms"].iloc[-1] == pytest.approx(10)
        assert bars.loc["rest", "share"] == pytest.approx(0.5 / 9.5)

    def test_cells_of_several_folders_have_names_of_their_own(self) -> None:
        one, other = [staged("patch", REGION)], [staged("patch", REGION), staged("patch", REGION, batch=8)]
        assert list(views.stage_bars(read(one, other))["label"].unique()) == [
            *("patch · f0", "patch, batch 1 · f1", "patch, batch 8 · f1")
        ]
        assert list(views.stage_bars(read(one, []))["label"].unique()) == ["patch"]

    def test_what_has_no_stages_or_failed_has_no_rows(self) -> None:
        failed = staged("patch", REGION, status="failed")
        bars = views.stage_bars(read([result("patch", 5), failed]))
        assert not len(bars)
        assert tuple(bars.columns) == views.BARS

    def test_published_bars_sum_to_each_total(self) -> None:
        found = vlbench.read(ROOT / "results" / "epyc-2-cores" / "vilt")
        bars = views.stage_bars(found)
        totals = found.stages[found.stages["stage"] == "total"].set_index("cell")["latency_ms"]
        assert bars.groupby("cell")["end_ms"].max().to_dict() == pytest.approx(totals.to_dict())
        told = bars[~bars["stage"].str.endswith("rest")].set_index(["cell", "stage"])["latency_ms"]
        measured = found.stages.set_index(["cell", "stage"])["latency_ms"]
        assert told.to_dict() == {key: measured[key] for key in told.index}


def sized(name: str, latency_ms: float, side: int, tokens: int, batch: int = 1, **values: Any) -> Result:
    return result(name, latency_ms, image_size=(side, side), image_tokens=tokens, batch=batch, **values)


class TestScaling:
    def test_three_batches_are_a_line_with_the_time_of_an_example(self) -> None:
        cells = [sized("patch", 10.0 * batch, 224, 49, batch) for batch in (4, 1, 2)]
        lines = views.scaling(read(cells))
        assert set(lines["axis"]) == {"batch"}
        assert set(lines["line"]) == {"patch, 224x224"}
        assert list(lines["x"]) == [1, 2, 4]
        assert list(lines["latency_ms"]) == [10, 20, 40]
        assert list(lines["per_example_ms"]) == [10, 10, 10]
        assert list(lines["low"]) == pytest.approx([9.5, 19, 38])

    def test_two_are_none_nor_is_one_that_failed_a_third(self) -> None:
        cells = [sized("patch", 10, 224, 49, batch) for batch in (1, 2, 3)]
        lines = views.scaling(read([*cells[:2], cells[2].model_copy(update={"status": "failed"})]))
        assert not len(lines)
        assert tuple(lines.columns) == views.LINES

    def test_an_image_that_grows_brings_its_tokens_along(self) -> None:
        lines = views.scaling(read([sized("grid", 5.0 * side, side, side // 8) for side in (64, 128, 256)]))
        assert set(lines["axis"]) == {"image pixels"}
        assert list(lines["x"]) == [64**2, 128**2, 256**2]
        assert set(lines["line"]) == {"grid, 40 text tokens"}

    def test_tokens_of_text_and_image_lie_on_one_axis(self) -> None:
        sizes = {2: 38, 36: 20, 100: 40}
        cells = [sized("region", 9, 32, image, text_tokens=text) for image, text in sizes.items()]
        lines = views.scaling(read(cells))
        assert list(lines["x"]) == [40, 56, 140]
        assert set(lines["axis"]) == {"tokens"}

    @pytest.mark.parametrize(
        "other",
        [
            *({"model": "patch-2"}, {"device": "cuda"}, {"precision": "bf16"}, {"backend": "eager+x"}, {"l2": "cold"}),
            *({"machine": MACHINE.model_copy(update={"threads": 9})}, {"weights": "w"}, {"text_tokens": 9}),
            *({"image_size": (9, 9)}, {"params_by_stage": {"interaction": 5}}),
        ],
        ids=lambda other: next(iter(other)),
    )
    def test_a_cell_that_differs_otherwise_is_of_another_line(self, other: dict[str, Any]) -> None:
        cells = [sized("patch", 10, 224, 49, batch) for batch in (1, 2)]
        assert not len(views.scaling(read([*cells, sized("patch", 10, 224, 49, 4).model_copy(update=other)])))

    def test_another_folder_is_another_line(self) -> None:
        cells = [sized("patch", 10, 224, 49, batch) for batch in (1, 2, 4)]
        assert not len(views.scaling(read(cells[:2], cells[2:])))
        assert list(views.scaling(read(cells, cells))["line"].unique()) == [
            *("patch, 224x224 · f0", "patch, 224x224 · f1")
        ]

    def test_lines_of_one_model_are_told_apart_by_what_does_not_change(self) -> None:
        cells = [sized("patch", 10, 224, 49, batch) for batch in (1, 2, 4)]
        half = [one.model_copy(update={"precision": "bf16", "batch": 2 * one.batch}) for one in cells]
        assert list(views.scaling(read([*cells, *half]))["line"].unique()) == [
            *("patch, 224x224, fp32", "patch, 224x224, bf16")
        ]

    def test_a_place_that_several_have_is_left_out(self) -> None:
        cells = [sized("patch", 10, 224, 49, batch, spec_hash="a") for batch in (1, 2, 4, 8)]
        lines = views.scaling(read([*cells, cells[1].model_copy(update={"spec_hash": "b"})]))
        assert list(lines["x"]) == [1, 4, 8]


def counted(name: str, latency_ms: float, **values: Any) -> Result:
    """MACs 5e9 and 50 ms: 200 GFLOP/s; 1e9 bytes: 10 FLOP a byte."""
    cell = staged(name, {"total": 60.0, "visual": 20.0, "visual.patch": 10.0, "head": 1.0}, macs=5 * 10**9)
    own = {"flops": 10**10, "macs_by_stage": {"visual": 4 * 10**9, "visual.patch": 10**9, "head": 0}}
    own["latency_ms"] = summary(latency_ms)
    moved = {"bytes_moved": 10**9, "bytes_moved_by_stage": {"visual": 2 * 10**8, "visual.patch": 10**8, "head": 10}}
    return cell.model_copy(update=own | moved | values)


def peaks(gflops: float, **values: Any) -> Peaks:
    own = {"device": "cpu", "precision": "fp32", "threads": 1, "gigabytes_per_second": 20.0, "machine": MACHINE}
    return Peaks(**(own | {"gflops_per_second": gflops, "measured_at": WHEN, "vlbench_version": "0"} | values))


class TestRoofline:
    def test_points_are_operations_a_byte_and_a_second(self) -> None:
        points, roofs = views.roofline(read([counted("patch", 50)]))
        by_stage = points.set_index("stage")
        assert list(by_stage.index) == ["pass", "visual", "visual.patch"], "the head has no MACs"
        assert list(by_stage["intensity"]) == [10, 40, 20]
        assert list(by_stage["gflops_per_second"]) == [200, 400, 200]
        assert by_stage.loc["visual.patch", "of"] == "visual"
        assert by_stage.loc["pass", "threads"] == 1
        assert by_stage["mfu"].isna().all()
        assert not len(roofs)
        assert tuple(roofs.columns) == views.ROOFS

    def test_utilisation_is_of_the_roof_of_the_same_setting(self) -> None:
        half = counted("patch", 50, precision="bf16")
        points, _ = views.roofline(read([counted("patch", 50), half], peaks=(peaks(400), peaks(800, threads=2))))
        assert list(points["mfu"][:3]) == [0.5, 1, 0.5]
        assert points["mfu"][3:].isna().all()

    def test_what_older_versions_measured_has_no_points(self) -> None:
        old = counted("patch", 50, bytes_moved=None, bytes_moved_by_stage=None)
        points, _ = views.roofline(read([old, counted("grid", 50, status="failed")]))
        assert not len(points)
        assert tuple(points.columns) == views.POINTS

    def test_a_roof_breaks_where_compute_takes_over(self) -> None:
        _, roofs = views.roofline(read([counted("patch", 50)], peaks=(peaks(400), peaks(420), peaks(90, threads=2))))
        assert list(roofs["peak_gflops"]) == [420, 90]
        assert list(roofs["ridge"]) == [21, 4.5]
        assert list(roofs["label"]) == ["cpu fp32, 1 thread", "cpu fp32, 2 threads"]

    def test_one_roof_needs_no_more_than_its_precision(self) -> None:
        _, roofs = views.roofline(read([counted("patch", 50)], peaks=(peaks(400), peaks(800, precision="bf16"))))
        assert list(roofs["label"]) == ["cpu fp32", "cpu bf16"]


class TestAboveRoofs:
    """200 GFLOP/s at 10 FLOP a byte in the pass and in `visual.patch` (at 20), 400 at 40 in `visual`."""

    def notes(self, result: Result, *of_machine: Peaks) -> list[str]:
        return views.notes_above_roofs(*views.roofline(read([result], peaks=of_machine)))

    def test_nothing_is_said_where_all_points_lie_below(self) -> None:
        assert self.notes(counted("patch", 50), peaks(400)) == []
        assert self.notes(counted("patch", 50)) == [], "no peaks, so no roof"
        assert self.notes(counted("patch", 50), peaks(1, precision="fp16")) == [], "the roof of another precision"

    def test_what_is_faster_than_the_peak_is_named(self) -> None:
        (note,) = self.notes(counted("patch", 50), peaks(399))
        assert note.startswith("Above the peak: patch visual: faster than all kernels")
        (note,) = self.notes(counted("patch", 50), peaks(50))
        assert note.startswith("Above the peak: patch, patch visual, patch visual.patch: ")

    def test_above_the_slope_alone_a_cache_helped(self) -> None:
        (note,) = self.notes(counted("patch", 50), peaks(500, gigabytes_per_second=15.0))
        assert note == "Above the slope: patch: caches kept what counts as moved."

    def test_an_interval_that_reaches_below_the_roof_says_nothing(self) -> None:
        """The pass takes 50 ms or, at the end of its interval, 51: 196 GFLOP/s or more."""
        near = counted("patch", 50, latency_ms_by_stage={}, macs_by_stage={}, bytes_moved_by_stage={})
        assert near.latency_ms
        near = near.model_copy(update={"latency_ms": replace(near.latency_ms, ci95=(49.0, 51.0))})
        assert self.notes(near, peaks(197)) == []
        assert self.notes(near, peaks(196))


class TestColours:
    @pytest.mark.parametrize("family", [*FAMILIES, "unheard-of"])
    def test_all_stand_out_on_white_and_on_dark_pages(self, family: str) -> None:
        for stage in (*NEUTRALS, *(f"visual.{step}" for step in RANKS), "visual", "visual.unheard-of"):
            colour = stage_colour(family, stage)
            assert contrast(colour, WHITE_PAGE) >= 1.3, stage
            assert contrast(colour, DARK_PAGE) >= 1.3, stage
            assert contrast(colour, ink_on(colour)) >= 4.5, stage

    @pytest.mark.parametrize("family", FAMILIES)
    def test_luminance_tells_steps_apart(self, family: str) -> None:
        """Within a family by 15%, next to each other in a pass by 35%."""
        colours = [stage_colour(family, f"visual.{step}") for step in REGION_STEPS]
        assert min(luminance(colour) for colour in colours) == luminance(colours[0])
        assert all(contrast(one, other) >= 1.15 for one, other in combinations(colours, 2))
        passes = [
            *("visual.backbone", "visual.fpn", "visual.rpn", "visual.roi_head", "visual.nms", "visual.projection"),
            *("visual.rest", "interaction", "head"),
        ]
        drawn = [stage_colour(family, stage) for stage in passes]
        assert all(contrast(one, other) >= 1.35 for one, other in pairwise(drawn))

    def test_neutrals_differ_too(self) -> None:
        assert all(contrast(one, other) >= 1.3 for one, other in combinations(NEUTRALS.values(), 2))

    def test_contrast_is_that_of_the_guidelines(self) -> None:
        assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
        assert contrast("#FFFFFF", "#767676") == pytest.approx(4.54, abs=0.005)
        assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.005)

    def test_shades_keep_the_hue_of_their_family(self) -> None:
        for family, (own, _) in FAMILIES.items():
            strongest = max(range(3), key=lambda place: int(own[1 + 2 * place : 3 + 2 * place], 16))
            for step in REGION_STEPS:
                colour = stage_colour(family, f"visual.{step}")
                channels = [int(colour[1 + 2 * place : 3 + 2 * place], 16) for place in range(3)]
                assert channels[strongest] == max(channels)
