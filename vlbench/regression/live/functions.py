"""A function against another, or against itself at a git revision: what the pytest plugin asks for."""

from __future__ import annotations

import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.regression.compare.outcomes import Thresholds, parse_threshold
from vlbench.regression.live.record import LiveComparison
from vlbench.regression.live.revisions import GitError, checked_out, commit_of, git, shallow_hint
from vlbench.regression.live.run import LiveRequest, run, started
from vlbench.regression.live.sides import Side

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
    """The live comparison of two functions in fresh processes, which import them as this one did.

    Raises InputError for what such a process could not import, WorkerError where it fails.

    Args:
        function: may be slower than the baseline.
        baseline: another function, or the git revision at which the same one is taken.
        threshold: the slowdown that must not slip through, `5%` or 0.05.
        budget_seconds: for everything but starting.
        threads: of PyTorch and OpenMP.
        root: a folder that can be imported from, beside those of `sys.path`.
    """
    try:
        thresholds = Thresholds(default=parse_threshold(threshold))
    except ValueError as error:
        raise InputError(f"threshold={threshold!r}: {error}") from error
    if budget_seconds <= 0:
        raise InputError(f"a budget of {budget_seconds:g} seconds; 30 works")
    name, paths = importable(function), import_paths([function], root)
    request = LiveRequest(
        callables=[name], settings={"threads": threads}, thresholds=thresholds, budget_seconds=budget_seconds
    )
    with ExitStack() as stack:
        if isinstance(baseline, str):
            base = stack.enter_context(_at_revision(baseline, function, paths))
        else:
            other = importable(baseline)
            paths = import_paths([function, baseline], root)
            base = Side(name="base", label=other, source=Path.cwd(), paths=paths, function=other)
        head = Side(name="head", label=name, source=Path.cwd(), paths=paths)
        workers = stack.enter_context(started(request, base, head))
        return run(request, base, head, workers)


def importable(function: Any) -> str:
    """`module:name`, by which a fresh process finds a function. Raises InputError where it would find none."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not callable(function) or not module or not name:
        raise InputError(f"{function!r} is no function with a name; {WORKS}")
    if module == "__main__":
        raise InputError(f"{name} is of the script that was started, which is no module; {WORKS}")
    try:
        found = reduce(getattr, name.split("."), sys.modules[module])
    except (AttributeError, KeyError):
        found = None  # `<lambda>` or `outer.<locals>.inner`
    if found != function:
        raise InputError(f"{module}:{name} cannot be imported by a fresh process; {WORKS}")
    needed = [one.name for one in inspect.signature(function).parameters.values() if _needed(one)]
    if needed:
        raise InputError(f"{module}:{name} needs arguments ({', '.join(needed)}); {WORKS}")
    return f"{module}:{name}"


def _needed(parameter: inspect.Parameter) -> bool:
    variable = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not variable


def import_paths(functions: Sequence[Function], root: Path | None) -> list[str]:
    """Folders from which a fresh process finds these functions: theirs, then those of this process, then `root`.

    The interpreter's own are left out; it knows them.
    """
    own = {os.path.realpath(path) for path in sysconfig.get_paths().values()}
    folders = [str(_file_and_folder(function)[1]) for function in functions]
    folders += [os.path.abspath(path) for path in sys.path]
    folders += [str(root)] if root else []
    return [path for path in dict.fromkeys(folders) if Path(path).is_dir() and os.path.realpath(path) not in own]


def _file_and_folder(function: Function) -> tuple[Path, Path]:
    """The file of a function's module, and the folder from which it is imported under its name."""
    module = sys.modules[function.__module__]
    if not module.__file__:
        raise InputError(f"{module.__name__}: has no file; {WORKS}")
    file = Path(module.__file__).absolute()
    parts = module.__name__.split(".") + (["__init__"] if file.stem == "__init__" else [])
    return file, file.parents[len(parts) - 1]


@contextmanager
def _at_revision(revision: str, function: Function, paths: Sequence[str]) -> Iterator[Side]:
    """The side that imports from a checkout what this process imports from the repository that the function is in.

    Raises InputError where the revision is unknown, or the function's file is not in it: something else that is
    installed under its name would be measured instead, and be found as fast as itself.
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
            checkout = stack.enter_context(checked_out(commit, top))
        except GitError as error:
            raise InputError(f"baseline {revision!r}: git could not check it out: {error}") from error
        there = _moved(file, top, checkout)
        if not there.is_relative_to(checkout) or not there.exists():
            raise InputError(f"baseline {revision!r}: {file.name} is not in it; name a later revision or a function")
        folder = _moved(Path.cwd(), top, checkout)
        yield Side(
            name="base",
            label=f"{revision} ({commit[:10]})",
            source=folder if folder.is_dir() else checkout,
            paths=[str(_moved(Path(path), top, checkout)) for path in paths],
        )


def _moved(path: Path, top: Path, checkout: Path) -> Path:
    """Where a path of the repository lies in the checkout; any other stays."""
    real = path.resolve()
    return checkout / real.relative_to(top.resolve()) if real.is_relative_to(top.resolve()) else path
