"""`vlbench bisect` on git repositories whose revisions have made-up speeds, and once on a function that computes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.command_line import vlbench
from tests.paths import ROOT
from tests.regression.live.made_up import Repository
from vlbench.regression.live.bisect import Bisection
from vlbench.system.temporary import remove_leftovers


def started(folder: Path, *arguments: str) -> subprocess.Popen:
    """The vlbench of this checkout, called from where another one lies."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "vlbench", "bisect", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def bisect(folder: Path, *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(ROOT))
        process = vlbench("bisect", *arguments, cwd=folder)
    return process.returncode, process.stdout, process.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


QUICK = ("--budget", "1", "--threads", "1", "--format", "json")


@pytest.mark.slow
def test_two_culprits_a_broken_commit_and_a_merge(repository: Repository, tmp_path: Path) -> None:
    """Each commit has its own speeds; what lies on the merged branch is no step of its own."""
    repository.plan("Start")
    repository.git("tag", "v1")
    repository.plan("Nothing")
    repository.git("checkout", "-q", "-b", "side")
    repository.plan("Half of it", one=1.5)
    repository.plan("On a side branch", one=2)
    repository.git("checkout", "-q", "main")
    repository.git("commit", "-q", "--allow-empty", "-m", "Beside")
    repository.git("merge", "-q", "--no-ff", "-m", "Merge side", "side")
    merge = repository.git("rev-parse", "HEAD")
    repository.plan("Broken", broken=True)
    repository.plan("Not there", refused=["one", "two"])
    slow = repository.plan("The other", one=2, two=1.4)
    repository.plan("Last", one=2, two=1.4, three=1.01)
    (repository.folder / "mine.py").write_text("a change that is not committed")
    out = tmp_path / "answer.json"
    called = ["--good", "v1", "--callable", "mine:one", "--callable", "mine:two", "--callable", "mine:three"]
    code, output, told = bisect(repository.folder, *called, *QUICK, "--output", str(out))
    assert (code, output) == (1, ""), told
    found = Bisection.model_validate_json(out.read_text())
    answers = {one.workload: (one.status, [commit.hash for commit in one.commits]) for one in found.results}
    assert answers["mine:one"] == ("culprit", [merge])
    assert answers["mine:three"] == ("not slower", [])
    assert answers["mine:two"][0] == "range"
    assert answers["mine:two"][1][-1] == slow
    assert found.commit_count == 7
    assert found.results[0].step.effect
    assert found.results[0].step.effect.ratio == pytest.approx(1.3, rel=0.02)
    assert found.results[0].step.moved
    assert "good " in told.splitlines()[0]
    assert "7 commits, at most 4 to measure" in told.splitlines()[0]
    assert "No module named 'nothing_of_the_kind'" in told
    assert "no such function" in told
    assert len(repository.worktrees()) == 1
    assert (repository.folder / "mine.py").read_text() == "a change that is not committed"


def test_nothing_slower_and_a_table(repository: Repository) -> None:
    repository.plan("Start")
    repository.plan("Next", one=0.78)
    code, output, told = bisect(
        repository.folder, "--good", "HEAD~1", "--callable", "mine:one", "--budget", "1", "--threads", "1"
    )
    assert code == 0, told
    assert output.startswith("Nothing is slower at ")
    assert "1 of 1 commits measured" in output
    assert re.search(r"mine:one +-6\.\d% .* faster", output)


def test_an_older_vlbench_is_skipped(repository: Repository) -> None:
    """A worker of before live comparisons waits for the end of its input: it must not be waited for."""
    repository.plan("Start")
    old = "import sys, json; json.load(sys.stdin)"
    (repository.folder / "vlbench/runner/schemas.py").unlink()
    repository.write("vlbench/runner/worker.py", old)
    repository.commit("Old")
    repository.plan("Slow", one=2)
    called = ["--good", "HEAD~2", "--callable", "mine:one", *QUICK]
    code, output, told = bisect(repository.folder, *called)
    assert code == 3, told
    assert [len(one["commits"]) for one in json.loads(output)["results"]] == [2]
    assert "its vlbench is too old for a live comparison" in told


