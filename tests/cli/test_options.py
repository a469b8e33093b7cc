"""What options can be, and which folder `--resume` goes on with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.command_line import vlbench
from vlbench.cli.options import parse_share, unfinished_folder
from vlbench.errors import InputError


@pytest.mark.parametrize(
    ("text", "share"), [("2%", 0.02), ("0.02", 0.02), (" 2.5 % ", 0.025), (".5", 0.5), ("99%", 0.99)]
)
def test_a_share_is_a_percentage_or_a_number(text: str, share: float) -> None:
    assert parse_share("--within", text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "0%", "1", "100%", "-2%", "two", "", "2%%"])
def test_what_is_no_share_is_one_line_that_says_what_works(text: str) -> None:
    with pytest.raises(InputError, match=r"--within .*: not a share between 0 and 100%; 2% or 0.02 works"):
        parse_share("--within", text)


def test_resume_goes_on_with_the_newest_folder_that_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="every run in results/local is finished"):
        unfinished_folder(None)
    for age, name in enumerate(("new", "old", "done")):
        folder = Path("results", "local", name)
        folder.mkdir(parents=True)
        (folder / "cells.jsonl").touch()
        if name != "done":
            journal = folder / "cells.unfinished.jsonl"
            journal.touch()
            os.utime(journal, (1_000_000 - age, 1_000_000 - age))
    assert unfinished_folder(None) == Path("results", "local", "new")
    assert unfinished_folder(Path("results", "local", "old")) == Path("results", "local", "old")
    with pytest.raises(InputError, match="--resume --out nowhere: no such folder"):
        unfinished_folder(Path("nowhere"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "--models", "vit-b16", "--image-size", ""], "--image-size"),
        (["run", "--models", "vit-b16", "--image-size="], "--image-size"),
        (["eval", "--models", "vilt", "--task", "shapes", "--answers", ""], "--answers"),
        (["train", "--models", "vilt", "--objectives="], "--objectives"),
        (["explain", "--model", "vilt", "--image", "a.jpg", "--text", "a cat", "--layer", ""], "--layer"),
        (["ab", "--models", "vilt", "--base", ""], "--base"),
        (["bisect", "--good", ""], "--good"),
        (["choose", ".", "--machine", ""], "--machine"),
        (["history", ".", "--model", ""], "--model"),
        (["reproduce", "nms-style", "--out", ""], "--out"),
        (["export", "shapes", "--out", ""], "--out"),
        (["list", "models", ""], "an argument"),
        (["show", ""], "an argument"),
        ([""], "an argument"),
    ],
)
def test_an_empty_word_is_refused_by_every_command(words: list[str], named: str) -> None:
    result = vlbench(*words)
    assert result.returncode == 2
    assert result.stderr == f"vlbench: {named} is empty; give it a value, or leave it out\n"
