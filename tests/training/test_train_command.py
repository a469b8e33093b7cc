"""`vlbench train` as a user runs it: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tests.command_line import kept_workers
from vlbench.cli.main import app
from vlbench.errors import InputError
from vlbench.tasks.shapes import items

FEW = {"test": 3, "val": 2, "train": 20}
SHORT = ["--budget", "32", "--batch", "16", "--workers", "0", "--threads", "1"]


@pytest.fixture(autouse=True)
def _small_world(monkeypatch: pytest.MonkeyPatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(items, "SCENES", FEW)
    yield
    torch.set_num_threads(threads)


def train(*arguments: str):
    with kept_workers():
        return CliRunner().invoke(app, ["train", *arguments])


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_accuracy_and_latency_of_what_was_trained(tmp_path: Path) -> None:
    done = train("--models", "vilt,pixelbert", *SHORT, "--latency-budget", "0.2", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    evaluations = lines(tmp_path / "evaluations.jsonl")
    assert [evaluation["model"] for evaluation in evaluations] == ["vilt-b32-tiny", "pixelbert-r50-tiny"]
    for evaluation in evaluations:
        assert evaluation["training"]["preset"] == "tiny"  # type: ignore[index]
        assert evaluation["training"]["samples"] == 32  # type: ignore[index]
        assert set(evaluation["accuracy"]) >= {
            "task",
            "split",
            "value",
            "ci95",
            "n",
            "majority",
            "text_only",
            "shuffled_images",
        }  # type: ignore[call-overload]
        assert (tmp_path / str(evaluation["model"]) / "model.yaml").is_file()
    assert {cell["spec_hash"] for cell in lines(tmp_path / "cells.jsonl")} == {
        evaluation["spec_hash"] for evaluation in evaluations
    }
    assert (tmp_path / "frontier-shapes-test.png").is_file()
    assert "tiny, 32 samples" in done.output

    again = train("--models", "vilt,pixelbert", *SHORT, "--no-latency", "--out", str(tmp_path))
    assert again.exit_code == 0, again.output
    assert lines(tmp_path / "evaluations.jsonl") == evaluations

    shown = CliRunner().invoke(app, ["show", str(tmp_path), "--format", "json"])
    first = json.loads(shown.stdout)[0]
    assert first["training"]["seed"] == 0
    assert first["accuracy"]["task"] == "shapes"


def test_a_data_set_from_files(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / "data" / split
        (folder / "images").mkdir(parents=True)
        questions = [["what color is it?", ["red", "blue"][number % 2], number] for number in range(6)]
        (folder / "questions.json").write_text(json.dumps(questions), encoding="utf-8")
        for _, colour, number in questions:
            Image.new("RGB", (64, 64), str(colour)).save(folder / "images" / f"{number}.png")
    (tmp_path / "data" / "answers.txt").write_text("red\nblue\nyes\n", encoding="utf-8")
    arguments = ["--models", "vilt", "--task", "easy-vqa", "--data", str(tmp_path / "data"), "--learning-rate", "1e-3"]
    done = train(*arguments, *SHORT, "--budget", "640", "--no-latency", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    (evaluation,) = lines(tmp_path / "out" / "evaluations.jsonl")
    assert evaluation["accuracy"]["value"] == 1.0  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "vilt", "--budget", "25m"], "minutes or millions?"),
        (["--models", "clip"], "clip-vit-b32 answers no questions; vilt, pixelbert and uniter work"),
        (["--models", "hf-vilt"], "not made of vlbench's own parts"),
        (
            ["--models", "vilt", "--objectives", "mrfr"],
            "vilt-b32-tiny cannot be trained on mrfr; vqa works for all models",
        ),
        (["--models", "vilt", "--recipe", "alignment=0.1"], "--recipe: alignment is added to image-text matching"),
        (["--models", "vilt", "--objectives", "mln"], "no such objective; did you mean mlm"),
        (["--models", "vilt", "--task", "shape"], "no such task; did you mean shapes"),
        (["--models", "vilt", "--task", "nlvr2"], "models are trained on easy-vqa or shapes"),
        (["--models", "vilt", "--task", "easy-vqa"], "needs its files; --data DIR"),
        (["--models", "vilt", "--batch", "4", "--accumulate", "8"], "cannot be cut into 8"),
        (["--models", "vilt", "--budget", "1e999"], "--budget 1e999: nothing could be trained"),
    ],
)
def test_what_cannot_be_trained(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = train(*arguments, "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--seed", str(seed)] for seed in (-1, 2**63, 2**64, 2**70, -(2**63) - 1)),
        *(["--learning-rate", rate] for rate in ("nan", "inf", "-inf", "1e300", "0", "-1")),
        ["--latency-budget", "nan"],
    ],
    ids=" ".join,
)
def test_numbers_out_of_range_are_refused(arguments: list[str], tmp_path: Path) -> None:
    done = train("--models", "vilt", *arguments, "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert arguments[0] in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_the_greatest_seed_and_rate_are_no_crash(tmp_path: Path) -> None:
    """A rate that makes weights overflow is told by the first checkpoint, and no such weights are saved."""
    options = ["--budget", "3steps", "--batch", "2", "--workers", "0", "--threads", "1", "--seed", str(2**63 - 1)]
    done = train("--models", "vilt", *options, "--no-latency", "--out", str(tmp_path / "seed"))
    assert done.exit_code == 0, done.output
    diverged = train("--models", "vilt", *options, "--learning-rate", "1000", "--no-latency", "--out", str(tmp_path))
    assert diverged.exit_code in (0, 1)
    if diverged.exception is not None and diverged.exit_code:
        assert "is not finite; a lower learning rate or fp32 works" in str(diverged.exception)
        assert not (tmp_path / "vilt-b32-tiny" / "model.yaml").exists()


@pytest.mark.parametrize("name", ["cells.jsonl", "evaluations.jsonl"])
def test_a_folder_of_another_schema_is_refused_before_training(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"schema":4}\n')
    done = train("--models", "vilt", *SHORT, "--out", str(tmp_path))
    assert isinstance(done.exception, InputError)
    assert f"{tmp_path / name} line 1: schema 4, but this vlbench reads schema 5 only" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    quick = [*SHORT, "--no-latency", "--out", str(tmp_path)]
    assert train("--models", "vilt", *quick).exit_code == 0
    other = train("--models", "vilt", *quick, "--learning-rate", "1e-3")
    assert isinstance(other.exception, InputError)
    assert "trained with learning rate 0.0007, but this run has 0.001" in str(other.exception)
