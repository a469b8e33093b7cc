"""Revisions of a git repository: which commit is meant, a checkout beside the working tree, the way between two."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlbench.errors import InputError
from vlbench.frozen import Frozen

SHALLOW = "; this clone is shallow: git fetch --unshallow (in GitHub's checkout fetch-depth: 0) brings older commits"


class Commit(Frozen):
    """`subject` is the first line of its message."""

    hash: str
    subject: str

    @property
    def short(self) -> str:
        return self.hash[:10]


class GitError(Exception):
    """Git failed, or is not there; the message is its last line on standard error, which may be empty."""


def git(*arguments: str, folder: Path | None = None) -> str:
    """What git prints. It has a session of its own, so that Ctrl-C does not end it halfway. Raises GitError."""
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, start_new_session=True
        )
    except OSError as error:
        raise GitError(f"git: {error.strerror}") from error
    if process.returncode:
        raise GitError((process.stderr.strip().splitlines() or [""])[-1])
    return process.stdout.strip()


def commit_of(revision: str, folder: Path | None = None) -> str:
    """The hash of the commit that a branch, tag or anything else of the kind means. Raises GitError."""
    return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", folder=folder)


def shallow_hint(folder: Path | None = None) -> str:
    """What to say after an unknown revision: that the clone is shallow, where it is."""
    try:
        return SHALLOW if git("rev-parse", "--is-shallow-repository", folder=folder) == "true" else ""
    except GitError:
        return ""


@contextmanager
def checked_out(commit: str, repository: Path | None = None) -> Iterator[Path]:
    """A folder with that commit, gone afterwards whatever ends it; the working tree is left alone. Raises GitError."""
    with tempfile.TemporaryDirectory(prefix="vlbench-") as parent:
        folder = Path(parent) / "checkout"
        try:
            git("worktree", "add", "--detach", str(folder), commit, folder=repository)
            yield folder
        finally:
            _remove(folder, repository)


def _remove(folder: Path, repository: Path | None) -> None:
    """Twice `--force` also takes one that git was still making."""
    try:
        git("worktree", "remove", "--force", "--force", str(folder), folder=repository)
    except GitError:
        shutil.rmtree(folder, ignore_errors=True)
        for after in (("unlock", str(folder)), ("prune",)):
            try:
                git("worktree", *after, folder=repository)
            except GitError:
                continue


def way(good: str, bad: str) -> tuple[Commit, list[Commit]]:
    """The commit that `good` means, and the steps from there to `bad`, oldest first, which `bad` is the last of.

    The steps follow first parents, so that a merge is one of them; those that do not descend from `good` are left out.
    Raises InputError where a revision is unknown or no way leads from one to the other.
    """
    start, end = _commit("--good", good), _commit("--bad", bad)
    if start == end:
        raise InputError(f"--good {good}, --bad {bad}: the same commit, {start[:10]}; name two")
    try:
        git("merge-base", "--is-ancestor", start, end)
    except GitError as error:
        raise InputError(
            f"--good {good}: no ancestor of --bad {bad}; git merge-base names one that both share{shallow_hint()}"
        ) from error
    descended = set(git("rev-list", "--ancestry-path", f"{start}..{end}").splitlines())
    chain = _described("--reverse", "--first-parent", f"{start}..{end}")
    return _described("--max-count=1", start)[0], [commit for commit in chain if commit.hash in descended]


def _commit(option: str, revision: str) -> str:
    try:
        return commit_of(revision)
    except GitError as error:
        why = str(error) or f"no git revision here; HEAD~10, a branch or a tag works{shallow_hint()}"
        raise InputError(f"{option} {revision}: {why}") from error


def _described(*wanted: str) -> list[Commit]:
    lines = git("log", "--no-show-signature", "--no-color", "--format=%H %s", *wanted).splitlines()
    return [Commit(hash=name, subject=subject) for name, _, subject in (line.partition(" ") for line in lines)]
