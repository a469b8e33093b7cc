"""Imports point down only, and only the parts that compute import torch (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vlbench

PACKAGE = Path(vlbench.__file__).parent

LAYERS = [
    {"errors", "markup", "shares"},
    {"specs"},
    {"catalog"},
    {"weights"},
    {"inputs"},
    {"suites"},
    {"tasks", "measure"},
    {"architectures"},
    {"running"},
    {"evaluation"},
    {"reproduce", "doctor"},
    {"training", "report", "compare", "history"},
    {"explain", "ablation", "page"},
    {"ab"},
    {"bisect"},
    {"api", "options"},
    {"commands", "pytest_plugin"},
    {"cli", "__init__"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

IMPORTS_TORCH = (
    "architectures",
    "evaluation",
    "tasks",
    "training",
    "measure.counting",
    "measure.latency",
    "measure.memory",
)
IMPORTS_TORCH += ("measure.peaks", "measure.traffic", "running.worker", "running.subject")
IMPORTS_TORCH += ("ablation.planning", "ablation.training", "ablation.true_boxes")
IMPORTS_TORCH += ("explain.look", "explain.attention", "explain.alignment", "explain.places")
TORCH = {"torch", "torchvision", "transformers", "timm", "detectron2", "fvcore"}


def module_name(path: Path) -> str:
    """`running.worker` for vlbench/running/worker.py; a package is its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {
    module_name(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not {"_models", "_benchmarks"} & set(path.parts)
}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or within a function, by its full dotted name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def internal(path: Path) -> set[str]:
    """The top-level parts of vlbench that a file imports; `from vlbench import __version__` is none."""
    names = {name.split(".")[1] for name in imported(path) if name.startswith("vlbench.")}
    return names - {"__version__"}


def may_import_torch(module: str) -> bool:
    return any(module == allowed or module.startswith(f"{allowed}.") for allowed in IMPORTS_TORCH)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    own = module.split(".")[0]
    assert own in RANK, f"{module}: give it a place in LAYERS"
    unplaced = internal(MODULES[module]) - set(RANK)
    assert not unplaced, f"{module} imports {unplaced}, which have no place in LAYERS"
    upward = {name for name in internal(MODULES[module]) - {own} if RANK[name] >= RANK[own]}
    assert not upward, f"{module} imports {upward}, which lie no lower"


@pytest.mark.parametrize("module", [name for name in MODULES if not may_import_torch(name)])
def test_only_what_computes_imports_torch(module: str) -> None:
    assert {name.split(".")[0] for name in imported(MODULES[module])}.isdisjoint(TORCH)


def test_everything_else_can_be_imported_without_torch() -> None:
    light = [f"vlbench.{name}" for name in MODULES if not may_import_torch(name) and "__" not in name]
    code = f"import sys, {', '.join(light)}; print(sorted({TORCH!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_the_package_runs_as_a_module() -> None:
    """As torchrun starts it."""
    done = subprocess.run([sys.executable, "-m", "vlbench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"vlbench {vlbench.__version__}\n"
