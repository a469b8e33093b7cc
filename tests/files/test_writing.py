"""A file that is replaced is complete or as it was, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vlbench.files.writing import UNFINISHED, replacing, write_text


def test_the_new_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    write_text(path, "first: é\n")
    with replacing(path) as unfinished:
        unfinished.write_text("second")
        assert path.read_text(encoding="utf-8") == "first: é\n"
    assert path.read_text() == "second"
    assert os.listdir(tmp_path) == ["model.yaml"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_after_an_error_the_file_is_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "table.md"
    path.write_text("before")

    def write() -> None:
        with replacing(path) as unfinished:
            unfinished.write_text("half of the tab")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["table.md"]


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("real.json")
    write_text(tmp_path / "link.json", "[]")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "[]"
    write_text(Path("/dev/null"), "nothing")
    assert Path("/dev/null").is_char_device()


def test_a_folder_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_text(tmp_path / "absent" / "a.txt", "")
    with pytest.raises(OSError, match="Is a directory"):
        write_text(tmp_path, "")


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "reproduction.json"
    path.write_text("old")
    script = (
        "import sys, time; from pathlib import Path; from vlbench.files.writing import replacing\n"
        "with replacing(Path(sys.argv[1])) as unfinished:\n"
        "    unfinished.write_text('ne'); time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)])
    unfinished = tmp_path / f"reproduction.json{UNFINISHED}"
    while not unfinished.exists() or unfinished.read_text() != "ne":
        time.sleep(0.02)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert path.read_text() == "old"
    write_text(path, "new")
    assert os.listdir(tmp_path) == ["reproduction.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_is_named() -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_text(Path("/dev/full"), "text")
    assert caught.value.filename == "/dev/full"
