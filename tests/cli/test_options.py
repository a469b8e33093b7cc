"""What options can be, and which folder `--resume` goes on with."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import vlbench
from vlbench.cli.options import parse_share, unfinished_folder
from vlbench.errors import InputError
from vlbench.runner.plan import RunSettings


@pytest.mark.parametrize(
    ("text", "share"), [("2%", 0.02), ("0.02", 0.02), (" 2.5 % ", 0.025), (".5", 0.5), ("99%", 0.99)]
)
def test_a_share_is_a_percentage_or_a_number(text: str, share: float) -> None:
    assert parse_share("--within", text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "0%", "1", "100%", "-2%", "two", "", "2%%"])
def test_what_is_no_share_is_one_line_that_says_what_works(text: str) -> None:
    with pytest.raises(InputError, match=r"--within .*: not a share between 0 and 100%; 2% or 0.02 works"):
        parse_share("--within", text)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--budget", value) for value in ("inf", "1e308", "nan", "604801", "0", "-1")),
        *((option, str(2**70)) for option in ("--batch", "--threads", "--text-tokens", "--restarts")),
        *(("--image-size", value) for value in ("", "32x32\n", "٣٢x٣٢", f"{2**70}x32")),
        *(("--text", value) for value in ("", "  ", "\x1b\x07\x9b")),
    ],
)
def test_a_number_out_of_bounds_is_refused_before_anything_is_measured(tmp_path: Path, option: str, value: str) -> None:
    refused = vlbench("run", "--models", "vit-b32", "--device", "cpu", option, value, "--out", tmp_path / "out")
    assert refused.returncode == 2
    assert option in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_batch_whose_images_fill_the_memory_is_refused(tmp_path: Path) -> None:
    refused = vlbench("run", "--models", "vit-b32", "--device", "cpu", "--batch", 10**6, "--out", tmp_path / "out")
    assert refused.returncode == 2
    assert "1000000 images of 224x224 pixels for vit-b32 take 561 GiB" in refused.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("budget_seconds", math.inf), ("budget_seconds", math.nan), ("batch", 2**70), ("threads", 0)]
)
def test_settings_of_the_python_interface_have_the_same_bounds(name: str, value: float) -> None:
    settings: dict[str, Any] = {"threads": 1, name: value}
    with pytest.raises(InputError, match=rf"{name} {value}: not between 0 and [0-9,]+"):
        RunSettings(**settings)


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
