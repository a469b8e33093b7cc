"""`vlbench score` on the command line: each task's table and JSON, blind baselines, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.tasks import data_sets
from vlbench.cli.main import app
from vlbench.errors import InputError
from vlbench.tasks import predictions as files
from vlbench.tasks.registry import TASKS
from vlbench.tasks.scoring import majority_answer, text_only_answers


def score(*arguments: object) -> str:
    found = CliRunner().invoke(app, ["score", *map(str, arguments)])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.stdout


def as_json(*arguments: object) -> dict:
    return json.loads(score(*arguments, "--format", "json"))


def by_name(metrics: list[dict]) -> dict[str, float]:
    return {metric["name"]: metric["value"] for metric in metrics}


def test_vqav2_by_kind_of_answer(tmp_path: Path) -> None:
    data_sets.vqav2(tmp_path)
    files.write_answers(tmp_path / "results.json", {str(number): "Yes." for number in range(100, 112)})
    found = as_json("--task", "vqav2", "--data", tmp_path, "--predictions", tmp_path / "results.json")
    metrics = by_name(found["metrics"])
    # All ten agree in every fourth question, and nothing is normalised there, so that "Yes." is wrong.
    assert metrics["accuracy"] == pytest.approx(9 / 12)
    assert set(metrics) == {"accuracy", "accuracy, number", "accuracy, other", "accuracy, yes/no"}
    assert by_name(found["baselines"]) == {"majority (yes)": 1.0, "text only (other items)": 1.0}
    assert (found["schema"], found["split"], found["n"], found["items_total"]) == (1, "val", 12, 12)


def test_nlvr2_with_consistency_and_balance(tmp_path: Path) -> None:
    items = TASKS["nlvr2"].items(data_sets.nlvr2(tmp_path), "dev")
    right = {item.identifier: item.answers[0] for item in items}
    right[items[0].identifier] = "false"
    files.write_labels(tmp_path / "p.csv", right)
    metrics = by_name(as_json("--task", "nlvr2", "--data", tmp_path, "--predictions", tmp_path / "p.csv")["metrics"])
    assert metrics == pytest.approx({"accuracy": 11 / 12, "consistency": 5 / 6, "accuracy, balanced": 11 / 12})


def test_easy_vqa_next_to_its_blind_baselines(tmp_path: Path) -> None:
    data_sets.easy_vqa(tmp_path)
    files.write_answers(tmp_path / "p.json", {str(number): "yes" if number % 2 == 0 else "red" for number in range(12)})
    table = score("--task", "easy-vqa", "--data", tmp_path, "--predictions", tmp_path / "p.json")
    assert table.startswith("easy-vqa test: 12 scored; percent, 95% interval\n\nmetric ")
    assert "\naccuracy " in table
    assert "\nmajority (" in table.partition("\n\nblind baselines\n")[2]
    assert "text only (training split)" in table
    (tmp_path / "train" / "questions.json").unlink()
    table = score("--task", "easy-vqa", "--data", tmp_path, "--predictions", tmp_path / "p.json")
    assert "text only (other items)" in table


@pytest.mark.parametrize("data", ["flickr30k", "coco"])
def test_retrieval_and_chance(tmp_path: Path, data: str) -> None:
    gallery = TASKS[data].gallery(data_sets.karpathy(tmp_path, images=13, data=data), "test")
    scores = np.array([[float(owner == image) for image in range(12)] for owner in gallery.image_of_text])
    files.write_scores(tmp_path / "scores.npy", scores)
    found = as_json("--task", data, "--data", tmp_path, "--predictions", tmp_path / "scores.npy")
    assert set(by_name(found["metrics"]).values()) == {1.0}
    assert by_name(found["baselines"])["chance, image R@1"] == pytest.approx(1 / 12)
    assert by_name(found["baselines"])["chance, text R@1"] == pytest.approx(5 / 60)


def test_the_real_easy_vqa_has_its_known_baselines(reference_data: Path, tmp_path: Path) -> None:
    folder = reference_data / "easy_vqa"
    items = TASKS["easy-vqa"].items(folder, "test")
    assert majority_answer(items) == "yes"
    answers = text_only_answers(items, TASKS["easy-vqa"].training_items(folder, "test"))
    right = sum(answers[item.identifier] == item.answers[0] for item in items)
    assert 0.65 <= right / len(items) <= 0.69  # 67.0% on the full test split


def test_part_of_a_split(tmp_path: Path) -> None:
    data_sets.nlvr2(tmp_path)
    (tmp_path / "p.csv").write_text("dev-0-0-0,True\ndev-0-0-1,True\n")
    command = ("--task", "nlvr2", "--data", tmp_path, "--predictions", tmp_path / "p.csv")
    with pytest.raises(InputError, match="--partial scores the items that have one"):
        score(*command)
    assert score(*command, "--partial").startswith("nlvr2 dev: 2 of 12 scored")


def test_answers_that_are_not_public(tmp_path: Path) -> None:
    data_sets.vqav2(tmp_path, split="test-dev2015", annotations=False)
    files.write_answers(tmp_path / "results.json", {str(number): "yes" for number in range(100, 112)})
    with pytest.raises(InputError, match="--split test-dev: its answers are not public"):
        score("--task", "vqav2", "--data", tmp_path, "--split", "test-dev", "--predictions", tmp_path / "results.json")


def test_damaged_training_files_are_not_ignored(tmp_path: Path) -> None:
    data_sets.easy_vqa(tmp_path)
    (tmp_path / "train" / "questions.json").write_text("[[")
    files.write_answers(tmp_path / "p.json", {str(number): "yes" for number in range(12)})
    with pytest.raises(InputError, match=r"train/questions\.json: not JSON"):
        score("--task", "easy-vqa", "--data", tmp_path, "--predictions", tmp_path / "p.json")
