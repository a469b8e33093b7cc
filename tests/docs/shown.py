"""The shell commands that the project's pages show, wherever they stand: in fenced `sh` blocks, in indented code, in
code within a sentence or a table, in the steps of workflows, and in the action."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/**/README.md")])
PAGES.remove(ROOT / "CHANGELOG.md")  # tells what was, and shows nothing to type

PROGRAM = re.compile(
    r"(\.venv/bin/)?(vlbench|torchrun|accelerate|pytest|ruff|mypy|pip|bash|python3?( -m [\w.]+)?)(?=\s|$)"
)
WORD = re.compile(r"""(?:[^\s'"|&;()]|'[^']*'|"[^"]*")+|\|\|?|&&?|;|[()]""")
OPERATORS = {"|", "||", "&&", "&", ";", "(", ")"}
SHELL = {"if", "then", "fi", "do", "done", "for", "while", "else"}  # a command follows
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
PREFIX = "python -m benchmarks.harness."  # heads a column of scripts in a table


@dataclass(frozen=True, slots=True, order=True)
class Shown:
    """A command as a page has it, its words joined by single spaces, without a comment.

    A mention is a command of vlbench by its name alone, in a sentence.
    """

    text: str
    page: str
    mention: bool = False


def all_shown() -> list[Shown]:
    found = {one for page in PAGES for one in of_page(page)} | set(of_action())
    return sorted(found)


def of_page(path: Path) -> Iterator[Shown]:
    page = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language in ("sh", "bash"):
            yield from (Shown(one, page) for one in commands(block))
        if language == "yaml":
            yield from (Shown(one, page) for step in _steps(block) for one in commands(step))
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for line in re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE):
        if PROGRAM.match(line):
            yield from (Shown(one, page) for one in commands(line))
    text = re.sub(r"^ {4}\S.*$", "", text, flags=re.MULTILINE)
    yield from _of_tables(text, page)
    for code in re.findall(r"`([^`]+)`", text):
        for one in commands(" ".join(code.split())) if PROGRAM.match(code) and " " in code else ():
            if PROGRAM.match(one) and not one.endswith("benchmarks.harness."):
                yield Shown(one, page, mention=len(one.split()) == 2 and one.startswith("vlbench ") and "-" not in one)


def _of_tables(text: str, page: str) -> Iterator[Shown]:
    """Code in the last column of a table whose head says what it is called by."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, *rows = table.splitlines()
        if PREFIX in head:
            for code in (code for row in rows for code in re.findall(r"`([^`]+)`", row.rstrip("| ").split("|")[-1])):
                yield from (Shown(one, page) for one in commands(PREFIX + code))


def _steps(block: str) -> Iterator[str]:
    content = yaml.safe_load(block)
    for job in content.get("jobs", {}).values() if isinstance(content, dict) else ():
        yield from (step["run"] for step in job["steps"] if "run" in step)


def of_action() -> Iterator[Shown]:
    """Its other programs are run by tests/ci."""
    action: Any = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    for step in action["runs"]["steps"]:
        yield from (Shown(one, "action.yml") for one in commands(step.get("run", "")) if one.startswith("vlbench "))


def commands(script: str) -> Iterator[str]:
    """The simple commands of a script. What only the shell does is left out: assignments, tests, flow."""
    for line in script.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*_words(line), ";"]:
            if word not in OPERATORS:
                words.append(word)
                continue
            while words and (words[0] in SHELL or ASSIGNMENT.match(words[0])):
                del words[0]
            if words and words[0] not in ("[", "exit"):
                yield " ".join(words).removeprefix(".venv/bin/")
            words = []


def _words(line: str) -> list[str]:
    """Quotes stay; a comment ends the line."""
    words = WORD.findall(line)
    return words[: next((place for place, word in enumerate(words) if word.startswith("#")), len(words))]
