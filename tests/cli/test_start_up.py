"""How soon `vlbench --help` and `vlbench list` answer; tests/regression/compare does the same for `compare`."""

from __future__ import annotations

import pytest

from tests.cli.start_up import HEAVY, imported_by, start_up_ratio


@pytest.mark.serial
@pytest.mark.parametrize(("argument", "bar"), [("--help", 1.0), ("list", 1.5)])
def test_start_up_beside_the_libraries_alone(argument: str, bar: float) -> None:
    assert start_up_ratio(argument, bar=bar) <= bar


@pytest.mark.parametrize("arguments", ["--help", "--version", "list", "list models", "run --help", "ab --help"])
def test_what_only_prints_imports_nothing_heavy(arguments: str) -> None:
    assert not imported_by(*arguments.split()) & {*HEAVY, "pydantic", "rich"}


def test_the_list_of_suites_imports_nothing_heavy() -> None:
    assert not imported_by("list", "suites") & HEAVY
