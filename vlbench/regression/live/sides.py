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
from vlbench.regression.live.revisions import GitError, checked_out, commit_of, shallow_hint
from vlbench.runner.benchmark import open_worker
from vlbench.runner.schemas import PROTOCOL
from vlbench.runner.worker_client import Worker

ASK_PROTOCOL = "from vlbench.runner.schemas import PROTOCOL; print(PROTOCOL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Where one side's code comes from.

    Attributes:
        name: `base` or `head`.
        label: as the user named it.
        python: the interpreter.
        source: a checkout, where its workers start, and which goes before what is installed; None for what is.
        options: of `vlbench run`, for this side alone.
        paths: all that goes before what is installed; None for the checkout, its `src`, and this process's PYTHONPATH.
        function: what stands for the request's callable on this side; None for that itself.
    """

    name: str
    label: str
    python: str = sys.executable
    source: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    paths: Sequence[str] | None = None
    function: str | None = None

    def worker(self, threads: int) -> Worker:
        """A worker that imports this side's code."""
        command = [self.python, "-m", "vlbench.runner.worker"]
        return open_worker(threads, command=command, environment=self._environment(), folder=self.source)

    def check(self) -> None:
        """Raises InputError where its vlbench, if there is one, does not speak as this one's workers do.

        An older worker would wait for the end of its input, and this one for an answer.
        """
        if self.python == sys.executable and self.source is None and self.paths is None:
            return
        command = [self.python, "-c", ASK_PROTOCOL]
        environment = os.environ | self._environment()
        try:
            process = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment, cwd=self.source
            )
        except OSError as error:
            raise InputError(f"{self.name} ({self.label}): {self.python}: {error.strerror}") from error
        wrong = _why_not(process.returncode, process.stdout.strip(), process.stderr)
        if wrong:
            raise InputError(f"{self.name} ({self.label}): {wrong}")

    def _environment(self) -> dict[str, str]:
        if self.paths is not None:
            return {"PYTHONPATH": os.pathsep.join(self.paths), "PYTHONSAFEPATH": "1"}
        ahead = [] if self.source is None else [str(self.source), str(self.source / "src")]
        path = os.pathsep.join([*ahead, *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"PYTHONPATH": path} if path else {}


def _why_not(status: int, said: str, error: str) -> str | None:
    """What is wrong with an answer to `ASK_PROTOCOL`; None where it is this one's own."""
    if status == 0 and said == str(PROTOCOL):
        return None
    last = (error.strip().splitlines() or ["no message"])[-1]
    if "No module named 'vlbench'" in last:
        return "vlbench cannot be imported there; pip install vlbench into it"
    if "No module named 'vlbench." in last or (said.isdigit() and int(said) < PROTOCOL):
        return "its vlbench is too old for a live comparison; a later revision works"
    if said.isdigit():
        return "its vlbench is newer than this one; run the newer one's vlbench ab"
    return f"its vlbench cannot be asked: {last}"


@contextmanager
def opened(
    base: str | None, head: str | None, *, base_options: Mapping[str, Any], head_options: Mapping[str, Any]
) -> Iterator[tuple[Side, Side]]:
    """Both sides, git revisions checked out into folders of their own that are gone afterwards.

    Raises InputError where a side is neither a virtual environment, nor a checkout, nor a revision of this repository.
    """
    with ExitStack() as stack:
        yield (
            _side(stack, "base", base, base_options),
            _side(stack, "head", head, head_options),
        )


def _side(stack: ExitStack, name: str, wanted: str | None, options: Mapping[str, Any]) -> Side:
    if wanted is None:
        return Side(name=name, label="this installation", options=options)
    path = Path(wanted)
    if (path / "bin" / "python").exists():
        return Side(name=name, label=wanted, python=str((path / "bin" / "python").absolute()), options=options)
    if path.is_dir():
        return Side(name=name, label=wanted, source=path.resolve(), options=options)
    if path.is_file() and os.access(path, os.X_OK):
        return Side(name=name, label=wanted, python=str(path.absolute()), options=options)
    try:
        commit = commit_of(wanted)
    except GitError as error:
        said = f" ({error})" if str(error) else shallow_hint()
        raise InputError(
            f"--{name} {wanted}: neither a git revision here, nor a virtual environment, nor a folder with code{said}"
        ) from error
    try:
        checkout = stack.enter_context(checked_out(commit))
    except GitError as error:
        raise InputError(f"--{name} {wanted}: git could not check it out beside this working tree: {error}") from error
    return Side(name=name, label=f"{wanted} ({commit[:10]})", source=checkout, options=options)
