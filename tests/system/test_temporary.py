"""Temporary folders: what a killed process leaves is removed by a later one, and nothing else ever is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from vlbench.system import temporary
from vlbench.system.temporary import CONTENT, OWNER, Owner, remove_leftovers, temporary_folder, this_process

HOLD = """
import sys, time
from vlbench.system.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "file").write_text("text")
    print(folder.parent, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def holder() -> tuple[subprocess.Popen, Path]:
    """A process that uses a temporary folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def write_leftover(folder: Path, **changes: object) -> Path:
    (folder / CONTENT).mkdir(parents=True)
    (folder / OWNER).write_text(this_process().model_copy(update=changes).model_dump_json())
    return folder


def test_what_a_killed_process_left_is_named_and_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    killed, left = holder()
    alive, used = holder()
    try:
        killed.kill()
        killed.wait()
        assert (left / CONTENT / "file").exists()
        with temporary_folder() as mine:
            assert capsys.readouterr().err == f"vlbench: removed {left}: left behind by a run that was killed\n"
            assert not left.exists()
            assert (used / CONTENT / "file").exists(), "its process is alive"
            remove_leftovers()
            assert mine.exists()
            assert capsys.readouterr().err == ""
    finally:
        alive.send_signal(signal.SIGINT)
        alive.wait()
    assert not [*folder.iterdir()]


def test_many_are_named_in_one_short_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(30):
        write_leftover(folder / f"vlbench-{number:02}")
    remove_leftovers()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "vlbench-02 and 27 more: left behind" in error
    assert not [*folder.iterdir()]


def test_only_what_is_surely_left_behind_is_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_leftover(folder / "vlbench-elsewhere", host="another", boot="another")
    write_leftover(folder / "vlbench-unknown", host="another", boot="")
    (folder / "vlbench-results").mkdir()
    (folder / "vlbench-notes" / CONTENT).mkdir(parents=True)
    (folder / "vlbench-notes" / OWNER).write_text('{"mine": true}')
    (folder / "vlbench-new").mkdir()
    (folder / "vlbench-new" / OWNER).touch()  # its owner waits for the lock
    (folder / "vlbench-file").write_text("text")
    write_leftover(folder / "another")
    (folder / "vlbench-link").symlink_to(folder / "another")
    before = sorted(path.name for path in folder.rglob("*"))
    remove_leftovers()
    assert sorted(path.name for path in folder.rglob("*")) == before
    mine = write_leftover(folder / "vlbench-mine")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    remove_leftovers()
    assert mine.exists(), "of another user"


@pytest.mark.parametrize(
    ("owner", "here"),
    [
        (Owner(host="a", boot="1", pid=1), True),
        (Owner(host="container", boot="1", pid=1), True),
        (Owner(host="a", boot="before", pid=1), True),
        (Owner(host="b", boot="2", pid=1), False),
        (Owner(host="b", boot="", pid=1), False),
    ],
)
def test_locks_are_believed_of_this_machine_alone(monkeypatch: pytest.MonkeyPatch, owner: Owner, here: bool) -> None:
    monkeypatch.setattr(temporary, "this_process", lambda: Owner(host="a", boot="1", pid=2))
    assert owner.was_here is here


INTERRUPTED = """
import shutil, signal
from vlbench.system.temporary import temporary_folder
remove = shutil.rmtree
def interrupted_remove(path, **options):
    signal.raise_signal(signal.SIGINT)
    remove(path, **options)
shutil.rmtree = interrupted_remove
with temporary_folder():
    pass
"""


def test_a_signal_waits_until_a_folder_is_removed(folder: Path) -> None:
    """In a process of its own, as a test's process may hold other folders and handlers."""
    process = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, env=environment())
    assert process.stderr.endswith("KeyboardInterrupt\n")
    assert not [*folder.iterdir()]
