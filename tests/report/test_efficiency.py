"""Examples per second, MFU, bandwidth share and energy by their formulas, in tables, files, notes and frames."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from evaluated import MACHINE, WHEN, result
from rich.console import Console

import vlbench
from tests.helpers import write_lines, write_results
from tests.report.written import failed, line
from vlbench.cli.options import Format
from vlbench.cli.printing import print_results
from vlbench.measuring.noise import Interference, Noise
from vlbench.report.efficiency import LEAST_GPU_BUSY_SHARE, efficiency, highest_peaks
from vlbench.report.export import display_table
from vlbench.report.notes import notes
from vlbench.report.tables import result_tables, results_csv, summary_table
from vlbench.runner.peaks import Peaks
from vlbench.runner.records import Launch, Restart, Result, WarmUp
from vlbench.tables.terminal import to_terminal
from vlbench.tables.writers import to_markdown

ELSEWHERE = MACHINE.model_copy(update={"cpu": "Xeon 5"})
FIGURES = ("examples_per_second", "mfu", "bandwidth_share", "joules", "joules_per_example", "gpu_busy_share")


def measured(name: str = "patch", latency_ms: float | None = 50.0, **values: Any) -> Result:
    """Eight examples in 50 ms: 160/s; 5e9 MACs: 200 GFLOP/s; 2e8 bytes: 4 GB/s; 6 J."""
    own = {"batch": 8, "macs": 5 * 10**9, "bytes_moved": 2 * 10**8, "joules": 6.0, "cell_hash": name}
    return result(name, latency_ms, **(own | values))


def peaks(gflops: float = 400.0, gigabytes: float = 20.0, **values: Any) -> Peaks:
    own = {"device": "cpu", "precision": "fp32", "threads": 1, "machine": MACHINE, "measured_at": WHEN}
    speeds = {"gflops_per_second": gflops, "gigabytes_per_second": gigabytes}
    return Peaks(**(own | speeds | {"vlbench_version": "0"} | values))


def figures(one: Result, *of_machines: Peaks) -> dict[str, Any]:
    found = efficiency(one, highest_peaks(of_machines))
    return {name: getattr(found, name) for name in FIGURES}


def headings(*results: Result, peaks: tuple[Peaks, ...] = ()) -> list[str]:
    names = summary_table(results, highest_peaks(peaks)).without_empty().names
    others = summary_table([]).names
    return [name for name in names if name in others[others.index("restarts") + 1 : others.index("noise")]]


def with_noise(**values: Any) -> Result:
    return measured(noise=Noise(verdict="stable"), **values)


class TestFormulas:
    def test_each_figure_is_by_its_formula(self) -> None:
        launch = Launch(wall_ms=4.0, host_ms=3.0, gpu_busy_ms=3.0)
        assert figures(measured(launch=launch), peaks()) == {
            **{"examples_per_second": 8 / 0.050, "mfu": 2 * 5e9 / 0.050 / 400e9},
            **{"bandwidth_share": 2e8 / 0.050 / 20e9, "joules": 6.0, "joules_per_example": 6.0 / 8},
            "gpu_busy_share": 3.0 / 4.0,
        }

    def test_without_peaks_the_rest_is_known(self) -> None:
        found = figures(measured())
        assert (found["mfu"], found["bandwidth_share"]) == (None, None)
        assert found["examples_per_second"] == 160

    @pytest.mark.parametrize(
        "other", [{"machine": ELSEWHERE}, {"device": "cuda"}, {"precision": "bf16"}, {"threads": 2}]
    )
    def test_peaks_of_another_setting_are_no_peaks(self, other: dict[str, Any]) -> None:
        assert figures(measured(), peaks(**other))["mfu"] is None

    def test_the_highest_of_several_peaks_counts(self) -> None:
        found = figures(measured(), peaks(100, 40), peaks(400, 10), peaks(200, 20))
        assert (found["mfu"], found["bandwidth_share"]) == (0.5, 0.1)

    def test_machines_of_one_table_have_each_their_own_peaks(self) -> None:
        both = highest_peaks([peaks(400), peaks(800, machine=ELSEWHERE)])
        results = [measured(), measured(machine=ELSEWHERE), measured(precision="bf16")]
        assert summary_table(results, both).frame["MFU %"].tolist() == [0.5, 0.25, None]

    def test_a_failed_measurement_has_no_figure(self) -> None:
        nothing = measured(latency_ms=None, joules=None)
        assert set(figures(nothing, peaks()).values()) == {None}
        invalid = measured(status="invalid", joules=None)
        assert set(figures(invalid, peaks()).values()) == {None}

    def test_caches_lift_the_bandwidth_above_its_peak(self) -> None:
        assert figures(measured(bytes_moved=3 * 10**9), peaks())["bandwidth_share"] == pytest.approx(3)

    def test_zero_is_a_figure_but_no_divisor(self) -> None:
        found = figures(measured(macs=0, bytes_moved=0, joules=0.0), peaks())
        assert [found[name] for name in FIGURES[1:5]] == [0, 0, 0, 0]
        instant = measured(latency_ms=0.0, launch=Launch(wall_ms=0.0, host_ms=0.0, gpu_busy_ms=0.0))
        assert [figures(instant, peaks())[name] for name in ("examples_per_second", "mfu", "gpu_busy_share")] == [
            *(None, None, None)
        ]

    def test_counts_that_are_unknown_leave_gaps(self) -> None:
        found = figures(measured(macs=None, bytes_moved=None, joules=None), peaks())
        assert [found[name] for name in FIGURES[1:5]] == [None] * 4
        no_kernels = Launch(wall_ms=4.0, host_ms=3.0)
        assert figures(measured(launch=no_kernels))["gpu_busy_share"] is None


class TestTables:
    def test_a_column_that_no_row_fills_is_left_out(self) -> None:
        assert headings(measured(joules=None)) == ["examples/s"]
        assert headings(measured(joules=None), peaks=(peaks(),)) == ["examples/s", "MFU %", "bandwidth %"]
        launch = Launch(wall_ms=1.0, host_ms=0.5, gpu_busy_ms=0.9)
        assert headings(measured(launch=launch)) == ["examples/s", "J a pass", "J an example", "GPU busy %"]
        assert headings(measured(latency_ms=None, joules=None), peaks=(peaks(),)) == []

    def test_the_terminal_shows_three_of_them_and_markdown_all(self) -> None:
        tables = result_tables([with_noise()], peaks=[peaks()])
        console = Console(file=io.StringIO(), width=200)
        console.print(to_terminal(tables))
        head, row = (text.split() for text in console.file.getvalue().splitlines()[:2])  # type: ignore[attr-defined]
        assert " ".join(head).endswith("restarts examples/s MFU % J an example noise")
        assert row[-5:] == ["6", "160", "50.0", "0.75", "stable"]
        words = " ".join(to_markdown(tables).splitlines()[0].split())
        assert words.endswith("| examples/s | MFU % | bandwidth % | J a pass | J an example | noise |")

    def test_a_table_with_all_of_them_fits_120_columns(self) -> None:
        """With names and figures as long as they get; nothing but family, input and restarts is left out."""
        results = [
            with_noise(
                name="grid-features-r101", latency_ms=20_801.0, params_total=152_400_000, peak_memory_bytes=2**30
            )
        ]
        console = Console(file=io.StringIO(), width=120)
        console.print(to_terminal([summary_table(results, highest_peaks([peaks()]))], 120))
        head, row = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert head.split()[:3] == ["model", "params", "M"]
        assert head.rstrip().endswith("examples/s  MFU %  J an example  noise")
        assert row.startswith("grid-features-r101")

    def test_a_contended_measurement_shows_its_figures_beside_its_verdict(self) -> None:
        contended = measured(noise=Noise(verdict="contended", reasons=("something else ran",)))
        (row,) = summary_table([contended], highest_peaks([peaks()])).texts
        assert {"50.0", "contended"} <= set(row)

    def test_csv_has_plain_values_under_their_names(self) -> None:
        results = [measured(), measured("b", None, joules=None)]
        frame = pd.read_csv(io.StringIO(results_csv(results, [peaks()])))
        assert frame.loc[0, list(FIGURES[:5])].tolist() == [160, 0.5, 0.2, 6, 0.75]
        assert frame.loc[1, list(FIGURES[:5])].isna().all()
        assert not {"gpu_busy_share", "launch", "l2"} & set(frame.columns)
        assert not {"mfu", "bandwidth_share", "joules"} & set(
            pd.read_csv(io.StringIO(results_csv([measured(joules=None)]))).columns
        )

    def test_printing_takes_the_peaks_of_the_folder(self, capsys: pytest.CaptureFixture[str]) -> None:
        for output, word in ((Format.table, "MFU %"), (Format.markdown, "MFU %"), (Format.csv, "mfu")):
            print_results([measured()], output, peaks=[peaks()])
            assert word in capsys.readouterr().out
            print_results([measured()], output)
            assert word not in capsys.readouterr().out


def restart(discarded: int | None) -> Restart:
    interference = Interference(wall_seconds=1, cpu_seconds=1, gpu_discarded_samples=discarded)
    return Restart(latency_ms=(1.0,), warm_up=WarmUp(n=1, steady=True), interference=interference, measured_at=WHEN)


class TestNotes:
    def test_a_model_that_waits_for_the_host_is_named_with_what_helps(self) -> None:
        launch = Launch(wall_ms=4.1, host_ms=3.9, gpu_busy_ms=0.43 * 4.1)
        waits = (
            "patch: bound by the host: the GPU computes for 43% of a pass (wall 4.10 ms, launched after 3.90 ms); "
            "--backend cuda-graph or a larger --batch helps"
        )
        assert waits in notes([measured(launch=launch)])
        graph = notes([measured(launch=launch, backend="cuda-graph")])
        assert waits.replace("--backend cuda-graph or ", "") in graph

    @pytest.mark.parametrize("busy_ms", [10 * LEAST_GPU_BUSY_SHARE, 12.0, None])
    def test_nothing_is_said_of_a_busy_or_an_unknown_gpu(self, busy_ms: float | None) -> None:
        launch = Launch(wall_ms=10.0, host_ms=9.0, gpu_busy_ms=busy_ms)
        assert not any("bound by" in words for words in notes([measured(launch=launch), measured()]))

    def test_settings_say_what_the_l2_cache_held(self) -> None:
        on_gpu = [measured(device="cuda", l2="warm"), measured(device="cuda", l2="cold"), measured()]
        assert [words for words in notes(on_gpu) if words.startswith("Settings")] == [
            "Settings: cuda, fp32, eager, batch 8, L2 warm",
            "Settings: cuda, fp32, eager, batch 8, L2 cold",
            "Settings: cpu, fp32, eager, batch 8",
        ]

    def test_discarded_samples_are_counted(self) -> None:
        throttled = measured(restarts=(restart(12), restart(0), restart(None), restart(1)))
        words = "discarded 13 samples in 2 of 4 restarts, as heat or the power supply lowered the GPU's clock meanwhile"
        assert f"patch: {words}" in notes([throttled])
        assert not any("discarded" in words for words in notes([measured(restarts=(restart(0), restart(None)))]))


class TestFrames:
    def test_cells_hold_the_figures(self, tmp_path: Path) -> None:
        launch = Launch(wall_ms=4.0, host_ms=3.0, gpu_busy_ms=3.0)
        write_results(tmp_path, [measured(launch=launch, l2="cold"), measured("b", None, joules=None)])
        write_lines(tmp_path / "peaks.jsonl", [peaks()])
        cells = vlbench.read(tmp_path).cells
        assert cells.loc[0, list(FIGURES)].tolist() == [160, 0.5, 0.2, 6, 0.75, 0.75]
        assert cells.loc[1, list(FIGURES)].isna().all()
        assert cells["l2"].tolist() == ["cold", pd.NA]

    def test_lines_without_the_keys_have_gaps(self, tmp_path: Path) -> None:
        """8 ms a pass; written before energy, launches and the L2 cache were known."""
        cells = vlbench.read(write_results(tmp_path, [line("a"), failed("b")])).cells
        assert cells["examples_per_second"].tolist()[0] == 125
        assert cells[["mfu", "joules", "gpu_busy_share", "l2"]].isna().all(axis=None)

    def test_peaks_of_one_folder_serve_another_of_the_same_machine(self, tmp_path: Path) -> None:
        write_results(tmp_path / "a", [measured()])
        write_lines(write_results(tmp_path / "b", [measured()]) / "peaks.jsonl", [peaks()])
        assert vlbench.read(tmp_path).cells["mfu"].tolist() == [0.5, 0.5]

    def test_an_exported_table_shows_what_a_terminal_does(self, tmp_path: Path) -> None:
        write_lines(write_results(tmp_path, [measured()]) / "peaks.jsonl", [peaks()])
        names = display_table(vlbench.read(tmp_path)).names
        assert names[4:8] == ["latency ms (95%)", "examples/s", "MFU %", "J an example"]

    def test_an_emptied_cache_is_another_setting(self, tmp_path: Path) -> None:
        warm = [measured(device="cuda", l2=l2, cell_hash=l2) for l2 in ("warm", "cold")]
        assert list(vlbench.read(write_results(tmp_path, warm)).cells["cell"]) == ["patch, L2 warm", "patch, L2 cold"]
