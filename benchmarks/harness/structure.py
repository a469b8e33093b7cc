"""The shape of the code: files, lines, packages, floors, import circles, class names, and what one run imports.

    python -m benchmarks.harness.structure

Floors are the packages of the longest chain of imports; modules directly in `vlbench/` count as one each.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from statistics import median

from tests.imports import circles, graph_of, modules_of

PACKAGE = Path(__file__).parents[2] / "vlbench"
LONG = 300  # lines

COMMAND = """
import sys
from vlbench.cli.main import app
options = "--models vilt --restarts 1 --budget 1 --threads 1 --device cpu --out"
app(args=["run", *options.split(), *sys.argv[1:]], standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""
WORKER = """
import sys
import vlbench.runner.worker
from vlbench.architectures.build import build
from vlbench.specs.catalog import catalog
build(catalog()["vilt-b32"].tiny())
print(*sys.modules, file=sys.stderr)
"""


def package_graph(modules: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """For each package, the packages that its modules import; modules of `vlbench/` itself stand alone."""
    packages = {package_of(name, modules) for name in modules}
    graph: dict[str, set[str]] = {name: set() for name in packages}
    for name, others in modules.items():
        graph[package_of(name, modules)] |= {package_of(other, modules) for other in others}
    return {name: others - {name} for name, others in graph.items()}


def package_of(module: str, modules: Mapping[str, set[str]]) -> str:
    is_package = any(other.startswith(f"{module}.") for other in modules)
    return module if is_package else module.rpartition(".")[0] or module


def floors(graph: Mapping[str, set[str]]) -> int:
    """The length of the longest chain; packages of a circle count once together."""
    group = {name: frozenset([name]) for name in graph} | {
        name: frozenset(names) for names in circles(graph) for name in names
    }

    @cache
    def height(names: frozenset[str]) -> int:
        below = {group[other] for name in names for other in graph[name]} - {names}
        return 1 + max(map(height, below), default=0)

    return max(map(height, group.values()))


def imported_by_run() -> set[str]:
    """The modules of vlbench that `vlbench run --models vilt` imports, in the command and in its worker."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = set()
        for arguments in ([COMMAND, f"{folder}/out"], [WORKER]):
            done = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, check=True)
            loaded |= set(done.stderr.splitlines()[-1].split())
    return {name for name in loaded if name.partition(".")[0] == "vlbench"}


def main() -> int:
    paths = modules_of(PACKAGE)
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in paths.items()}
    classes = defaultdict(list)
    for name, path in paths.items():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("class "):
                classes[line.split()[1].partition("(")[0].partition("[")[0].rstrip(":")].append(name)
    modules = graph_of(PACKAGE)
    packages = package_graph(modules)
    print(f"files               {len(lines)}")
    print(f"lines               {sum(lines.values()):,}")
    print(f"median lines        {median(lines.values()):g}")
    print(f"over {LONG} lines      {sum(count > LONG for count in lines.values())}")
    print(f"packages            {sum((PACKAGE / name.replace('.', '/')).is_dir() for name in packages)}")
    print(f"floors              {floors(packages)}")
    print(f"circles of modules  {circles(modules)}")
    print(f"circles of packages {circles(packages)}")
    print(f"names of 2 classes  {sorted(name for name, where in classes.items() if len(where) > 1)}")
    print(f"files of one run    {len(imported_by_run())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
