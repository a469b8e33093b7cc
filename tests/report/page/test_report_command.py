"""`vlbench report`: what it writes for results of every sort, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made import PUBLISHED, failed, line, page_of, published

from tests.helpers import write_results
from tests.report.written import evaluated, folder_of, one_restart
from vlbench.cli import main
from vlbench.report.colours import FAMILIES

Report = Callable[..., tuple[int, str]]
VOID = {"meta", "link", "input", "br"}


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Report:
    """The exit code of `vlbench report ...` in an empty folder, and what it says on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["vlbench", "report", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return ended.value.code or 0, capsys.readouterr().err

    return run


class Balanced(HTMLParser):
    """Fails at a tag that closes another than the one open; gathers what stands in tables, by their fields."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.identifiers: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        own = dict(attrs)
        self.identifiers += [own["id"]] if "id" in own else []
        self.targets += [own["href"][1:]] if own.get("href", "").startswith("#") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(html: str) -> Balanced:
    """The page parses, no two things share an identifier, and every link within it leads somewhere."""
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert len(parser.identifiers) == len(set(parser.identifiers))
    assert set(parser.targets) <= set(parser.identifiers)
    return parser


def content(html: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_page_is_one_file_without_an_address_that_it_asks(report: Report, tmp_path: Path) -> None:
    code, said = report(PUBLISHED, PUBLISHED / "shapes", "-o", "page.html", "--title", "What we measured")
    assert (code, said.split(":")[0]) == (0, "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert len(html.encode()) < 5e6
    checked(html)
    assert "<title>What we measured</title>" in html
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', html.split("<script>")[0]) == []
    assert "default-src 'none'" in html


def test_by_default_it_is_called_report_html(report: Report, tmp_path: Path) -> None:
    assert report(PUBLISHED)[0] == 0
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: is not a folder of results"),
        (["empty"], "empty: no cells.jsonl, evaluations.jsonl or reproduction.json in or below it"),
        (["none"], "none: hold no results yet; vlbench run makes some"),
        (["damaged"], "damaged/cells.jsonl line 1: not JSON"),
        (["newer"], "newer/cells.jsonl line 1: schema 99"),
        (["printed"], "printed/reproduction.json: suites: Field required"),
        ([PUBLISHED / "cells.jsonl"], "is not a folder of results; name its folder"),
        ([PUBLISHED, "-o", "report.pdf"], "--out report.pdf: not an .html file; report.pdf.html works"),
        ([PUBLISHED, "-o", "away/report.html"], "--out away/report.html: no folder away; make it first"),
        ([], "Missing argument 'RESULTS...'"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(report: Report, tmp_path: Path, words: list[Any], said: str) -> None:
    (tmp_path / "empty").mkdir()
    for name, text in (("none", ""), ("damaged", "nonsense\n{}\n"), ("newer", '{"schema": 99}\n')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cells.jsonl").write_text(text)
    (tmp_path / "printed").mkdir()
    (tmp_path / "printed" / "reproduction.json").write_text("{}")
    code, told = report(*words)
    assert code == 2
    assert said in told
    assert told.count("\n") == 1
    assert not list(tmp_path.glob("*.html"))


def test_a_page_that_cannot_be_written_is_told_in_one_line(report: Report, tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    code, told = report(PUBLISHED)
    assert code == 2
    assert told.startswith("vlbench: report.html: ")
    assert told.count("\n") == 1


def test_one_cell(tmp_path: Path) -> None:
    html = page_of(write_results(tmp_path / "results", [line("alone")]))
    checked(html)
    assert "<b>1</b> <span>measurement of 1 model on 1 machine</span>" in html
    assert "Side by side" not in html


def test_only_failed_cells(tmp_path: Path) -> None:
    html = page_of(
        write_results(tmp_path / "results", [failed("a", "out of memory: 51 TB"), failed("b", "timeout <10 s>")])
    )
    checked(html)
    assert content(html)["charts"] == []
    assert "out of memory: 51 TB" in html
    assert "timeout &lt;10 s&gt;" in html
    assert "<b>2</b> <span>could not be measured; the reasons are below</span>" in html
    assert len(html) < 100_000  # no charts, so nothing to draw them with


def test_cells_of_one_restart_stand_beside_those_of_many(tmp_path: Path) -> None:
    lines = [one_restart("one"), one_restart("two"), line("three"), line("four")]
    html = page_of(folder_of(tmp_path / "results", *lines))
    checked(html)
    for name in ("one", "two", "three", "four"):
        assert f"</span> {name}</th>" in html
    assert "Of 4 latencies: 2 noisy, 2 not judged" in html


def test_accuracy_without_any_latency(tmp_path: Path) -> None:
    html = page_of(folder_of(tmp_path / "results", evaluations=[evaluated("a", 0.5, 0.25, 0.75)]))
    checked(html)
    assert "No model here has both an accuracy and a latency" in html
    assert "25.0 to 75.0" in html


def test_columns_that_say_nothing_are_left_out() -> None:
    html = page_of(PUBLISHED)
    heads = re.findall(r"<th scope=\"col\"[^>]*aria-sort[^>]*>.*?</th>", html)
    told = [re.sub(r"<[^>]+>", "", head) for head in heads]
    first = ["model", "family", "latency ms", "95% interval ms", "noise", "params M", "MACs G", "peak memory MiB"]
    first.insert(5, "examples/s")
    assert told == [*first, "image px", "tokens", "restarts"]


def test_peaks_add_their_columns_to_the_table_and_the_roofline() -> None:
    """2 x 25.9 GMACs in 594 ms, and 116 GFLOP/s at most: 75%."""
    html = page_of(PUBLISHED / "models")
    assert ("can lift it above 100%. A column" in html, "can lift it above 100%" in page_of(PUBLISHED)) == (True, False)
    assert re.findall(r"(?:MFU|bandwidth) <span class=\"unit\">%</span>", html) == [
        *('MFU <span class="unit">%</span>', 'bandwidth <span class="unit">%</span>')
    ]
    (chart,) = [chart for chart in content(html)["charts"] if chart["name"] == "roofline"]
    assert next(row["mfu"] for row in chart["data"]["points"] if row["label"] == "vilt-b32") == "75%"


def test_two_folders_are_compared_where_they_share_a_cell(tmp_path: Path) -> None:
    """Twice as slow, on the same machine: the rule of `vlbench compare` says so."""
    before = write_results(tmp_path / "before", [line("both", 1.0), line("gone", 1.0)])
    after = write_results(tmp_path / "after", [line("both", 2.0), line("new", 1.0)])
    html = page_of(before, after)
    checked(html)
    (rows,) = [chart["data"]["beside"] for chart in content(html)["charts"] if chart["name"] == "beside"]
    assert [(row["label"], row["head"], row["verdict"]) for row in rows] == [("both", "after", "slower")]
    assert rows[0]["ratio"] == pytest.approx(2, rel=0.1)
    apart = page_of(write_results(tmp_path / "other", [line("another")]), before)
    assert "Side by side" not in apart


def test_precisions_of_one_folder_are_compared(tmp_path: Path) -> None:
    lines = [line("a", 2.0, precision="fp32"), line("a", 1.0, precision="bf16", cell_hash="other")]
    html = page_of(write_results(tmp_path / "results", lines))
    (rows,) = [chart["data"]["beside"] for chart in content(html)["charts"] if chart["name"] == "beside"]
    assert [(row["head"], row["ratio"]) for row in rows] == [("bf16", pytest.approx(0.5, rel=0.1))]


def test_the_same_family_has_the_same_colour_in_the_page_and_in_figures() -> None:
    html = page_of(PUBLISHED)
    for family, (colour, _) in FAMILIES.items():
        assert f"--{family}: {colour}" in html


def test_bars_sum_to_the_pass_of_the_file() -> None:
    (chart,) = [chart for chart in content(page_of(PUBLISHED))["charts"] if chart["name"] == "stages"]
    for number, one in enumerate(published()):
        segments = [row for row in chart["data"]["stages"] if row["cell"] == number]
        total = one["latency_ms_by_stage"]["total"]["median"]
        assert segments[-1]["end_ms"] == pytest.approx(total)
        assert sum(row["end_ms"] - row["start_ms"] for row in segments) == pytest.approx(total)
        assert segments[-1]["end"] == pytest.approx(100)


def test_the_same_results_give_the_same_page() -> None:
    assert page_of(PUBLISHED) == page_of(PUBLISHED)
