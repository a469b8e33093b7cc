"""Every command that a page shows runs: through vlbench's own command line, at small settings that `treatments.yaml`
declares one by one. A command that is not declared fails, and so does a declaration that no page shows."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from string import Template
from subprocess import CompletedProcess
from typing import Any

import pytest
import typer
import yaml

from tests.ci.guide import parse
from tests.docs import places, workshop
from tests.docs.places import PLACES
from tests.docs.shown import ROOT, Shown, all_shown, commands
from tests.docs.treatments import Treatment, by_command, treatments
from tests.docs.workshop import Workshop
from vlbench.cli.ab import parse_options
from vlbench.cli.main import app
from vlbench.suites.reader import resolve_named

SHOWN = all_shown()
TYPED = sorted({one.text for one in SHOWN if not one.mention})
HARNESS = "python -m benchmarks.harness."


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return workshop.set_up(tmp_path_factory.mktemp("workshop"))


def pages_of(command: str) -> str:
    return ", ".join(sorted({one.page for one in SHOWN if one.text == command}))


def tiers() -> Iterator[Any]:
    """Of each kind, `vlbench run` or `git`, the first command that is declared to run; the others are slow."""
    kinds = set()
    slow = set()
    for one in treatments().commands:
        kind = tuple(one.command.split()[: 2 if one.command.startswith("vlbench") else 1])
        if not (one.elsewhere or one.only_parsed):
            slow |= {one.command} if kind in kinds else set()
            kinds.add(kind)
    for command in TYPED:
        yield pytest.param(command, marks=pytest.mark.slow if command in slow else (), id=command[:80])


@pytest.mark.parametrize("command", list(tiers()))
def test_a_documented_command_runs(command: str, shop: Workshop) -> None:
    assert command in by_command(), f"{pages_of(command)}: {command}: declare it in tests/docs/treatments.yaml"
    treatment = by_command()[command]
    if treatment.elsewhere:
        return
    arguments = arguments_of(treatment)
    if arguments[0] == "vlbench" and "--help" not in arguments:
        assert parse(arguments[1:]) is not None
    if treatment.only_parsed:
        parse_only(arguments)
        return
    shop.empty()
    (shop.folder / "home").mkdir()
    for place in treatment.place:
        PLACES[place](shop)
    called = call(shop, arguments, treatment)
    told = f"{pages_of(command)}: {shlex.join(arguments)}\n{called.stdout}\n{called.stderr}"
    assert called.returncode in treatment.exit, told
    assert "Traceback" not in called.stderr, told
    assert treatment.says in called.stdout + called.stderr, told
    if called.returncode == 2 and arguments[0] == "vlbench":
        assert called.stderr.count("\n") == 1, told
        return
    assert [path for path in treatment.leaves if not (shop.folder / path).exists()] == [], told


def arguments_of(treatment: Treatment) -> list[str]:
    """The words that are called: the page's, with what is declared replaced, set and added."""
    text = treatment.command
    for before, after in treatment.replace.items():
        assert before in text, f"{text}: holds no {before}"
        text = text.replace(before, after)
    text = Template(text).substitute(treatment.set) if "$" in text else text
    words = shlex.split(text.replace("~/", "home/"))
    kind = words[1] if words[0] == "vlbench" else ""
    short = "" if "--help" in words else treatments().short.get(kind, "")
    return [*words, *shlex.split(f"{short} {treatment.add}")]


def call(shop: Workshop, arguments: list[str], treatment: Treatment) -> CompletedProcess[str]:
    if arguments[0] == "vlbench":
        return shop.vlbench(*arguments[1:], catalogue=treatment.catalogue)
    return shop.program(*([sys.executable, *arguments[1:]] if arguments[0] == "python" else arguments))


def parse_only(arguments: list[str]) -> None:
    """Reads all options, and what they name of the suites; raises where one does not exist."""
    if arguments[0] == "vlbench":
        found = parse(arguments[1:])
        if found.get("suites"):
            assert resolve_named(found["suites"])
        for side in ("base_option", "head_option"):
            parse_options(side, found.get(side) or ())
        return
    harness(arguments)


def harness(arguments: list[str]) -> None:
    """Runs a script of benchmarks/harness up to where it has read its options."""

    class ReadError(Exception):
        pass

    def read_all(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        found, unknown = parser.parse_known_args(arguments[3:])
        assert not unknown
        raise ReadError(found)

    module = arguments[2]
    path = ROOT / (module.replace(".", "/") + ".py")
    assert path.is_file(), module
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", read_all)
        with pytest.raises(ReadError):
            importlib.import_module(module).main()


@pytest.mark.parametrize("one", [one for one in SHOWN if one.mention], ids=lambda one: f"{one.text} in {one.page}")
def test_a_command_that_is_mentioned_exists(one: Shown) -> None:
    assert one.text.split()[1] in typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_every_declaration_is_of_a_command_that_a_page_shows() -> None:
    declared = [one.command for one in treatments().commands]
    assert [command for command in declared if command not in TYPED] == []
    assert len(declared) == len(set(declared))


def test_commands_were_found_wherever_they_stand() -> None:
    """A fenced block, an indented one, a table's column, a sentence, a workflow, the action."""
    pages = {one.page for one in SHOWN}
    assert {"README.md", "CONTRIBUTING.md", "docs/ci.md", "results/xeon-2-cores/README.md", "action.yml"} <= pages
    for text in (
        "vlbench compare BASE HEAD",
        "python -m benchmarks.harness.own_cost --rounds 16",
        "vlbench eval --models FOLDER/model.yaml",
        'vlbench history "$run" --store ~/speed.duckdb --figure speed.png',
    ):
        assert text in TYPED


def test_a_script_is_taken_apart_as_a_shell_would() -> None:
    script = """
        # nothing
        folder=out vlbench run --models 'vit-*',vilt \\
            --text "a # b; c"   # what follows is told, not run
        if [ -d out ]; then vlbench show "$folder" || [ $? -eq 3 ]; fi && .venv/bin/vlbench list
    """
    assert list(commands(script)) == [
        """vlbench run --models 'vit-*',vilt --text "a # b; c\"""",
        'vlbench show "$folder"',
        "vlbench list",
    ]


def test_what_a_reader_installs_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    listed = [extras_of for command in TYPED for extras_of in re.findall(r"^pip install .*\[([\w,-]+)\]", command)]
    assert listed
    assert {extra for names in listed for extra in names.split(",")} <= set(extras)


def test_models_that_a_page_spells_out_are_what_it_says() -> None:
    from vlbench.architectures.count import count  # noqa: PLC0415
    from vlbench.specs import schema_of  # noqa: PLC0415

    page = (ROOT / "docs" / "add-an-architecture.md").read_text(encoding="utf-8")
    for name, text in places.models_spelt_out():
        content = yaml.safe_load(text)
        spec = schema_of(content).model_validate(content)
        if name == "grid-small":
            found = count(spec)
            assert f"{found.params_total / 1e6:.1f} M parameters" in page
            assert f"{found.macs / 1e9:.1f} GMACs" in page
