"""`vlbench compare` as it is called: exit codes, formats, files, one line for bad input, and how soon it answers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from tests.cli.start_up import HEAVY, imported_by, start_up_ratio
from tests.command_line import vlbench
from tests.conftest import skip_where_busy
from tests.helpers import write_results
from tests.regression.compare.conftest import made_up, slowed, speeds
from vlbench.regression.compare.outcomes import Comparison
from vlbench.runner.records import Restart, Result, WarmUp

Folders = Callable[[Sequence[Result], Sequence[Result]], tuple[Path, Path]]


def compare(*arguments: object) -> subprocess.CompletedProcess:
    return vlbench("compare", *arguments)


def refused(*arguments: object) -> str:
    process = compare(*arguments)
    assert process.returncode == 2, process.stderr
    assert process.stdout == ""
    assert process.stderr.count("\n") == 1, process.stderr
    return process.stderr


UNCHANGED = [made_up("one"), made_up("two")]


@pytest.mark.parametrize(
    ("head", "code", "said"),
    [
        (
            [made_up("one", drawn=speeds(8)), made_up("two", drawn=speeds(9))],
            0,
            "No regression: 2 measurements, 2 same",
        ),
        ([made_up("one", total_ms=80), made_up("two")], 0, "No regression: 2 measurements, 1 faster, 1 same"),
        ([slowed("one", "text", 0.1), made_up("two")], 1, "Regression in 1 of 2 measurements: one +"),
        (
            [made_up("one", operators=413), made_up("two")],
            1,
            "Regression in 1 of 2 measurements: one operators 412 to 413, +0.24%",
        ),
        (
            [made_up("one", drawn=[1.0]), made_up("two")],
            3,
            "Cannot tell: 2 measurements, 1 same, 1 unknown; no regression",
        ),
        ([made_up("one")], 3, "Cannot tell: 1 measurement, 1 same, 1 more on one side only"),
    ],
)
def test_the_exit_code_is_the_verdict(folders: Folders, head: list[Result], code: int, said: str) -> None:
    process = compare(*folders(UNCHANGED, head))
    assert (process.returncode, process.stderr) == (code, "")
    assert process.stdout.startswith(said)
    assert "\x1b" not in process.stdout


def test_every_format_says_the_same(folders: Folders, tmp_path: Path) -> None:
    both = folders(UNCHANGED, [slowed("one", "interaction", 0.1), made_up("two", drawn=[1.0])])
    outputs = {}
    for form in ("table", "markdown", "json", "junit"):
        process = compare(*both, "--format", form)
        assert (process.returncode, process.stderr) == (1, "")
        written = compare(*both, "--format", form, "--output", tmp_path / form)
        assert (written.returncode, written.stdout) == (1, "")
        assert (tmp_path / form).read_text() == process.stdout
        outputs[form] = process.stdout
    comparison = Comparison.model_validate_json(outputs["json"])
    assert [cell.verdict for cell in comparison.cells] == ["slower", "unknown"]
    assert (comparison.base, comparison.exit_code) == (str(both[0]), 1)
    suite = ElementTree.fromstring(outputs["junit"].encode())[0]
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    assert all("interaction, all of the change" in text for text in outputs.values())
    assert outputs["markdown"].startswith("<!-- vlbench compare -->")


def test_a_picture_beside_the_comment(folders: Folders, tmp_path: Path) -> None:
    picture = tmp_path / "changes.svg"
    process = compare(*folders(UNCHANGED, UNCHANGED), "--format", "markdown", "--picture", picture)
    assert process.returncode == 0, process.stderr
    assert f"]({picture})" in process.stdout
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_files_beside_what_is_printed(folders: Folders, tmp_path: Path) -> None:
    both = folders(UNCHANGED, UNCHANGED)
    files = {form: tmp_path / f"{form}.out" for form in ("markdown", "junit")}
    process = compare(
        *both, "--markdown", files["markdown"], "--junit", files["junit"], "--picture", tmp_path / "a.png"
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == compare(*both).stdout
    assert files["markdown"].read_text().startswith("<!-- vlbench compare -->")
    assert f"]({tmp_path / 'a.png'})" in files["markdown"].read_text()
    assert files["junit"].read_text() == compare(*both, "--format", "junit").stdout


def test_no_colours_in_a_file(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    compare(*folders(UNCHANGED, UNCHANGED), "--output", tmp_path / "table")
    assert "\x1b" not in (tmp_path / "table").read_text()


def test_thresholds(folders: Folders, tmp_path: Path) -> None:
    both = folders(UNCHANGED, [made_up("one", total_ms=110), made_up("two", total_ms=104)])
    path = tmp_path / "thresholds.yaml"
    path.write_text("default: 10%\nmodels:\n  o*: 30%\n")
    verdicts = {
        name: [cell["verdict"] for cell in json.loads(compare(*both, "--format", "json", *options).stdout)["cells"]]
        for name, options in {
            "5%": (),
            "20%": ("--threshold", "20%"),
            "file": ("--thresholds", path),
            "both": ("--thresholds", path, "--threshold", "0.05"),
        }.items()
    }
    assert verdicts == {
        "5%": ["slower", "slower"],
        "20%": ["same", "same"],
        "file": ["same", "same"],
        "both": ["same", "slower"],
    }


def test_bad_input_is_one_line(folders: Folders, tmp_path: Path) -> None:
    base, head = folders(UNCHANGED, [made_up("other")])
    (tmp_path / "wrong.yaml").write_text("models: {tow: 10%}\n")
    assert "no measurement is in both" in refused(base, head)
    assert "no cells.jsonl here" in refused(base, tmp_path / "nowhere")
    assert "holds no results yet" in refused(base, write_results(tmp_path / "empty", []))
    assert "5% or 0.05 works" in refused(base, base, "--threshold", "5")
    assert "'tow' matches no model; did you mean two?" in refused(base, base, "--thresholds", tmp_path / "wrong.yaml")
    assert "no such file" in refused(base, base, "--thresholds", tmp_path / "nowhere.yaml")
    assert "a.png works" in refused(base, base, "--picture", "a.gif")
    assert "no folder" in refused(base, base, "--picture", tmp_path / "nowhere" / "a.png")
    assert "'markdown'" in refused(base, base, "--format", "html")
    for option in ("--output", "--markdown", "--junit"):
        said = refused(base, base, option, tmp_path / "nowhere" / "out.md")
        assert f"{option} {tmp_path / 'nowhere' / 'out.md'}: no folder {tmp_path / 'nowhere'}; make it first" in said
    assert "BASE" in refused()


def test_other_settings_need_force_and_are_told(folders: Folders) -> None:
    both = folders(UNCHANGED, [made_up("one", batch=4, total_ms=300), made_up("two")])
    assert "one was measured with other settings: batch 1 in " in refused(*both)
    forced = compare(*both, "--force")
    assert forced.returncode == 1
    assert "Compared under --force: one was measured with other settings: batch 1 in " in forced.stdout


def test_a_folder_and_itself(folders: Folders) -> None:
    base, _ = folders(UNCHANGED, UNCHANGED)
    assert compare(base, base).returncode == 0


def suite_of_20(folder: Path, seed: int) -> Path:
    """As large as a run writes: 20 cells of 15 restarts with 30 raw samples each, end to end and by stage."""
    restarts = tuple(
        Restart(
            latency_ms=tuple(speeds(number, 30)),
            latency_ms_by_stage={
                name: tuple(speeds(number, 10)) for name in ("total", "text", "visual", "interaction")
            },
            warm_up=WarmUp(n=9, steady=True),
            measured_at="2026-01-31T00:00:00+00:00",
        )
        for number in range(15)
    )
    cells = [made_up(f"model-{number}", drawn=speeds(seed + number), restarts=restarts) for number in range(20)]
    return write_results(folder, cells)


def seconds_of(command: list[str]) -> float:
    """Of a command that ends well."""
    start = time.monotonic()
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    return time.monotonic() - start


@pytest.mark.slow
@pytest.mark.serial
def test_it_answers_in_half_a_second(tmp_path: Path) -> None:
    """The best of several; on a slow machine 3.5 times what importing the libraries takes, of which it needs 2.4."""
    both = suite_of_20(tmp_path / "base", 0), suite_of_20(tmp_path / "head", 100)
    called = [sys.executable, "-m", "vlbench", "compare", *map(str, both)]
    libraries = [sys.executable, "-c", "import pydantic.main, rich.console, typer.main, typer._adapters, yaml"]
    pairs = [(seconds_of(called), seconds_of(libraries)) for _ in range(7)]
    least, yardstick = map(min, zip(*pairs, strict=True))
    bar = max(0.5, 3.5 * yardstick)
    if least >= bar:
        skip_where_busy()
    assert least < bar


@pytest.mark.serial
def test_start_up_beside_the_libraries_alone(folders: Folders) -> None:
    assert start_up_ratio("compare", *map(str, folders(UNCHANGED, UNCHANGED)), bar=2.5) <= 2.5


@pytest.mark.parametrize("form", ["table", "markdown", "json", "junit"])
def test_nothing_heavy_is_imported(folders: Folders, form: str) -> None:
    assert not imported_by("compare", *map(str, folders(UNCHANGED, UNCHANGED)), "--format", form) & {*HEAVY, "yaml"}


def test_output_is_what_a_wide_terminal_shows(folders: Folders, tmp_path: Path) -> None:
    names = ["a-model-with-a-name-that-is-very-long-indeed-" * 3, "short"]
    base = [made_up(name) for name in names]
    process = compare(*folders(base, base))
    assert max(map(len, process.stdout.splitlines())) > Console().width
    assert any(line.startswith(names[0]) and " same" in line for line in process.stdout.splitlines())
