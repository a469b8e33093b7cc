"""Checkouts: the submodules that a commit records, from this clone alone, and a repository that stays as it was."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import others_slow
from tests.regression.live.made_up import Repository
from vlbench.errors import InputError
from vlbench.regression.live.checkouts import checked_out
from vlbench.regression.live.revisions import GitError, commits_between
from vlbench.regression.live.sides import open_sides

LOCAL = ("-c", "protocol.file.allow=always")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that is empty afterwards."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert not [*folder.iterdir()]


@pytest.fixture
def library(tmp_path: Path) -> Repository:
    """A library with a submodule of its own, each at its second commit."""
    inner = Repository(tmp_path / "inner")
    for number in (1, 2):
        inner.write("inner.py", f"X = {number}\n")
        inner.commit(f"Inner {number}")
    library = Repository(tmp_path / "library")
    library.git(*LOCAL, "submodule", "--quiet", "add", "../inner", "deep/inner")
    for number in (1, 2):
        library.git("-C", "deep/inner", "checkout", "-q", "HEAD~1" if number == 1 else "main")
        library.write("lib.py", f"X = {number}\n")
        library.commit(f"Library {number}")
    return library


@pytest.fixture
def repository(tmp_path: Path, library: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Two commits, with the library at its first commit and at its second."""
    repository = Repository(tmp_path / "repository")
    repository.git(*LOCAL, "submodule", "--quiet", "add", "../library", "vendored")
    repository.git(*LOCAL, "submodule", "--quiet", "update", "--init", "--recursive")
    for number in (1, 2):
        repository.git("-C", "vendored", "checkout", "-q", "HEAD~1" if number == 1 else "main")
        repository.git("-C", "vendored", *LOCAL, "submodule", "--quiet", "update", "--init")
        repository.commit(f"Commit {number}")
    for origin in (library.folder, tmp_path / "inner"):
        shutil.rmtree(origin)
    monkeypatch.chdir(repository.folder)
    return repository


