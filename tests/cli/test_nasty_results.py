"""Results that hold nasty texts, in every command that shows results."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.command_line import vlbench
from tests.nasty import NASTY
from tests.report.written import evaluated, failed, folder_of, line, summary
from tests.tables.test_escapes import BY_GITHUB, unsafe

TEXTS = [text for name, text in NASTY.items() if name != "surrogate"]  # no file of results holds one
MACHINE = dict(zip(("cpu", "os", "python", "torch", "gpu"), (" ".join(TEXTS), *TEXTS[-4:]), strict=True))
EVERY = ("show {0}", "compare {0} {0} --force", "choose {0} --latency-ms 99999", "history {0}")
EXPORTS = ("show {0}", "export {0}", "export {0} --table stages", "export {0} --table accuracy")
COMMANDS = {"table": EVERY, "markdown": EVERY + EXPORTS, "latex": EXPORTS, "csv": EXPORTS, "json": EVERY}
COMMANDS |= {"junit": ("compare {0} {0} --force",)}


def nasty_line(text: str) -> dict[str, Any]:
    """Whose every text is this one."""
    made = line(text, weights=text, text=text, backend=text, vlbench_version=text, error=text)
    for name, value in (("latency_ms", summary(2.0, 2.0, 2.0)), ("params", 3), ("macs", 4)):
        made[f"{name}_by_stage"] = made[f"{name}_by_stage"] | {text: value}
    return made | {"noise": {"verdict": "noisy", "reasons": [text]}, "detector_load": {text: 1}}


def nasty_evaluation(text: str) -> dict[str, Any]:
    made = evaluated(text, 0.5)
    made["accuracy"] |= dict.fromkeys(("task", "split", "metric"), text)
    return made | {"backend": text, "weights": text, "missing_keys": [text]}


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results that consist of nasty texts."""
    lines = [*map(nasty_line, TEXTS), *(failed(f"{text} failed", error=text) for text in TEXTS)]
    evaluations = [nasty_evaluation(NASTY[name]) for name in ("path", "html", "escape", "formula")]  # a figure for each
    for made in (*lines, *evaluations):
        made["machine"] = made["machine"] | MACHINE
    return folder_of(tmp_path_factory.mktemp("results"), *lines, evaluations=evaluations)


def check_markdown(output: str) -> None:
    body = output.removeprefix("<!-- vlbench compare -->")
    assert "<!--" not in body
    assert set(re.findall(r"<(\w+)", body)) <= {"details", "summary", "span"}
    text = re.sub(r"&#(\d+);", lambda entity: chr(int(entity[1])), body)  # as GitHub reads it before it looks for links
    for name in ("a person or team", "an issue", "a link", "an emoji"):
        assert not BY_GITHUB[name].search(text), name


def check_csv(output: str) -> None:
    for cell in (cell for row in csv.reader(io.StringIO(output, newline="")) for cell in row):
        if re.match(r"[=+\-@\t\r]", cell):
            float(cell)


def check_table(output: str) -> None:
    assert not any(row.lstrip().startswith("::") for row in output.splitlines())
    assert "##[" not in output


CHECKS: dict[str, Any] = {"markdown": check_markdown, "csv": check_csv, "table": check_table, "json": json.loads}
CHECKS |= {"junit": lambda output: ElementTree.fromstring(output.encode()), "latex": len}


@pytest.mark.parametrize(("form", "command"), [(form, command) for form in COMMANDS for command in COMMANDS[form]])
def test_no_output_acts_on_its_reader(nasty: Path, form: str, command: str) -> None:
    process = vlbench(*command.format(nasty).split(), "--format", form)
    assert process.returncode in (0, 1, 3), process.stderr
    assert not unsafe(process.stdout + process.stderr)
    CHECKS[form](process.stdout)


@pytest.mark.slow
def test_the_page_holds_no_markup_of_a_text(nasty: Path, tmp_path: Path) -> None:
    process = vlbench("report", nasty, "-o", tmp_path / "page.html")
    assert process.returncode == 0, process.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    body = re.sub(r"<script\b[^>]*>.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL)
    assert not unsafe(body)
    for markup in ("<img", "<b>c", "<script", "<![CDATA["):
        assert markup not in body


@pytest.mark.slow
def test_figures_hold_no_control_character_and_stay_in_their_folder(nasty: Path, tmp_path: Path) -> None:
    process = vlbench("show", nasty, "--figures", tmp_path / "figures")
    assert process.returncode == 0, process.stderr
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".png", ".svg"}
    assert list(tmp_path.iterdir()) == [tmp_path / "figures"]
    for svg in (tmp_path / "figures").glob("*.svg"):
        assert not unsafe("".join(ElementTree.parse(svg).getroot().itertext()))
    process = vlbench("figure", "stages", nasty, "-o", tmp_path / "stages.svg")
    assert process.returncode == 0, process.stderr
    assert not unsafe("".join(ElementTree.parse(tmp_path / "stages.svg").getroot().itertext()))


def test_a_folder_whose_name_is_not_utf_8_is_read(tmp_path: Path) -> None:
    plain = folder_of(tmp_path / "plain", line("a"), line("b"))
    odd = tmp_path / os.fsdecode(b"odd\xff")
    shutil.copytree(plain, odd)
    for command in (
        *(["show", odd, "--format", form] for form in ("table", "json", "csv", "markdown", "latex")),
        *(["compare", odd, plain, "--format", form] for form in ("table", "json", "markdown", "junit")),
        *(["export", odd, plain, "--format", form] for form in ("markdown", "latex", "csv")),
        ["choose", odd, plain, "--latency-ms", "99"],
        ["report", odd, plain, "-o", tmp_path / "page.html"],
        ["figure", "stages", odd, plain, "-o", tmp_path / "figure.svg"],
        ["export", odd, plain, "-o", tmp_path / "samples.parquet"],
    ):
        process = vlbench(*command)
        assert process.returncode in (0, 1, 3), (command, process.stderr)
        (process.stdout + process.stderr).encode("utf-8")
