"""`vlbench figure`: every figure as every kind of file, the same bytes each time; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from evaluated import MACHINE, WHEN, evaluation, result

from tests.helpers import others_slow, write_lines, write_results
from tests.paths import RESULTS
from vlbench.cli import main
from vlbench.measuring.statistics import LatencySummary
from vlbench.report import draw_figure, paper
from vlbench.report.figure_registry import FIGURES
from vlbench.report.paper import UNDATED
from vlbench.runner.peaks import Peaks
from vlbench.runner.records import Result
from vlbench.suites.reader import suites_folder

PNG, PDF = b"\x89PNG\r\n\x1a\n", b"%PDF-1."
STEPS = {"patch": ("patch",), "grid": ("backbone", "projection"), "region": ("backbone", "rpn", "roi_head", "nms")}
AWKWARD = "a-<b>&-$x_1$"  # neither XML nor a formula
MODELS = ("patch-a", "grid-a", "region-a", AWKWARD)

Figure = Callable[..., tuple[int, str]]


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Figure:
    """The exit code of `vlbench figure ...`, and what it says on stderr."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["vlbench", "figure", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return ended.value.code or 0, capsys.readouterr().err

    return run


def summary(median: float) -> LatencySummary:
    ends = (0.9 * median, 1.1 * median)
    return LatencySummary(median=median, ci95=ends, p90=None, p99=None, n=9, by_restart=(ends[0], median, ends[1]))


def cell(name: str, latency_ms: float, **values: Any) -> Result:
    """With stages, MACs and bytes."""
    one = result(name, latency_ms)
    steps = [f"visual.{step}" for step in STEPS[one.family]]
    times = {"total": 1.0, "text": 0.02, "visual": 0.5, **dict.fromkeys(steps, 0.4 / len(steps)), "interaction": 0.45}
    macs = {stage: 10**8 for stage in times if stage != "total"}
    own: dict[str, Any] = {
        "latency_ms": summary(latency_ms),
        "latency_ms_by_stage": {stage: summary(share * latency_ms) for stage, share in times.items()},
        **{"flops": 2 * 10**9, "macs_by_stage": macs, "image_tokens": 100},
        **{"bytes_moved": int(1e7 * latency_ms), "bytes_moved_by_stage": dict.fromkeys(macs, 10**7)},
    }
    return one.model_copy(update=own | values)


def write_folder(folder: Path, results: Sequence[Result], *, peaks: bool = True, evaluated: Sequence[str] = ()) -> Path:
    write_results(folder, results)
    if peaks:
        machine_peaks = Peaks(
            **{
                "device": "cpu",
                "precision": "fp32",
                "threads": 1,
                "gflops_per_second": 300.0,
                "gigabytes_per_second": 20.0,
            },
            **{"machine": MACHINE, "measured_at": WHEN, "vlbench_version": "0"},
        )
        write_lines(folder / "peaks.jsonl", [machine_peaks])
    if evaluated:
        evaluations = [evaluation(name, 0.5 + 0.1 * index) for index, name in enumerate(evaluated)]
        write_lines(folder / "evaluations.jsonl", evaluations)
    return folder


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A folder with something for each figure but those of suites."""
    cells = [cell(name, 10.0 * (place + 1), cell_hash=name) for place, name in enumerate(MODELS)]
    cells.append(cell("patch-a", 4.0, backend="openvino", precision="int8", scope="stages", cell_hash="openvino"))
    cells += [cell("patch-b", 5.0 * batch, batch=batch, cell_hash=f"b{batch}") for batch in (1, 2, 4)]
    folder = write_folder(tmp_path / "everything", cells, evaluated=MODELS)
    content = json.loads((RESULTS / "epyc-2-cores" / "vilt" / "reproduction.json").read_text(encoding="utf-8"))
    (folder / "reproduction.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


NAMED: dict[str, Sequence[str]] = {
    **{
        "stages": (*MODELS[1:], "patch-a, openvino", "patch-b, batch 4"),
        "frontier": MODELS,
        "scaling": ("patch-b, 384x640",),
    },
    **{"runtimes": ("eager fp32", "openvino int8", "4.00 ms, 0.40 times")},
    **{
        "roofline": ("patch-a, eager, 67%", "grid-a, 33%", "region-a, 22%", f"{AWKWARD}, 17%")
    },  # 2 GFLOP a pass, at most 300
    **{"reported": ("ViLBERT", "ViLT-B/32 [8]"), "vilt-table6": ("ViLBERT", "ViLT-B/32")},
    **{"vilt-figure1": ("UNITER-Base", "region operations")},
}


@pytest.mark.parametrize("kind", UNDATED)
def test_the_name_of_a_file_says_its_kind(kind: str, figure: Figure, tmp_path: Path) -> None:
    out = tmp_path / f"stages{kind}"
    code, said = figure("stages", write_folder(tmp_path / "r", [cell("patch-a", 10)]), "-o", out)
    assert (code, said) == (0, f"figure: {out}\n")
    assert out.read_bytes().startswith({".png": PNG, ".pdf": PDF, ".svg": b"<?xml"}[kind])


@pytest.mark.parametrize("name", others_slow(NAMED, first=2))
def test_every_figure_is_every_kind_of_file_and_the_same_each_time(
    name: str, everything: Path, figure: Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_kinds(picture: Any, path: Path) -> None:
        for kind in UNDATED:
            paper.write(picture, path.with_suffix(kind))

    monkeypatch.setattr(draw_figure, "write", all_kinds)
    for out in ("one", "two"):
        code, said = figure(name, everything, "-o", tmp_path / f"{out}.svg")
        assert code == 0, said
    content = {kind: (tmp_path / f"one{kind}").read_bytes() for kind in UNDATED}
    for kind in UNDATED:
        assert content[kind] == (tmp_path / f"two{kind}").read_bytes(), f"{kind} differs from time to time"
    assert content[".png"].startswith(PNG)
    assert content[".pdf"].startswith(PDF)
    assert b"CreationDate" not in content[".pdf"]
    comments = words_of(content[".svg"])
    for words in NAMED[name]:
        assert words in comments
    machine = MACHINE.cpu if name in set(FIGURES) - {"reported"} else "AMD EPYC"
    assert any(machine in line for line in comments), "the foot names the machine"


def test_every_figure_is_tested() -> None:
    assert set(FIGURES) <= set(NAMED)


def words_of(svg: bytes) -> list[str]:
    """Every text of a picture, which matplotlib names beside its outlines; raises where the file is no XML."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.fromstring(svg, parser)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    found = [one.text.strip() for one in root.iter() if one.tag is ElementTree.Comment and one.text]
    return [one.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for one in found]


