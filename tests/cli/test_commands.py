"""The commands by name, and `vlbench --help`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from vlbench.cli.commands import COMMANDS, SHAPES
from vlbench.cli.main import app


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    shown = CliRunner().invoke(app, [*name.split(), "--help"])
    assert shown.exit_code == 0
    assert f" {name} [OPTIONS]" in shown.stdout


def test_help_has_every_command_on_one_line_of_80_columns() -> None:
    lines = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split("  ")[1] for line in lines] == list(COMMANDS)
    assert all(line.endswith(summary) for line, (_, summary) in zip(lines, COMMANDS.values(), strict=True))


def test_a_misspelt_command_is_refused_with_the_nearest() -> None:
    refused = CliRunner().invoke(app, ["lsit"])
    assert refused.exit_code == 2
    assert "Did you mean 'list'?" in refused.stderr


@pytest.mark.parametrize(
    ("words", "hint"), [("export", f"vlbench {SHAPES}"), (SHAPES, "a results folder of this name is ./shapes")]
)
def test_the_two_exports_point_at_each_other(words: str, hint: str) -> None:
    refused = CliRunner().invoke(app, [*words.split(), "--nothing"])
    assert refused.exit_code == 2
    assert hint in " ".join(refused.stderr.split())
