"""docs/ci.md, README.md and action.yml, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
import yaml

from vlbench.cli import app

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "ci.md").read_text()
README = (ROOT / "README.md").read_text()
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
OPERATORS = {"|", "||", "&&", ";", "(", ")"}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def workflows() -> list[dict]:
    return [content for content in map(yaml.safe_load, blocks(GUIDE, "yaml")) if "jobs" in content]


def scripts() -> Iterator[str]:
    """All that a shell would run: in fenced and indented blocks, and in the steps of workflows."""
    for text in (GUIDE, README):
        yield from blocks(text, "sh")
    yield "".join(re.findall(r"^    (vlbench .*\n)", GUIDE, re.MULTILINE))
    for workflow in workflows():
        for job in workflow["jobs"].values():
            yield from (step["run"] for step in job["steps"] if "run" in step)


def commands(script: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of a program."""
    for line in script.replace("\\\n", " ").splitlines():
        parser = shlex.shlex(line, posix=True, punctuation_chars=True)
        parser.whitespace_split = True
        tokens = list(parser)
        for start, token in enumerate(tokens):
            if token == program and (start == 0 or tokens[start - 1] in OPERATORS | {"then"}):
                rest = tokens[start + 1 :]
                yield rest[: next((place for place, one in enumerate(rest) if one in OPERATORS), len(rest))]


def parse(arguments: list[str]) -> Mapping[str, Any]:
    """What vlbench makes of a command line, without doing it. Raises its usage error."""
    group: Any = typer.main.get_command(app)
    name, *rest = arguments
    return group.commands[name].make_context(name, rest).params
