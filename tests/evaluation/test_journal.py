"""Predictions survive a kill, also those of other processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.errors import InputError
from vlbench.evaluation.predict import Journal


def test_predictions_are_read_by_all_processes(tmp_path: Path) -> None:
    first, second = (Journal(tmp_path / "out", "vilt.nlvr.dev.1a", rank) for rank in (0, 1))
    first.append({"1": "true"})
    second.append({"2": "false"})
    for journal in (first, second):
        journal.close()
    again = Journal(tmp_path / "out", "vilt.nlvr.dev.1a", 0)
    assert again.done == {"1": "true", "2": "false"}
    assert Journal(tmp_path / "out", "vilt.nlvr.dev.2b", 0).done == {}
    assert Journal(tmp_path / "out", "vilt.nlvr.dev.1a.shuffled-images", 0).done == {}
    again.delete()
    assert Journal(tmp_path / "out", "vilt.nlvr.dev.1a", 0).done == {}


def test_a_line_that_was_cut_off_is_predicted_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "m", 0)
    journal.append({"1": "true", "2": "true"})
    journal.close()
    with journal.path.open("a") as file:
        file.write('{"3": "tr')
    again = Journal(tmp_path, "m", 0)
    assert again.done == {"1": "true", "2": "true"}
    again.append({"3": "false"})
    assert Journal(tmp_path, "m", 1).done == {"1": "true", "2": "true", "3": "false"}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^--out .*file: cannot be written"):
        Journal(tmp_path / "file", "m", 0)
