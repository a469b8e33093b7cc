""".ci/gate: a verdict is advice, a crash is not."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.ci.conftest import Runner
from tests.ci.guide import ROOT, parse
from tests.regression.live.made_up import Repository


@pytest.mark.parametrize(
    ("code", "table", "error", "status"),
    [
        (0, True, "", 0),
        (1, True, "", 0),
        (3, True, "", 0),
        (1, False, "vlbench: head: the worker was killed", 1),
        (1, False, "Traceback (most recent call last):", 1),
        (2, False, "vlbench: --models: no model", 1),
        (2, False, "vlbench: base (HEAD~1 (abc)): its vlbench is too old for a live comparison; a later works", 0),
        (2, False, "vlbench: head (.): its vlbench is too old for a live comparison; a later works", 1),
        (130, True, "", 1),
    ],
)
def test_our_own_gate_fails_on_a_crash_alone(runner: Runner, code: int, table: bool, error: str, status: int) -> None:
    repository = Repository(runner.work)
    (runner.work / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "gate", runner.work / ".ci" / "gate")
    repository.commit("Start")
    repository.commit("Next")
    written = 'echo "the table" > "${@: -1}"' if table else ":"
    said = f"echo '{error}' >&2" if error else ":"
    runner.program("vlbench", f'echo "$@" > {runner.folder}/called\n{written}\n{said}\nexit {code}')
    process = subprocess.run(
        [str(runner.work / ".ci" / "gate")],
        env=os.environ | {"PATH": f"{runner.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == status, process.stderr
    assert error in process.stderr
    if table and status == 0:
        assert "the table" in process.stdout
        assert f"advice: exit code {code}" in process.stdout
    called = parse((runner.folder / "called").read_text().split())
    assert (called["base"], called["head"], called["models"]) == ("HEAD~1", ".", "vit-b32")


def test_our_own_gate_in_a_shallow_clone_or_none(runner: Runner) -> None:
    (runner.work / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "gate", runner.work / ".ci" / "gate")
    runner.program("vlbench", f'echo "$@" > {runner.folder}/called; touch "${{@: -1}}"')
    environment = os.environ | {"PATH": f"{runner.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for clone in (False, True):
        if clone:
            Repository(runner.work).commit("Alone")
        process = subprocess.run([str(runner.work / ".ci" / "gate")], env=environment, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        assert parse((runner.folder / "called").read_text().split())["base"] == "."
