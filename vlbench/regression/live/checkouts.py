"""Temporary checkouts of a commit with its submodules.

A checkout is a work tree of the user's repository that the repository does not know of: its HEAD and its index lie in
the temporary folder, and only objects and configuration are read from the repository (gitrepository-layout(5),
`commondir`). So nothing in the repository changes, and nothing in it is left behind however this process ends.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vlbench.regression.live.revisions import GitError, commit_of, git
from vlbench.runner.reader import warn
from vlbench.system.temporary import temporary_folder

SUBMODULE_MODE = "160000"


@contextmanager
def checked_out(commit: str, repository: Path | None = None, warn: Callable[[str], object] = warn) -> Iterator[Path]:
    """A temporary folder with that commit and its submodules, removed at the end.

    Submodules come from this clone alone. One that is not initialised in the user's work tree either is left empty,
    with a warning. Raises GitError, which names the submodule where one is not here.

    Args:
        commit: its hash, or another name of it.
        repository: a folder in it; by default the working directory.
    """
    with temporary_folder() as parent:
        folder = parent / "checkout"
        commit_hash = commit_of(commit, repository)
        _check_out(_repository_at(repository or Path.cwd()), commit_hash, folder, warn, folder)
        yield folder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repository:
    """A repository of this machine. `work_tree` is None if it has none, or one that does not matter."""

    git_folder: Path
    common_folder: Path
    work_tree: Path | None = None

    def git(self, *arguments: str) -> str:
        """Runs git without a look at the work tree, which may be gone. Raises GitError."""
        return git(f"--git-dir={self.git_folder}", f"--work-tree={self.git_folder}", *arguments)

    def submodule(self, path: str, name: str | None, commit: str) -> _Repository | None:
        """A repository that has this commit of a submodule; None if there is none here."""
        for repository in self._submodules(path, name):
            try:
                repository.git("cat-file", "-e", f"{commit}^{{commit}}")
                return repository
            except GitError:
                continue
        return None

    def _submodules(self, path: str, name: str | None) -> Iterator[_Repository]:
        """In the work tree, or where git keeps those that are not, or no longer, checked out."""
        if self.work_tree and (self.work_tree / path / ".git").exists():
            with suppress(GitError):
                yield _repository_at(self.work_tree / path)
        for folder in (self.git_folder, self.common_folder):
            if name and (folder / "modules" / name).is_dir():
                yield _Repository(git_folder=folder / "modules" / name, common_folder=folder / "modules" / name)

    def lacks(self, path: str) -> bool:
        """Whether the work tree has the empty folder of a submodule that is not initialised."""
        folder = self.work_tree and self.work_tree / path
        return bool(folder and folder.is_dir() and not any(folder.iterdir()))


def _repository_at(folder: Path) -> _Repository:
    git_folder, common_folder = git("rev-parse", "--absolute-git-dir", "--git-common-dir", folder=folder).split("\n")
    try:
        work_tree = Path(git("rev-parse", "--show-toplevel", folder=folder))
    except GitError:
        work_tree = None
    return _Repository(
        git_folder=Path(git_folder), common_folder=(folder / common_folder).resolve(), work_tree=work_tree
    )


def _check_out(repository: _Repository, commit: str, folder: Path, warn: Callable[[str], object], top: Path) -> None:
    """Checks out a commit into a folder, which is `top` or, for a submodule, lies in it; then its submodules."""
    git_folder = Path(tempfile.mkdtemp(prefix="git-", dir=top.parent))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".git").write_text(f"gitdir: {git_folder}\n")
    (git_folder / "gitdir").write_text(f"{folder / '.git'}\n")
    (git_folder / "commondir").write_text(f"{repository.common_folder}\n")
    (git_folder / "HEAD").write_text(f"{commit}\n")
    if (repository.common_folder / "reftable").is_dir():  # where git keeps HEAD in repositories of another format
        (git_folder / "reftable").mkdir()
    sparse = _copy_sparse_checkout(repository, git_folder)
    git(*sparse, "checkout", "--quiet", "--force", "--no-recurse-submodules", "--detach", commit, folder=folder)
    for path, name, submodule_commit in _submodules(folder):
        label = (folder / path).relative_to(top)
        submodule = repository.submodule(path, name, submodule_commit)
        if submodule:
            _check_out(submodule, submodule_commit, folder / path, warn, top)
        elif repository.lacks(path):
            warn(f"submodule {label}: empty, as in the work tree; git submodule update --init --recursive fetches it")
        else:
            raise GitError(
                f"submodule {label}: its commit {submodule_commit[:10]} is not in this clone; with {commit[:10]} "
                "checked out, git submodule update --init --recursive fetches it"
            )


def _copy_sparse_checkout(repository: _Repository, git_folder: Path) -> tuple[str, ...]:
    """Copies the patterns of a sparse checkout, and returns the options of git that apply them."""
    options = []
    for key in ("core.sparseCheckout", "core.sparseCheckoutCone"):
        options += ["-c", f"{key}={repository.git('config', '--type=bool', '--default=false', key)}"]
    patterns = repository.git_folder / "info" / "sparse-checkout"
    if options[1].endswith("false") or not patterns.is_file():
        return ()
    (git_folder / "info").mkdir()
    shutil.copy(patterns, git_folder / "info")
    return tuple(options)


def _submodules(folder: Path) -> list[tuple[str, str | None, str]]:
    """Path, name and commit of each submodule of a checkout. One that .gitmodules does not list has no name."""
    try:
        listed = git(
            "config", "--blob=HEAD:.gitmodules", "--null", "--get-regexp", r"^submodule\..*\.path$", folder=folder
        )
    except GitError:
        listed = ""
    names = {path: key[len("submodule.") : -len(".path")] for key, _, path in _split(listed, "\n")}
    entries = _split(git("ls-files", "--stage", "-z", folder=folder), "\t")
    return [
        (path, name if (name := names.get(path)) and ".." not in Path(name).parts else None, entry.split(" ")[1])
        for entry, _, path in entries
        if entry.startswith(SUBMODULE_MODE)
    ]


def _split(output: str, separator: str) -> list[tuple[str, str, str]]:
    return [line.partition(separator) for line in output.split("\0") if line]
