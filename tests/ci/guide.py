"""docs/ci.md and action.yml, and what vlbench makes of a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import typer
import yaml

from tests.paths import ROOT
from vlbench.cli.main import app

GUIDE = (ROOT / "docs" / "ci.md").read_text()
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def workflows() -> list[dict]:
    return [content for content in map(yaml.safe_load, blocks(GUIDE, "yaml")) if "jobs" in content]


def parse(arguments: list[str]) -> Mapping[str, Any]:
    """What vlbench makes of a command line, without doing it. Raises its usage error."""
    group: Any = typer.main.get_command(app)
    name, command, rest = group.resolve_command(
        group.make_context("vlbench", ["--help"], resilient_parsing=True), arguments
    )
    return command.make_context(name, rest).params
