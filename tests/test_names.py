"""Names across vlbench: a class name means one thing, and names that say nothing of their thing do not come back."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import vlbench

PACKAGE = Path(vlbench.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
LONGEST = 300  # lines of a file

# Not the names of what they were used for: what is meant has a word of its own.
RETIRED = frozenset(
    "Candidate Measuring OneByOne Told Wanted asked asks conclude conclusions found held held_against_papers "
    "not_asked one own place said seeing take_on tell tell_once told traits wanted".split()
)


def defined_names(tree: ast.AST) -> Iterator[str]:
    """Every name that a module gives to a function, a class, an argument, a variable or an import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


def retired_names(tree: ast.AST) -> set[str]:
    return {word for name in defined_names(tree) if (word := name.strip("_")) in RETIRED}


def test_every_class_name_means_one_class() -> None:
    modules = defaultdict(list)
    for file, tree in TREES.items():
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(file)
    assert {name: files for name, files in modules.items() if len(files) > 1} == {}


def test_no_file_is_long() -> None:
    lines = {file: len(path.read_text(encoding="utf-8").splitlines()) for file, path in FILES.items()}
    assert {file: count for file, count in lines.items() if count > LONGEST} == {}


def test_no_retired_name_comes_back() -> None:
    names = {file: retired_names(tree) for file, tree in TREES.items()}
    assert {file: words for file, words in names.items() if words} == {}


def test_retired_names_are_seen_wherever_a_name_is_given() -> None:
    module = """
import os as place
class Wanted:
    _held = 1
def told(own, *, asked):
    found = self.said = [one for one in own]
"""
    assert retired_names(ast.parse(module)) == {
        "place",
        "Wanted",
        "held",
        "told",
        "own",
        "asked",
        "found",
        "said",
        "one",
    }
