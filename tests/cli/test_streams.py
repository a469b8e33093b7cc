"""The command line in poor surroundings: closed or full streams, small alphabets, text that is not UTF-8."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from tests.command_line import vlbench
from tests.helpers import others_slow, write_tiny
from tests.nasty import NASTY
from tests.report.written import failed, folder_of, line
from vlbench.system.console import LONGEST, error_line

VLBENCH = f"{shlex.quote(sys.executable)} -m vlbench"
ROOT = Path(__file__).parents[2]


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Of bash, in which `vlbench` is this one."""
    process = subprocess.run(
        ["bash", "-c", f'vlbench() {{ {VLBENCH} "$@"; }}\n{script}'],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
    )
    assert "Traceback" not in process.stderr
    assert "Exception ignored" not in process.stderr
    return process


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("results"), line("a"), failed("b", error="±5% \u00d7 中"))


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("vlbench show . >&-", 0),
        ("vlbench show . --format json >&-", 0),
        ("vlbench list <&- >&- 2>&-", 0),
        ("vlbench show nowhere 2>&-", 2),
        ("vlbench show nowhere 2> /dev/full", 2),
        ("vlbench run --frobnicate >&- 2>&-", 2),
        ("vlbench show . | head -n 0", 0),
    ],
)
def test_closed_streams_change_no_exit_code(results: Path, script: str, code: int) -> None:
    process = shell(script, results)
    assert (process.returncode, process.stderr) == (code, "")


@pytest.mark.parametrize("arguments", ["--version", "--help", "list", "show .", "show . --format json", "run --help"])
def test_a_full_disk_behind_standard_output_is_one_line(results: Path, arguments: str) -> None:
    process = shell(f"vlbench {arguments} > /dev/full", results)
    assert process.returncode == 2
    assert process.stderr == "vlbench: output: No space left on device; what was measured before is kept\n"


@pytest.mark.parametrize(
    "arguments", ["show nowhere", "export {} -o table.csv", "run --models vit-b32 --device cpu --threads 1"]
)
def test_a_removed_working_directory_is_named(results: Path, tmp_path: Path, arguments: str) -> None:
    (tmp_path / "gone").mkdir()
    process = shell(f"rmdir ../gone && vlbench {arguments.format(results)}", tmp_path / "gone")
    assert process.stderr == "vlbench: the working directory was removed; change to another folder\n"
    assert process.returncode == 2
    (tmp_path / "gone").mkdir()
    assert shell(f"rmdir ../gone && vlbench show {results}", tmp_path / "gone").returncode == 0


def test_a_file_that_cannot_be_written_costs_no_table(results: Path) -> None:
    process = shell("vlbench compare . . --markdown /dev/full | cat; exit ${PIPESTATUS[0]}", results)
    assert process.returncode == 2
    assert process.stdout.count("\n") > 3
    assert "No space left on device" in process.stderr


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "<&-", "> /dev/full 2> /dev/full"])
def test_closed_streams_cost_no_measurement(tmp_path: Path, streams: str) -> None:
    """The pipes of the measuring process take no number of theirs."""
    model = write_tiny(tmp_path, "vit-b32")
    options = "--device cpu --threads 1 --budget 0.2 --restarts 1 --out out"
    process = shell(f"vlbench run --models {model} {options} {streams}", tmp_path)
    assert process.returncode == (2 if "full" in streams else 0)
    assert len((tmp_path / "out" / "cells.jsonl").read_bytes().splitlines()) == 1


@pytest.mark.slow
def test_a_terminal_of_ascii_gets_what_was_measured(tmp_path: Path) -> None:
    model = write_tiny(tmp_path, "vit-b32")
    options = "--device cpu --threads 1 --budget 0.2 --restarts 2 --out ü"
    process = shell(f"vlbench run --models {model} {options}", tmp_path, PYTHONIOENCODING="ascii")
    assert process.returncode == 0
    assert process.stdout.isascii()
    assert process.stderr.endswith("results: \\xfc\n")


@pytest.mark.parametrize(
    "environment",
    others_slow(
        [
            {"PYTHONIOENCODING": "ascii"},
            {"PYTHONIOENCODING": "ascii:strict"},
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        ]
    ),
)
def test_a_terminal_of_ascii_gets_the_table(results: Path, environment: dict[str, str]) -> None:
    process = shell("vlbench show . && vlbench show ü", results, **environment)
    assert r"b: failed: +-5% x \u4e2d" in process.stdout
    assert process.stdout.isascii()
    assert process.stderr.isascii()
    assert process.stderr.startswith("vlbench: ")
    assert process.returncode == 2


def test_a_terminal_of_latin_1_gets_what_it_has(results: Path) -> None:
    process = shell("vlbench show .", results, PYTHONIOENCODING="latin-1")
    assert "b: failed: ±5% \u00d7 \\u4e2d" in os.fsencode(process.stdout).decode("latin-1")


@pytest.mark.parametrize("columns", others_slow(["1", "x", "0", "-3", ""]))
def test_a_width_that_is_none_changes_nothing(results: Path, columns: str) -> None:
    assert shell("vlbench show . && vlbench show --help", results, COLUMNS=columns).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        *(f"run --models vilt {option} $'\\xff'" for option in ("--text", "--models", "--weights", "--within")),
        "explain --model vilt --image x.png --text $'a \\xff'",
        "figure $'\\xff' . -o x.png",
        "reproduce $'\\xff'",
        "ab --models vit-b32 --base $'\\xff'",
    ],
)
def test_text_that_is_not_utf_8_is_one_line(results: Path, arguments: str) -> None:
    process = shell(f"vlbench {arguments}", results)
    assert process.returncode == 2
    (error,) = process.stderr.splitlines()
    assert "not text in UTF-8" in error
    assert r"\xff" in error


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("run", "vlbench run"),
        ("run --models vilt --batch x", "vlbench run"),
        ("export shapes --frobnicate", "vlbench export shapes"),
        ("list x", "vlbench list"),
        ("list models x", "vlbench list models"),
        ("frobnicate", "vlbench"),
    ],
)
def test_a_usage_error_names_the_command_whose_help_helps(tmp_path: Path, arguments: str, command: str) -> None:
    process = shell(f"vlbench {arguments}", tmp_path)
    assert process.returncode == 2
    assert process.stderr.endswith(f" ({command} --help shows what works)\n")


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_no_error_moves_the_cursor(text: str) -> None:
    for arguments in (["run", "--models", text], ["show", f"nowhere/{text}"], ["run", "--batch", text], [text]):
        error = vlbench(*arguments).stderr
        assert error.startswith("vlbench: ")
        assert len(error) <= LONGEST + 1
        assert not {unicodedata.category(sign) for sign in error[:-1]} & {"Cc", "Cs", "Zl", "Zp"}


def test_a_long_error_keeps_where_it_is_and_what_works() -> None:
    error = error_line(f"--models {'x' * 100_000}: no such model; vlbench list shows all")
    assert len(error) == LONGEST
    assert error.startswith("--models xxx")
    assert error.endswith("xxx: no such model; vlbench list shows all")
    assert error_line("y" * LONGEST) == "y" * LONGEST
    assert error_line(" two\n lines ") == "two lines"


def test_messages_are_printed_in_one_place() -> None:
    """Which escapes them."""
    modules = (ROOT / "vlbench").rglob("*.py")
    printing = {path.name for path in modules if "file=sys.stderr" in path.read_text(encoding="utf-8")}
    assert printing == {"console.py", "live_options.py"}
