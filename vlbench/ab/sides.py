"""The two sides of a comparison: an interpreter, a checkout, and the options that only one of them has."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.running.workers import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Where one side's code comes from.

    Attributes:
        name: `base` or `head`.
        label: as the user named it.
        python: the interpreter.
        source: a checkout, which goes before what is installed; None for what is installed.
        options: of `vlbench run`, for this side alone.
    """

    name: str
    label: str
    python: str = sys.executable
    source: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def worker(self, threads: int) -> Worker:
        """A worker that imports this side's code."""
        ahead = [] if self.source is None else [str(self.source), str(self.source / "src")]
        path = os.pathsep.join([*ahead, *filter(None, [os.environ.get("PYTHONPATH")])])
        return Worker(
            threads,
            command=[self.python, "-m", "vlbench.running.worker"],
            environment={"PYTHONPATH": path} if path else {},
            folder=self.source,
        )


@contextmanager
def opened(
    base: str | None, head: str | None, *, base_options: Mapping[str, Any], head_options: Mapping[str, Any]
) -> Iterator[tuple[Side, Side]]:
    """Both sides, git revisions checked out into folders of their own that are gone afterwards.

    Raises InputError where a side is neither a virtual environment, nor a checkout, nor a revision of this repository.
    """
    with tempfile.TemporaryDirectory(prefix="vlbench-ab-") as folder:
        checkouts: list[Path] = []
        try:
            sides = []
            for name, wanted, options in (("base", base, base_options), ("head", head, head_options)):
                checkout = Path(folder) / name
                sides.append(_side(name, wanted, options, checkout))
                if checkout.exists():
                    checkouts.append(checkout)
            yield sides[0], sides[1]
        finally:
            for checkout in checkouts:
                _git("worktree", "remove", "--force", str(checkout))


def _side(name: str, wanted: str | None, options: Mapping[str, Any], checkout: Path) -> Side:
    if wanted is None:
        return Side(name=name, label="this installation", options=options)
    path = Path(wanted)
    if (path / "bin" / "python").exists():
        return Side(name=name, label=wanted, python=str((path / "bin" / "python").absolute()), options=options)
    if path.is_dir():
        return Side(name=name, label=wanted, source=path.resolve(), options=options)
    if path.is_file() and os.access(path, os.X_OK):
        return Side(name=name, label=wanted, python=str(path.absolute()), options=options)
    commit = _git("rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}")
    if commit is None:
        raise InputError(
            f"--{name} {wanted}: neither a git revision here, nor a virtual environment, nor a folder with code"
        )
    if _git("worktree", "add", "--detach", str(checkout), commit) is None:
        raise InputError(f"--{name} {wanted}: git could not check it out beside this working tree")
    return Side(name=name, label=f"{wanted} ({commit[:10]})", source=checkout, options=options)


def _git(*arguments: str) -> str | None:
    """What git prints; None where it fails or is not there."""
    try:
        process = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return process.stdout.strip() if process.returncode == 0 else None