def test_without_peaks_the_foot_says_what_measures_them(figure: Figure, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "r", [cell("patch-a", 10)], peaks=False)
    code, said = figure("roofline", folder, "-o", tmp_path / "r.svg")
    assert code == 0, said
    words = " ".join(words_of((tmp_path / "r.svg").read_bytes()))
    assert "These results hold no peaks of the machine; vlbench run measures them." in words
    assert "ridge at" not in words
    code, _ = figure("roofline", write_folder(tmp_path / "p", [cell("patch-a", 10)]), "-o", tmp_path / "p.svg")
    assert "cpu fp32: 300 GFLOP/s, 20.0 GB/s as measured; ridge at 15.0 FLOPs a byte" in words_of(
        (tmp_path / "p.svg").read_bytes()
    )


def test_a_frontier_tells_of_other_tasks_and_draws_the_one_asked_for(figure: Figure, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "r", [cell("patch-a", 10), cell("grid-a", 20, cell_hash="g")])
    found = [evaluation("patch-a", 0.6), evaluation("grid-a", 0.7), evaluation("patch-a", 0.4, task="other")]
    lines = "".join(f"{one.model_dump_json(by_alias=True)}\n" for one in found)
    (folder / "evaluations.jsonl").write_text(lines, encoding="utf-8")
    code, said = figure("frontier", folder, "-o", tmp_path / "most.svg")
    assert code == 0
    assert "frontier of shapes test; others: frontier:other-test" in said
    assert "grid-a" in words_of((tmp_path / "most.svg").read_bytes())
    code, _ = figure("frontier:other-test", folder, "-o", tmp_path / "other.svg")
    assert code == 0
    assert "grid-a" not in words_of((tmp_path / "other.svg").read_bytes())
    code, said = figure("frontier:shape", folder, "-o", tmp_path / "none.svg")
    assert (code, said) == (2, "vlbench: frontier: no model has an accuracy of 'shape'; did you mean shapes-test?\n")


def test_several_folders_lie_side_by_side(figure: Figure, tmp_path: Path) -> None:
    one, other = (write_folder(tmp_path / name, [cell("patch-a", 10)]) for name in ("base", "head"))
    assert figure("stages", one, other, "-o", tmp_path / "s.svg")[0] == 0
    assert {"patch-a · base", "patch-a · head"} <= set(words_of((tmp_path / "s.svg").read_bytes()))


def test_a_suite_of_ones_own_is_meant_by_its_path(figure: Figure, everything: Path, tmp_path: Path) -> None:
    code, said = figure(suites_folder() / "vilt-figure1.yaml", everything, "-o", tmp_path / "s.png")
    assert code == 0, said


