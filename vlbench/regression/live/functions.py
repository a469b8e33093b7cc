"""Compares a function with another, or with itself at a git revision, for the pytest plugin."""

from __future__ import annotations

import inspect
import os
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.regression.compare.outcomes import Thresholds, parse_threshold
from vlbench.regression.live.checkouts import checked_out
from vlbench.regression.live.record import LiveComparison
from vlbench.regression.live.revisions import GitError, commit_of, git, shallow_hint
from vlbench.regression.live.run import LiveRequest, compare_live, start_workers
from vlbench.regression.live.sides import Side
from vlbench.runner.limits import MOST_BUDGET_SECONDS

WORKS = "a function at the top of a module, without arguments, works"
Function = Callable[[], object]


def compare_functions(
    function: Function,
    baseline: Function | str,
    *,
    threshold: str | float,
    budget_seconds: float,
    threads: int,
    root: Path | None = None,
) -> LiveComparison:
    """Compares two functions live, in fresh processes that import them as this one did.

    Raises InputError if such a process could not import a function, and WorkerError if it fails.

    Args:
        function: the one that may be slower than the baseline.
        baseline: another function, or the git revision from which the same function is taken.
        threshold: the slowdown to detect, `5%` or 0.05.
        budget_seconds: for measuring, without the start of the processes.
        threads: of PyTorch and OpenMP.
        root: a folder to import from, in addition to those of `sys.path`.
    """
    try:
        thresholds = Thresholds(default=parse_threshold(threshold))
    except ValueError as error:
        raise InputError(f"threshold={threshold!r}: {error}") from error
    if not 0 < budget_seconds <= MOST_BUDGET_SECONDS:
        raise InputError(f"a budget of {budget_seconds:g} seconds; 30 works")
    name, paths = importable(function), import_paths([function], root)
    request = LiveRequest(
        callables=[name], settings={"threads": threads}, thresholds=thresholds, budget_seconds=budget_seconds
    )
    with ExitStack() as stack:
        if isinstance(baseline, str):
            base = stack.enter_context(at_revision(baseline, function, paths))
        else:
            other = importable(baseline)
            paths = import_paths([function, baseline], root)
            base = Side(name="base", label=other, source=Path.cwd(), paths=paths, function=other)
        head = Side(name="head", label=name, source=Path.cwd(), paths=paths)
        workers = stack.enter_context(start_workers(request, base, head))
        return compare_live(request, base, head, workers)


def importable(function: Any) -> str:
    """`module:name` of a function, for a fresh process to import. Raises InputError if it could not."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not callable(function) or not module or not name:
        raise InputError(f"{function!r} is not a named function; {WORKS}")
    if module == "__main__":
        raise InputError(f"{name} is defined in the script that was started, which is not a module; {WORKS}")
    try:
        imported = reduce(getattr, name.split("."), sys.modules[module])
    except (AttributeError, KeyError):
        imported = None  # `<lambda>` or `outer.<locals>.inner`
    if imported != function:
        raise InputError(f"{module}:{name} cannot be imported by a fresh process; {WORKS}")
    required = [parameter.name for parameter in inspect.signature(function).parameters.values() if _required(parameter)]
    if required:
        raise InputError(f"{module}:{name} needs arguments ({', '.join(required)}); {WORKS}")
    return f"{module}:{name}"


def _required(parameter: inspect.Parameter) -> bool:
    variable = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not variable


def import_paths(functions: Sequence[Function], root: Path | None) -> list[str]:
    """Folders from which a fresh process can import these functions: theirs, then those of this process, then `root`.

    The folders of the interpreter itself are left out.
    """
    standard = {os.path.realpath(path) for path in sysconfig.get_paths().values()}
    folders = [str(_file_and_folder(function)[1]) for function in functions]
    folders += [os.path.abspath(path) for path in sys.path]
    folders += [str(root)] if root else []
    return [path for path in dict.fromkeys(folders) if Path(path).is_dir() and os.path.realpath(path) not in standard]


def _file_and_folder(function: Function) -> tuple[Path, Path]:
    """The file of a function's module, and the folder from which it is imported under its name."""
    module = sys.modules[function.__module__]
    if not module.__file__:
        raise InputError(f"{module.__name__}: has no file; {WORKS}")
    file = Path(module.__file__).absolute()
    parts = module.__name__.split(".") + (["__init__"] if file.stem == "__init__" else [])
    return file, file.parents[len(parts) - 1]


@contextmanager
def at_revision(revision: str, function: Function, paths: Sequence[str]) -> Iterator[Side]:
    """A side that imports from a checkout whatever this process imports from the function's repository.

    Raises InputError if the revision is unknown, or does not have the function's file: an installed module of the same
    name would be measured instead.
    """
    file, _ = _file_and_folder(function)
    try:
        top = Path(git("rev-parse", "--show-toplevel", folder=file.parent))
        commit = commit_of(revision, folder=file.parent)
    except GitError as error:
        why = str(error) or f"no git revision here; HEAD~1, a branch or a tag works{shallow_hint(file.parent)}"
        raise InputError(f"baseline {revision!r}: {why}") from error
    with ExitStack() as stack:
        try:
            checkout = stack.enter_context(checked_out(commit, top, warnings.warn))
        except GitError as error:
            raise InputError(f"baseline {revision!r}: git could not check it out: {error}") from error
        moved_file = _moved(file, top, checkout)
        if not moved_file.is_relative_to(checkout) or not moved_file.exists():
            raise InputError(f"baseline {revision!r}: {file.name} is not in it; name a later revision or a function")
        folder = _moved(Path.cwd(), top, checkout)
        yield Side(
            name="base",
            label=f"{revision} ({commit[:10]})",
            source=folder if folder.is_dir() else checkout,
            paths=[str(_moved(Path(path), top, checkout)) for path in paths],
        )


def _moved(path: Path, top: Path, checkout: Path) -> Path:
    """The same path in the checkout, if it is in the repository; otherwise the path itself."""
    real = path.resolve()
    return checkout / real.relative_to(top.resolve()) if real.is_relative_to(top.resolve()) else path
