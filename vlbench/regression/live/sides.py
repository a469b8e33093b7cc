"""The two sides of a comparison: an interpreter, a checkout, and the options that only one of them has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.regression.live.checkouts import checked_out
from vlbench.regression.live.revisions import GitError, commit_of, shallow_hint
from vlbench.runner.benchmark import open_worker
from vlbench.runner.devices import visible_gpu
from vlbench.runner.schemas import PROTOCOL
from vlbench.runner.worker_client import Worker
from vlbench.system.child_processes import child_environment

PRINT_PROTOCOL = "from vlbench.runner.schemas import PROTOCOL; print(PROTOCOL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Where one side's code comes from.

    Attributes:
        name: `base` or `head`.
        label: as the user named it.
        python: the interpreter.
        source: a checkout, which is the workers' working directory and imported first; None for what is installed.
        options: of `vlbench run`, for this side only.
        paths: folders to import from first; None for the checkout, its `src`, and this process's PYTHONPATH.
        function: replaces the request's callable on this side; None for the callable itself.
    """

    name: str
    label: str
    python: str = sys.executable
    source: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    paths: Sequence[str] | None = None
    function: str | None = None

    def worker(self, threads: int, device: str = "auto") -> Worker:
        """A worker that imports this side's code, and sees this side's GPU."""
        command = [self.python, "-m", "vlbench.runner.worker"]
        environment = self._environment() | visible_gpu(device)
        return open_worker(threads, command=command, environment=environment, folder=self.source)

    def check(self) -> None:
        """Raises InputError if this side's vlbench cannot be imported or speaks another version of the protocol.

        A worker with another version and this process could wait for each other without end.
        """
        if self.python == sys.executable and self.source is None and self.paths is None:
            return
        command = [self.python, "-c", PRINT_PROTOCOL]
        environment = child_environment() | self._environment()
        try:
            process = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment, cwd=self.source
            )
        except OSError as error:
            raise InputError(f"{self.name} ({self.label}): {self.python}: {error.strerror}") from error
        problem = _problem(process.returncode, process.stdout.strip(), process.stderr)
        if problem:
            raise InputError(f"{self.name} ({self.label}): {problem}")

    def _environment(self) -> dict[str, str]:
        if self.paths is not None:
            return {"PYTHONPATH": os.pathsep.join(self.paths), "PYTHONSAFEPATH": "1"}
        first = [] if self.source is None else [str(self.source), str(self.source / "src")]
        path = os.pathsep.join([*first, *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"PYTHONPATH": path} if path else {}


def _problem(status: int, answer: str, error: str) -> str | None:
    """Why a side that answered `PRINT_PROTOCOL` so cannot be measured; None if it can be."""
    if status == 0 and answer == str(PROTOCOL):
        return None
    last = (error.strip().splitlines() or ["no message"])[-1]
    if "No module named 'vlbench'" in last:
        return "vlbench cannot be imported there; pip install vlbench into it"
    if "No module named 'vlbench." in last or (answer.isdigit() and int(answer) < PROTOCOL):
        return "its vlbench is too old for a live comparison; a later revision works"
    if answer.isdigit():
        return "its vlbench is newer than this one; run the newer one's vlbench ab"
    return f"its vlbench does not answer: {last}"


@contextmanager
def open_sides(
    base: str | None, head: str | None, *, base_options: Mapping[str, Any], head_options: Mapping[str, Any]
) -> Iterator[tuple[Side, Side]]:
    """Both sides. Git revisions are checked out into temporary folders.

    Raises InputError if a side is neither a virtual environment, nor a folder with code, nor a revision.
    """
    with ExitStack() as stack:
        yield (
            _side(stack, "base", base, base_options),
            _side(stack, "head", head, head_options),
        )


def _side(stack: ExitStack, name: str, target: str | None, options: Mapping[str, Any]) -> Side:
    if target is None:
        return Side(name=name, label="this installation", options=options)
    path = Path(target)
    if (path / "bin" / "python").exists():
        return Side(name=name, label=target, python=str((path / "bin" / "python").absolute()), options=options)
    if path.is_dir():
        return Side(name=name, label=target, source=path.resolve(), options=options)
    if path.is_file() and os.access(path, os.X_OK):
        return Side(name=name, label=target, python=str(path.absolute()), options=options)
    try:
        commit = commit_of(target)
    except GitError as error:
        hint = f" ({error})" if str(error) else shallow_hint()
        raise InputError(
            f"--{name} {target}: neither a git revision here, nor a virtual environment, nor a folder with code{hint}"
        ) from error
    try:
        checkout = stack.enter_context(checked_out(commit))
    except GitError as error:
        raise InputError(f"--{name} {target}: git could not check it out beside this working tree: {error}") from error
    return Side(name=name, label=f"{target} ({commit[:10]})", source=checkout, options=options)
