"""Live comparisons within git hooks: what is committed, the index and the work tree stay as the user left them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.helpers import others_slow
from tests.paths import ROOT
from tests.regression.live.made_up import Repository
from vlbench.regression.live.checkouts import checked_out
from vlbench.regression.live.revisions import commit_of, git
from vlbench.runner.worker_client import Worker

PLUGIN = (
    [] if any(point.name == "vlbench" for point in entry_points(group="pytest11")) else ["-p", "vlbench.pytest_plugin"]
)
LOCAL_VARIABLES = subprocess.run(
    ["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True
).stdout.split()
CHECK_OUT = "from vlbench.regression.live.checkouts import checked_out\nwith checked_out('HEAD') as folder: pass"
QUICK = "--callable mine:one --budget 1 --threads 1"
FIXTURE = """
from mine import one

def test_speed(vlbench):
    vlbench.assert_not_slower(one, "HEAD", budget_seconds=0.2)
"""


def python(arguments: str) -> str:
    return f"{sys.executable} -P {arguments}"


COMMANDS = {
    "a checkout": python(f'-c "{CHECK_OUT}"'),
    "ab": python(f"-m vlbench ab --base HEAD --head . {QUICK}"),
    "bisect": python(f"-m vlbench bisect --good HEAD~1 {QUICK}"),
    "the fixture": python(f"-m pytest -q -p no:cacheprovider {' '.join(PLUGIN)} test_speed.py"),
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Two commits of a made-up vlbench, and a hook that keeps what the command printed, and its exit code."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    repository = Repository(tmp_path / "repository")
    repository.write(".gitignore", "__pycache__\n")
    repository.write("mine.py", "def one():\n    return 1\n")
    repository.write("test_speed.py", FIXTURE)
    repository.plan("Start")
    repository.write("staged.txt", "old\n")
    repository.write("other.txt", "old\n")
    repository.plan("Next")
    monkeypatch.chdir(repository.folder)
    return repository


def add_hook(repository: Repository, command: str) -> Path:
    """Returns the file that the hook writes to."""
    output = repository.folder.parent / "output.txt"
    hook = repository.folder / ".git" / "hooks" / "pre-commit"
    hook.write_text(f"#!/bin/sh\n{command} > {output} 2>&1 < /dev/null\necho exit $? >> {output}\n")
    hook.chmod(0o755)
    return output


def assert_commit_holds_new_files(repository: Repository, tree: Path, way: str, output: Path) -> None:
    """Commits `new` in three files by one of the ways of git commit, with the hook, and looks at all that git says."""
    for name in ("staged.txt", "other.txt", "mine.py"):
        content = (tree / name).read_text()
        (tree / name).write_text(content.replace("old", "new").replace("return 1", "return 2"))

    def run(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=tree, check=True, capture_output=True, text=True).stdout

    run("add", "staged.txt")
    arguments = {"plain": [], "all": ["-a"], "path": ["other.txt"]}[way]
    run("commit", "-q", "-m", "Hooked", *arguments)
    committed = {
        "plain": ["staged.txt"],
        "all": ["mine.py", "other.txt", "staged.txt"],
        "path": ["other.txt"],
    }[way]
    names = ["mine.py", "other.txt", "staged.txt"]
    assert "exit" in output.read_text(), output.read_text()
    assert run("show", "--format=", "--name-only", "HEAD").split() == committed, output.read_text()
    for name in committed:
        assert ("return 2" if name == "mine.py" else "new\n") in run("show", f"HEAD:{name}")
    status = {name: line[:2] for line in run("status", "--porcelain").splitlines() for name in [line[3:]]}
    left = [name for name in names if name not in committed]
    assert status == {name: "M " if name == "staged.txt" else " M" for name in left}
    assert len(repository.worktrees()) == 1 + (tree != repository.folder)
    assert not [path.name for path in tree.parent.glob("vlbench-*")]


@pytest.mark.parametrize(("way", "linked"), [("plain", False), ("all", False), ("path", False), ("path", True)])
def test_a_checkout_in_a_hook_leaves_the_commit_alone(repository: Repository, way: str, linked: bool) -> None:
    output = add_hook(repository, COMMANDS["a checkout"])
    tree = repository.folder
    if linked:
        tree = repository.folder.parent / "linked"
        repository.git("worktree", "add", "-q", "-b", "other", str(tree))
    assert_commit_holds_new_files(repository, tree, way, output)
    assert output.read_text() == "exit 0\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["ab", "bisect", "the fixture"])
@pytest.mark.parametrize("way", ["plain", "all", "path"])
def test_commands_in_a_hook_leave_the_commit_alone(repository: Repository, command: str, way: str) -> None:
    output = add_hook(repository, COMMANDS[command])
    assert_commit_holds_new_files(repository, repository.folder, way, output)
    expected = {"ab": "BASE HEAD (", "bisect": "Nothing is slower", "the fixture": "exit 0"}[command]
    assert expected in output.read_text(), output.read_text()


@pytest.mark.parametrize("name", others_slow(LOCAL_VARIABLES, first=3))
def test_the_repository_is_that_of_the_directory(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    other = Repository(tmp_path / "other")
    other.commit("Of another repository")
    commit = repository.git("rev-parse", "HEAD")
    index = (other.folder / ".git" / "index").read_bytes()
    value = {
        "GIT_DIR": other.folder / ".git",
        "GIT_COMMON_DIR": other.folder / ".git",
        "GIT_WORK_TREE": other.folder,
        "GIT_INDEX_FILE": other.folder / ".git" / "index",
        "GIT_OBJECT_DIRECTORY": other.folder / ".git" / "objects",
        "GIT_CONFIG_PARAMETERS": "'core.bare'='true'",
        "GIT_CONFIG_COUNT": "not a number",
    }.get(name, "nowhere")
    monkeypatch.setenv(name, str(value))
    assert commit_of("HEAD") == commit
    assert Path(git("rev-parse", "--show-toplevel")) == repository.folder
    with checked_out("HEAD~1") as folder:
        assert not (folder / "staged.txt").exists()
        assert (folder / "mine.py").exists()
    assert (other.folder / ".git" / "index").read_bytes() == index


def test_measured_code_does_not_see_the_index_that_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LOCAL_VARIABLES, "GIT_QUARANTINE_PATH"):
        monkeypatch.setenv(name, "nowhere")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "A")
    script = "import json, os; print(json.dumps({'names': [name for name in os.environ if name.startswith('GIT_')]}))"
    with closing(Worker(1, command=[sys.executable, "-c", script])) as worker:
        worker.start()
        assert set(worker.receive(30)["names"]) & {*LOCAL_VARIABLES, "GIT_QUARANTINE_PATH"} == set()
    assert os.environ["GIT_DIR"] == "nowhere", "this process may be another's, and keeps its environment"
