"""Git, and the revisions of a repository: their commits, and the commits between two of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from vlbench.errors import InputError
from vlbench.frozen import Frozen
from vlbench.system.child_processes import child_environment, die_with_parent

SHALLOW = "; this clone is shallow: git fetch --unshallow (in GitHub's checkout fetch-depth: 0) brings older commits"


class Commit(Frozen):
    """`subject` is the first line of its message."""

    hash: str
    subject: str

    @property
    def short(self) -> str:
        return self.hash[:10]


class GitError(Exception):
    """Git failed or is not installed. The message is its last line on standard error, which may be empty."""


def git(*arguments: str, folder: Path | None = None) -> str:
    """Runs git in the repository of a folder, by default of the working directory, and returns its output.

    A repository that a hook names in the environment is ignored. Git has a session of its own, so that Ctrl-C does not
    end it halfway, and ends with this process. Raises GitError.
    """
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", *arguments]
    try:
        process = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            cwd=folder,
            env=child_environment(),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    except OSError as error:
        raise GitError(f"git: {error.strerror}") from error
    if process.returncode:
        raise GitError((process.stderr.decode(errors="replace").strip().splitlines() or [""])[-1])
    return os.fsdecode(process.stdout).strip()


def commit_of(revision: str, folder: Path | None = None) -> str:
    """The hash of the commit that a branch, a tag or another name means. Raises GitError."""
    return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", folder=folder)


def shallow_hint(folder: Path | None = None) -> str:
    """The end of a message about an unknown revision: that the clone is shallow, if it is."""
    try:
        return SHALLOW if git("rev-parse", "--is-shallow-repository", folder=folder) == "true" else ""
    except GitError:
        return ""


def commits_between(good: str, bad: str) -> tuple[Commit, list[Commit]]:
    """The commit `good`, and the commits after it up to and including `bad`, oldest first.

    They follow first parents, so that a merge is one commit, and descend from `good`. Raises InputError if a revision
    is unknown, or `good` is not an ancestor of `bad`.
    """
    start, end = _commit("--good", good), _commit("--bad", bad)
    if start == end:
        raise InputError(f"--good {good}, --bad {bad}: the same commit, {start[:10]}; name two")
    try:
        git("merge-base", "--is-ancestor", start, end)
    except GitError as error:
        raise InputError(
            f"--good {good}: not an ancestor of --bad {bad}; git merge-base names one that both share{shallow_hint()}"
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


def _described(*arguments: str) -> list[Commit]:
    lines = git("log", "--no-show-signature", "--no-color", "--encoding=UTF-8", "--format=%H %s", *arguments).split(
        "\n"
    )
    return [
        Commit(hash=name, subject=_as_utf8(subject)) for name, _, subject in (line.partition(" ") for line in lines)
    ]


def _as_utf8(text: str) -> str:
    """Text of git whose bytes need not be UTF-8."""
    return os.fsencode(text).decode(errors="replace")
