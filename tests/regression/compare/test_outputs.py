"""Every format holds every verdict, reads back, and keeps to its own signs."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from rich.console import Console

from tests.regression.compare.conftest import made_up, slowed, speeds
from vlbench.errors import InputError
from vlbench.measuring.noise import Noise
from vlbench.regression.compare.comparison import compare
from vlbench.regression.compare.junit import junit
from vlbench.regression.compare.outcomes import Comparison
from vlbench.regression.compare.picture import LOOKS, check_picture, draw
from vlbench.regression.compare.tables import (
    MARK,
    comparison_markdown,
    comparison_tables,
    gate_lines,
    headline,
    reason_lines,
)
from vlbench.regression.compare.verdicts import change
from vlbench.runner.records import Result
from vlbench.tables.terminal import to_terminal

NASTY = "no | memory for <b>`51`</b> TB\n\x1b[31m\x00 * and_so_on $x_$"


def every_verdict() -> Comparison:
    """Slower, faster, same, unknown for want of restarts, contended, failed, with more memory, and on one side only."""
    names = ("slow", "fast", "steady", "short", "busy", "broken", "large", "left", "right")
    base = {name: made_up(name, drawn=speeds(number)) for number, name in enumerate(names) if name != "right"}
    head: dict[str, Result] = {name: made_up(name, drawn=speeds(90 + number)) for number, name in enumerate(names)}
    head["slow"] = slowed("slow", "interaction", 0.12, drawn=speeds(40))
    base["fast"] = slowed("fast", "interaction", 0.12, drawn=speeds(41))
    head["short"] = made_up("short", drawn=speeds(42, 2))
    head["busy"] = made_up("busy", noise=Noise(verdict="contended", reasons=("0.9 cores were busy.",)))
    head["broken"] = made_up(
        "broken", status="failed", error=NASTY, latency_ms=None, latency_ms_by_stage=None, macs=None
    )
    head["large"] = made_up("large", peak_memory_bytes=600 * 2**20, operators=400)
    del head["left"]
    return compare(list(base.values()), list(head.values()), names=("runs/base", "runs/head"))


VERDICTS = {"slow": "slower", "fast": "faster", "steady": "same", "short": "unknown", "busy": "unknown"}
VERDICTS |= {"broken": "unknown", "large": "same"}


def printed(comparison: Comparison, width: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width or 2_000)
    console.print(to_terminal(comparison_tables(comparison), width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_headline_says_which_and_how() -> None:
    comparison = every_verdict()
    effect = comparison.cells[0].effect
    assert effect
    assert headline(comparison) == (
        f"Regression in 3 of 7 measurements: slow {change(effect.ratio)} (interaction, all of the change); broken was "
        "ok, now failed: no | memory for <b>`51`</b> TB *...; large peak memory 524,288,000 to 629,145,600, +20%"
    )
    base = [made_up(name) for name in "abcd"]
    assert headline(compare(base, base)) == "No regression: 4 measurements, 4 same"
    assert (
        headline(compare(base, base[:2]))
        == "Cannot tell: 2 measurements, 2 same, 2 more on one side only; no regression was seen"
    )
    slower = [made_up(name, total_ms=150) for name in "abcd"]
    assert headline(compare(base, slower)).endswith("; c +50.0% (all stages alike); and 1 more")
    assert headline(compare(base[:1], slower[:1])).startswith("Regression in 1 of 1 measurement: a +50.0%")


def test_json_reads_back() -> None:
    comparison = every_verdict()
    assert Comparison.model_validate_json(comparison.to_json()) == comparison
    assert '"schema": 1' in comparison.to_json()


def test_the_table_has_every_cell_with_its_verdict_and_the_reasons() -> None:
    text = printed(every_verdict())
    lines = [line.split() for line in text.splitlines()]
    for cell, verdict in VERDICTS.items():
        assert any(line[:1] == [cell] and verdict in line for line in lines), cell
    for said in (
        "slow: slower: interaction, all of the change",
        "short: unknown: 15 restarts against 2: too few for an interval of 99%; measure with --restarts 12",
        "busy: unknown: HEAD measured on a contended machine (0.9 cores were busy); measure again on an idle one",
        "left: unknown: only in BASE",
        "right: unknown: only in HEAD",
        "large: peak memory 524,288,000 to 629,145,600, +20%: regression",
        "large: operators 412 to 400, -2.9%: changed",
        "broken: MACs not measured in HEAD: not compared",
        "BASE runs/base, HEAD runs/head",
        "Threshold 5%, called from 3% on; intervals of 99%, of stages 99.8%, over restarts",
    ):
        assert said in text, said


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_a_narrow_terminal_loses_no_verdict_and_no_reason(width: int) -> None:
    text = printed(every_verdict(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "..." not in text.partition("\n\n")[2]  # the headline's last reason alone is cut
    words = text.split()
    for cell, verdict in VERDICTS.items():
        assert cell in words
        assert verdict in words
    assert "slow: slower: interaction, all of the change" in " ".join(words)


def test_verdicts_are_words_where_there_is_no_colour() -> None:
    comparison, styled = every_verdict(), Console(file=io.StringIO(), width=200, force_terminal=True)
    styled.print(to_terminal(comparison_tables(comparison)))
    assert "\x1b[" in styled.file.getvalue()  # type: ignore[attr-defined]
    base = [made_up("one")]
    assert "\x1b" not in printed(compare(base, base))


def test_reasons_that_many_cells_share_are_said_once() -> None:
    names = [f"model-{number}" for number in range(6)]
    comparison = compare([made_up(name) for name in names], [made_up(name, drawn=[1.0]) for name in names])
    (line,) = reason_lines(comparison)
    assert line.startswith("model-0, model-1, model-2 and 3 more: unknown: 15 restarts against 1")
    assert gate_lines(comparison) == ["30 equal (status, params, MACs, operators; peak memory within 2%)"]


def test_markdown_is_a_comment_with_a_table_and_a_picture() -> None:
    text = comparison_markdown(every_verdict(), "out/a b.png")
    lines = text.splitlines()
    assert lines[0] == MARK
    assert lines[2].startswith("**vlbench: Regression in 3 of 7 measurements: ")
    header, _, *rows = [line for line in lines[4:] if line.startswith("|")][: 2 + len(VERDICTS)]
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "measurement",
        "base ms",
        "head ms",
        "change",
        "interval",
        "restarts",
        "verdict",
        "what moved",
    ]
    assert {row.split("|")[1].strip(): row.split("|")[7].strip().strip("*") for row in rows} == VERDICTS
    assert "![Latency of HEAD as a change from BASE](out/a%20b.png)" in lines
    assert text.count("<details>") == text.count("</details>") == 4
    assert "![" not in comparison_markdown(every_verdict())


def test_markdown_takes_no_sign_of_a_message_for_its_own() -> None:
    text = comparison_markdown(every_verdict())
    assert "no \\| memory for &lt;b>\\`51\\`&lt;/b>" in text
    assert "\\* and_so_on <span>\\$</span>x\\_<span>\\$</span>" in text
    table = [line for line in text.splitlines() if line.startswith("| broken")]
    assert all(line.replace("\\|", "").count("|") == 9 for line in table)


def test_junit_fails_what_regressed_and_skips_what_is_unknown() -> None:
    root = ElementTree.fromstring(junit(every_verdict()).encode())
    (suite,) = root
    cases = {(case.get("classname"), case.get("name")): case for case in suite.iter("testcase")}
    assert len(cases) == 7 * 6 + 2 == int(suite.get("tests", ""))
    failed = {key for key, case in cases.items() if case.find("failure") is not None}
    skipped = {key for key, case in cases.items() if case.find("skipped") is not None}
    assert failed == {
        ("vlbench.slow", "latency"),
        ("vlbench.broken", "status"),
        ("vlbench.large", "peak_memory_bytes"),
    }
    unknown = {f"vlbench.{name}" for name in ("short", "busy", "broken", "left", "right")}
    assert skipped == {*((name, "latency") for name in unknown), ("vlbench.broken", "macs")}
    assert (int(suite.get("failures", "")), int(suite.get("skipped", ""))) == (len(failed), len(skipped))
    assert "what moved: interaction" in cases["vlbench.slow", "latency"].find("failure").get("message")  # type: ignore[union-attr, operator]
    assert "99%" in cases["vlbench.short", "latency"].find("skipped").get("message")  # type: ignore[union-attr, operator]
    assert "\x1b" not in junit(every_verdict())


@pytest.mark.parametrize("cells", [1, 20])
@pytest.mark.parametrize("suffix", [".png", ".svg", ".PNG"])
def test_a_picture_of_few_and_of_many_cells(tmp_path: Path, cells: int, suffix: str) -> None:
    names = [f"{number}-a-model-whose-name-is-longer-than-any-in-the-catalogue" for number in range(cells)]
    base = [made_up(name) for name in names]
    head = [made_up(name, drawn=speeds(number, 3 + number)) for number, name in enumerate(names)]
    path = tmp_path / f"picture{suffix}"
    draw(compare(base, head), path)
    if suffix == ".svg":
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
        before = path.read_bytes()
        draw(compare(base, head), path)
        assert path.read_bytes() == before
    else:
        with Image.open(path) as image:
            assert image.height > 100 + 45 * cells


def test_a_picture_of_every_verdict_has_them_in_its_legend(tmp_path: Path) -> None:
    path = tmp_path / "picture.svg"
    draw(every_verdict(), path)
    text = path.read_text()
    for verdict in LOOKS:
        assert f"<!-- {verdict} -->" in text
    assert "<!-- broken -->" in text
    assert len({look["marker"] for look in LOOKS.values()}) == len({look["color"] for look in LOOKS.values()}) == 4


@pytest.mark.parametrize(
    ("name", "said"), [("a.jpg", "a.png works"), ("a", "a.png works"), ("none/a.png", "no folder")]
)
def test_a_picture_that_cannot_be_is_refused_at_once(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_picture(tmp_path / name)
