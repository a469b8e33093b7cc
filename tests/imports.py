"""The imports of vlbench's own modules, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

GENERATED = {"_models", "_benchmarks"}


def modules_of(package: Path) -> dict[str, Path]:
    """Every module below a package's folder: `runner.worker` for runner/worker.py, `runner` for runner/__init__.py."""
    paths = [path for path in sorted(package.rglob("*.py")) if not GENERATED & set(path.parts)]
    return {_name(path.relative_to(package)): path for path in paths}


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imported(path: Path) -> Iterator[str]:
    """The full dotted name of everything that a file imports, at its top, within a function or for types alone.

    Raises ValueError at a relative import.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                raise ValueError(f"{path}: relative import")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph_of(package: Path) -> dict[str, set[str]]:
    """For each module of a package, the modules of the same package that it imports."""
    modules = modules_of(package)
    return {name: set(_internal(path, package.name, modules)) - {name} for name, path in modules.items()}


def _internal(path: Path, package: str, modules: Mapping[str, Path]) -> Iterator[str]:
    for name in imported(path):
        inner = name.removeprefix(f"{package}.")
        if inner == name:
            continue
        if inner in modules:
            yield inner
        elif (parent := inner.rpartition(".")[0]) in modules:
            yield parent


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (strongly connected components of two or more), sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            groups.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(group for group in groups if len(group) > 1)