def test_bad_input_is_one_line(repository: Repository, tmp_path: Path) -> None:
    first = repository.plan("Start")
    repository.git("checkout", "-q", "-b", "other")
    repository.plan("Beside")
    repository.git("checkout", "-q", "main")
    repository.plan("Next")
    one = ("--callable", "mine:one")
    for folder, arguments, said in (
        (repository.folder, ("--good", "nowhere", *one), "--good nowhere: no git revision here; HEAD~10"),
        (repository.folder, ("--good", first, "--bad", "nowhere", *one), "--bad nowhere: no git revision here"),
        (repository.folder, ("--good", "other", *one), "--good other: not an ancestor of --bad HEAD"),
        (repository.folder, ("--good", "HEAD", *one), "--good HEAD, --bad HEAD: the same commit"),
        (repository.folder, ("--good", first), "nothing to compare: name --models vilt or --callable"),
        (tmp_path, ("--good", first, *one), "not a git repository"),
        (repository.folder, ("--good", first, *one, "--output", "no/where"), "--output no/where: no folder no"),
        (repository.folder, one, "--good"),
    ):
        code, output, told = bisect(folder, *arguments)
        assert (code, output) == (2, ""), told
        assert said in told
        assert told.count("\n") == 1, told
    shallow = tmp_path / "shallow"
    repository.git("clone", "-q", "--depth", "1", f"file://{repository.folder}", str(shallow))
    code, _, told = bisect(shallow, "--good", first, *one)
    assert code == 2
    assert "this clone is shallow" in told


def test_what_cannot_be_measured_at_bad_is_bad_input(repository: Repository) -> None:
    first = repository.plan("Start")
    repository.plan("Gone", refused=["one"])
    code, _, told = bisect(repository.folder, "--good", first, "--callable", "mine:one", *QUICK)
    assert code == 2
    assert "mine:one: good and bad cannot be compared: head: --callable mine:one: no such function" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        ([signal.SIGINT], 130, "vlbench: interrupted\n"),
        ([signal.SIGINT] * 2, 130, "vlbench: interrupted\n"),
        ([signal.SIGTERM], 143, "vlbench: ended by SIGTERM\n"),
        ([signal.SIGTERM] * 2, 143, "vlbench: ended by SIGTERM\n"),
        ([signal.SIGHUP], 129, "vlbench: ended by SIGHUP\n"),
        ([signal.SIGKILL], -9, ""),
    ],
    ids=["Ctrl-C", "two Ctrl-C", "SIGTERM", "two SIGTERM", "SIGHUP", "SIGKILL"],
)
def test_interrupted_it_leaves_nothing_behind(
    repository: Repository, sent: list[signal.Signals], code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After kill -9, the next run removes what is left."""
    folder = repository.folder.parent
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    first = repository.plan("Start")
    for number in range(3):
        repository.plan(f"Step {number}", seconds=30)
    process = started(repository.folder, "--good", first, "--callable", "mine:one", "--budget", "600")
    assert process.stderr
    while "measuring" not in process.stderr.readline():
        pass
    for _ in range(600):  # until its three processes have started
        time.sleep(0.05)
        processes = psutil.Process(process.pid).children(recursive=True)
        if len(processes) == 3:
            break
    time.sleep(0.5)
    assert len(processes) == 3
    assert len([*folder.glob("vlbench-*/files/checkout")]) == 2
    for number in sent:
        process.send_signal(number)
        time.sleep(0.02)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (code, said)
    assert not psutil.wait_procs(processes, timeout=5)[1]
    assert len(repository.worktrees()) == 1
    if sent == [signal.SIGKILL]:
        assert len([*folder.glob("vlbench-*")]) == 3, "two checkouts, and the folder of converted models"
        remove_leftovers()
    assert not [*folder.glob("vlbench-*")]


@pytest.mark.serial
@pytest.mark.slow
def test_a_function_that_computes(repository: Repository) -> None:
    """Live: three times the work, which little else hides."""
    text = "def speed():\n    for number in range({}):\n        last = number ** 0.5\n    return last\n"
    for count, message in ((4_000, "Start"), (12_000, "Slow")):
        repository.write("mine.py", text.format(count))
        repository.commit(message)
    called = ["--good", "HEAD~1", "--callable", "mine:speed", "--budget", "4", "--threads", "1", "--format", "json"]
    code, output, told = bisect(repository.folder, *called)
    if code == 3 or re.search(r"\d replicates\)", told):
        pytest.skip(f"this machine is too busy for a verdict: {told}")
    assert code == 1, told
    (found,) = json.loads(output)["results"]
    assert [commit["subject"] for commit in found["commits"]] == ["Slow"]
    assert 2 < found["step"]["effect"]["ratio"] < 4
