"""Imports point down only, and only the parts that compute import torch (CONTRIBUTING.md)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vlbench
from tests.imports import circles, graph_of, imported, modules_of

PACKAGE = Path(vlbench.__file__).parent

LAYERS = [
    {"errors", "frozen", "tables", "version"},
    {"system"},
    {"files"},
    {"specs"},
    {"inputs"},
    {"tasks", "measuring"},
    {"architectures"},
    {"runner"},
    {"evaluation", "suites", "doctor"},
    {"regression"},
    {"report"},
    {"training"},
    {"explain"},
    {"api"},
    {"cli", "pytest_plugin"},
    {"__init__"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
ABOVE_THEIR_PACKAGE = ("report.page", "training.ablation", "regression.live", "regression.history")

IMPORTS_TORCH = (
    "api.modules",
    "architectures",
    "evaluation",
    "tasks",
    "training",
    "measuring.attribution",
    "measuring.counters",
    "measuring.gpu",
    "measuring.gpu_speed",
    "measuring.launch",
    "measuring.macs",
    "measuring.latency",
    "measuring.memory",
    "measuring.modules",
    "measuring.peaks",
    "measuring.traffic",
    "runner.backends",
    "runner.conversion",
    "runner.convert",
    "runner.equality",
    "runner.examples",
    "runner.deploy",
    "runner.in_process",
    "runner.input_stage",
    "runner.parts",
    "runner.exporting",
    "runner.programs",
    "runner.quantisation",
    "runner.requests",
    "runner.restart",
    "runner.worker",
    "runner.workload",
    "explain.look",
    "explain.attention",
)
NO_TORCH_IN = (
    "runner.backends",
    "training.ablation.ablation_figure",
    "training.ablation.tables",
    "training.ablation.arm_outcomes",
)
TORCH = {"torch", "torchvision", "transformers", "timm", "detectron2", "fvcore"}

MODULES = modules_of(PACKAGE)
GRAPH = graph_of(PACKAGE)


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def upward(graph: dict[str, set[str]], module: str) -> set[str]:
    """What a module imports from a layer that is not below its own."""
    own = module.split(".")[0]
    others = {name for name in graph[module] if name.split(".")[0] != own}
    return {name for name in others if RANK[name.split(".")[0]] >= RANK[own]}


def may_import_torch(module: str) -> bool:
    return within(module, IMPORTS_TORCH) and module not in NO_TORCH_IN


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    unplaced = {name for name in (module, *GRAPH[module]) if name.split(".")[0] not in RANK}
    assert not unplaced, f"{unplaced}: give them a place in LAYERS"
    assert not upward(GRAPH, module), f"{module} imports {upward(GRAPH, module)}, which lie no lower"


@pytest.mark.parametrize("package", ABOVE_THEIR_PACKAGE)
def test_nothing_of_a_package_imports_what_lies_above_it(package: str) -> None:
    parent = package.rpartition(".")[0]
    below = [name for name in MODULES if within(name, (parent,)) and not within(name, (package,))]
    assert below
    assert {name: up for name in below if (up := {other for other in GRAPH[name] if within(other, (package,))})} == {}


def test_no_circle_of_imports() -> None:
    assert circles(GRAPH) == []


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    """Between packages, inside one, and through an import within a function."""
    planted = {
        "__init__.py": "",
        "report/__init__.py": "",
        "report/tables.py": "from planted.cli import printing",
        "cli/__init__.py": "",
        "cli/printing.py": "def show():\n    from planted.report.tables import table",
        "tasks/__init__.py": "",
        "tasks/features.py": "import planted.tasks.lmdb",
        "tasks/lmdb.py": "from planted.tasks.features import Regions",
        "tasks/registry.py": "from planted.tasks.lmdb import Lmdb",
    }
    package = tmp_path / "planted"
    for name, text in planted.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    graph = graph_of(package)
    assert circles(graph) == [["cli.printing", "report.tables"], ["tasks.features", "tasks.lmdb"]]
    assert upward(graph, "report.tables") == {"cli.printing"}
    assert not upward(graph, "cli.printing")


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