def state(folder: Path) -> dict[str, str]:
    """A digest of every file of a repository and its submodules, those of git included."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def assert_library(folder: Path, number: int) -> None:
    assert (folder / "vendored/lib.py").read_text() == f"X = {number}\n"
    assert (folder / "vendored/deep/inner/inner.py").read_text() == f"X = {number}\n"


@pytest.mark.parametrize("way", others_slow(["linked", "cloned", "moved", "removed", "embedded"]))
def test_submodules_are_those_of_the_commit(repository: Repository, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base = repository.git("rev-parse", "HEAD~1")
    if way == "linked":
        repository.git("worktree", "add", "-q", "../linked", "HEAD")
        monkeypatch.chdir("../linked")
    if way == "moved":
        repository.git("mv", "vendored", "other")
        repository.commit("Moved")
    if way == "removed":
        repository.git("rm", "-q", "vendored")
        repository.commit("Removed")
    if way == "embedded":  # as git before 1.7.8, or `git add` of a clone, leaves it
        (repository.folder / "vendored/.git").unlink()
        (repository.folder / ".git/modules/vendored").rename(repository.folder / "vendored/.git")
        repository.git("config", "--file", "vendored/.git/config", "--unset", "core.worktree")
    before = state(repository.folder)
    for revision, number in ((base, 1), ("HEAD", 2)):
        if way in ("moved", "removed") and number == 2:
            continue
        with checked_out(revision) as folder:
            assert_library(folder, number)
            for path in (".", "vendored", "vendored/deep/inner"):
                assert git_in(folder / path, "rev-parse", "--show-toplevel") == str((folder / path).resolve())
                assert git_in(folder / path, "status", "--porcelain") == ""
    assert state(repository.folder) == before, "the user's repository stays as it was, to the last byte"


def git_in(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_a_submodule_that_is_not_in_the_clone(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "clone"
    repository.git("clone", "-q", ".", str(clone))
    monkeypatch.chdir(clone)
    with checked_out("HEAD~1") as folder:
        assert not [*(folder / "vendored").iterdir()]
    assert capsys.readouterr().err == (
        "vlbench: submodule vendored: empty, as in the work tree; git submodule update --init --recursive fetches it\n"
    )
    (clone / "vendored").rmdir()
    with pytest.raises(GitError, match=r"^submodule vendored: its commit [0-9a-f]{10} is not in this clone; with "):
        checked_out("HEAD~1").__enter__()
    with (
        pytest.raises(InputError, match=r"^--base HEAD~1: git could not .*: submodule vendored: its commit"),
        open_sides("HEAD~1", ".", base_options={}, head_options={}),
    ):
        pass


def test_a_nested_submodule_that_is_not_in_the_clone(repository: Repository) -> None:
    shutil.rmtree(repository.folder / ".git/modules/vendored/modules")
    shutil.rmtree(repository.folder / "vendored/deep/inner")
    with pytest.raises(GitError, match=r"^submodule vendored/deep/inner: its commit"):
        checked_out("HEAD~1").__enter__()


def test_a_commit_of_a_submodule_that_is_not_in_the_clone(repository: Repository, tmp_path: Path) -> None:
    repository.git("update-index", "--cacheinfo", f"160000,{'1' * 40},vendored")
    repository.git("commit", "-q", "-m", "Not pushed")
    with pytest.raises(GitError, match=r"^submodule vendored: its commit 1111111111 is not in this clone"):
        checked_out("HEAD").__enter__()


def test_a_repository_that_cannot_be_written_can_be_checked_out(repository: Repository) -> None:
    """And one that is bare, that is sparse, or whose configuration starts daemons and recurses into submodules."""
    repository.git("config", "submodule.recurse", "true")
    repository.git("config", "core.fsmonitor", "true")
    repository.git("config", "core.hooksPath", "/nowhere")
    with checked_out("HEAD~1") as folder:
        assert_library(folder, 1)
    repository.git("config", "core.bare", "true")
    with checked_out("HEAD~1", repository.folder / ".git") as folder:
        assert_library(folder, 1)


@pytest.mark.parametrize("cone", [True, False])
def test_a_sparse_checkout_is_as_sparse(tmp_path: Path, cone: bool) -> None:
    repository = Repository(tmp_path / "sparse")
    for name in ("top.txt", "in/file.txt", "out/file.txt"):
        repository.write(name, "text\n")
    repository.commit("All")
    repository.git("sparse-checkout", "set", "--cone" if cone else "--no-cone", "in")
    with checked_out("HEAD", repository.folder) as folder:
        assert (folder / "in/file.txt").exists()
        assert not (folder / "out").exists()
        assert git_in(folder, "ls-files").split() == ["in/file.txt", "out/file.txt", "top.txt"]
        assert (folder / "top.txt").exists() is cone


def test_subjects_may_hold_any_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(tmp_path / "subjects")
    first = repository.commit("First")
    repository.commit("A line\u2028separator, a next\x85line, and a form\x0cfeed")
    repository.git("config", "i18n.logOutputEncoding", "ISO-8859-1")
    text = repository.git("cat-file", "commit", repository.commit("Caf\u00e9, and bytes"))
    raw = text.encode().replace(b"bytes", b"\xff\n")
    parent = repository.git("rev-parse", "HEAD").encode()
    raw = b"\n".join(b"parent " + parent if line.startswith(b"parent") else line for line in raw.split(b"\n"))
    command = ["git", "hash-object", "-t", "commit", "-w", "--stdin"]
    written = subprocess.run(command, input=raw, cwd=repository.folder, capture_output=True, check=True)
    repository.git("reset", "-q", "--hard", written.stdout.decode().strip())
    monkeypatch.chdir(repository.folder)
    _, commits = commits_between(first, "HEAD")
    assert [commit.subject for commit in commits] == [
        "A line\u2028separator, a next\x85line, and a form\x0cfeed",
        "Caf\u00e9, and bytes",
        "Caf\u00e9, and \ufffd",
    ]
