"""The tests: no private name of vlbench, no two files of one name, and no shared helper that is written again."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

FILES = sorted((ROOT / "tests").rglob("*.py"))
SHARED = (ROOT / "tests" / "helpers.py",)


def private_names(source: str) -> Iterator[str]:
    """Private names that a file imports from vlbench, or reads off a module of it."""
    tree = ast.parse(source)
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vlbench":
            yield from (alias.name for alias in node.names if is_private(alias.name))
            modules |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            modules |= {alias.asname or "vlbench" for alias in node.names if alias.name.split(".")[0] == "vlbench"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and first_name(node) in modules:
            yield node.attr


def helper_names(path: Path) -> list[str]:
    """Functions and classes at the top level of a file that are no tests."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    names = [node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return [name for name in names if not name.lower().startswith("test")]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def first_name(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def test_every_test_file_has_a_name_of_its_own() -> None:
    """pytest imports them by their bare names, as the folders of tests are no packages."""
    names = [path.name for path in FILES if path.name.startswith("test_")]
    assert [name for name in names if names.count(name) > 1] == []


def test_no_file_defines_a_shared_helper_again() -> None:
    shared = {name: path for path in SHARED for name in helper_names(path)}
    again = [(path.name, name) for path in FILES for name in helper_names(path) if shared.get(name, path) != path]
    assert again == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_test_needs_a_private_name(path: Path) -> None:
    assert list(private_names(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "from vlbench.measuring.macs import _name",
        "from vlbench.measuring import macs\nmacs._name()",
        "import vlbench.measuring.macs\nvlbench.measuring.macs._name()",
    ],
)
def test_a_private_name_is_found(source: str) -> None:
    assert list(private_names(source)) == ["_name"]