def test_a_suite_that_has_changed_since_is_drawn_as_far_as_it_fits(
    figure: Figure, everything: Path, tmp_path: Path
) -> None:
    path = everything / "reproduction.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"] = [one for one in content["cells"] if one["quantity"] != "region_share"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert figure("vilt-figure1", everything, "-o", tmp_path / "s.png")[0] == 0


@pytest.mark.parametrize(
    ("name", "out", "said"),
    [
        ("stags", "x.png", "figure: no figure 'stags'; did you mean stages?"),
        ("vilt-figur1", "x.png", "figure: no figure 'vilt-figur1'; did you mean vilt-figure1?"),
        ("stages", "x.jpg", "ends in neither .png, .svg nor .pdf"),
        ("stages", "x", "ends in neither .png, .svg nor .pdf"),
        ("stages", "none/x.png", "make it first"),
        ("stages", "folder.png", "is a folder; name a file in it"),
        ("scaling", "x.png", "scaling: no model of these results was measured at 3 batches"),
        ("frontier", "x.png", "frontier: no model of these results has both accuracy and latency"),
        ("reported", "x.png", "reported: these results have no value that a paper also reports"),
        ("vilt-table6", "x.png", "vilt-table6: these results hold no reproduction of it; they hold no suite"),
        ("ablation-detector", "x.png", "vlbench reproduce ablation-detector --figures DIR draws it"),
        ("none.yaml", "x.png", "none.yaml"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_line(
    name: str, out: str, said: str, figure: Figure, tmp_path: Path
) -> None:
    (tmp_path / "folder.png").mkdir()
    folder = write_folder(tmp_path / "r", [cell("patch-a", 10)])
    code, told = figure(name, folder, "-o", tmp_path / out)
    assert code == 2
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / out).is_file()


@pytest.mark.parametrize("name", FIGURES)
def test_results_of_failed_cells_alone_have_nothing_to_draw(name: str, figure: Figure, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "r", [result("patch-a", None)], evaluated=("patch-a",))
    code, told = figure(name, folder, "-o", tmp_path / "x.png")
    assert code == 2
    assert told.startswith(f"vlbench: {name}: ")
    assert told.count("\n") == 1


def test_more_bars_than_can_be_told_apart_are_refused(figure: Figure, tmp_path: Path) -> None:
    many = [cell(f"m{number}", 10, cell_hash=f"m{number}") for number in range(900)]
    code, told = figure("stages", write_folder(tmp_path / "r", many), "-o", tmp_path / "x.png")
    assert (code, told) == (2, "vlbench: stages: 900 measurements; up to 879 can be drawn, say of one folder\n")


def test_a_suite_that_two_folders_hold_is_not_chosen_between(figure: Figure, everything: Path, tmp_path: Path) -> None:
    code, told = figure("vilt-figure1", everything, RESULTS / "epyc-2-cores" / "vilt", "-o", tmp_path / "x.png")
    assert code == 2
    assert "name one of them" in told


def test_a_folder_that_is_missing_is_told(figure: Figure, tmp_path: Path) -> None:
    code, told = figure("stages", tmp_path / "nowhere", "-o", tmp_path / "x.png")
    assert code == 2
    assert "nowhere: is not a folder of results" in told


def test_the_help_lists_every_figure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["vlbench", "figure", "--help"])
    with pytest.raises(SystemExit):
        main.main()
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in FIGURES)


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("name", ["stages", "roofline"])
def test_no_words_of_a_crowd_are_cut_off(
    name: str, count: int, figure: Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved tightly, a picture has what lies around it, too; within, names must lie in their axes."""
    seen: list[Any] = []
    monkeypatch.setattr("vlbench.report.draw_figure.write", lambda picture, _: seen.append(_names_out_of_axes(picture)))
    long = [f"{('patch', 'grid', 'region')[place % 3]}-of-an-organisation-{place}" for place in range(count)]
    folder = write_folder(tmp_path / "r", [cell(one, 3.0 + place, cell_hash=one) for place, one in enumerate(long)])
    assert figure(name, folder, "-o", tmp_path / "x.png")[0] == 0
    assert seen == [[]]


def _names_out_of_axes(picture: Any) -> list[str]:
    picture.draw_without_rendering()
    return [
        text.get_text()
        for axes in picture.axes
        for text in axes.texts
        if text.get_text() and text.get_visible()
        if not mpl.transforms.Bbox.intersection(axes.bbox, text.get_window_extent())
        or not _within(axes.bbox, text.get_window_extent())
    ]


def _within(outer: Any, inner: Any) -> bool:
    return bool(inner.x0 >= outer.x0 - 1 and inner.x1 <= outer.x1 + 1 and inner.y0 >= outer.y0 - 1)
