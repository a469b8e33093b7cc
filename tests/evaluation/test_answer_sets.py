"""The answers of classes: the formats of published files, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vlbench.errors import InputError
from vlbench.evaluation.adapter import check_finite
from vlbench.evaluation.answers import named_labels, read_answer_set
from vlbench.evaluation.task_head import likeliest_answer, true_or_false, true_or_false_answer


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("answers.txt", "yes\nno\nred\n"),
        ("answers.txt", "yes\nno\nred"),
        ("label2ans.json", json.dumps(["yes", "no", "red"])),
        ("ans2label.json", json.dumps({"red": 2, "yes": 0, "no": 1})),
        ("labels.json", json.dumps({"2": "red", "0": "yes", "1": "no"})),
        ("config.json", json.dumps({"model_type": "vilt", "id2label": {"0": "yes", "1": "no", "2": "red"}})),
    ],
)
def test_formats_of_published_answer_sets(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_answer_set(tmp_path / name) == ("yes", "no", "red")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", "{", r"a\.json: not JSON; cut off or damaged"),
        ("a.json", '{"yes": 0, "no": 2}', "with classes from 0 on"),
        ("a.json", '{"yes": "no"}', "neither a list of answers nor an object"),
        ("a.json", "[1, 2]", "neither a list of answers nor an object"),
        ("a.txt", "yes\nno\nyes", "'yes' occurs twice"),
        ("a.txt", "yes", "holds 1 answer; a head chooses among at least two"),
        ("absent.txt", None, "no such file"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, content: str | None, why: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=why) as error:
        read_answer_set(tmp_path / name)
    assert "\n" not in str(error.value)


def test_placeholder_labels_are_ignored(tmp_path: Path) -> None:
    assert named_labels(tmp_path / "config.json") is None
    (tmp_path / "config.json").write_text('{"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}')
    assert named_labels(tmp_path / "config.json") is None
    (tmp_path / "config.json").write_text('{"id2label": {"0": "no", "1": "yes"}}')
    assert named_labels(tmp_path / "config.json") == ("no", "yes")


def test_the_published_answers(reference_data: Path) -> None:
    answers = read_answer_set(reference_data / "vqa_answers" / "ans2label.json")
    assert len(answers) == 3129
    assert {"yes", "no", "2"} <= set(answers)


def test_scores_become_answers() -> None:
    assert likeliest_answer(["a", "b", "c"])(torch.tensor([[0.0, 2, 1], [3, 2, 1]])) == ["b", "a"]
    assert true_or_false(torch.tensor([[0.0, 2], [1, 1], [3, 0]])) == ["true", "false", "false"]
    postprocess = true_or_false_answer(["red", "no", "blue", "yes"])
    assert postprocess is not None
    assert postprocess(torch.tensor([[9.0, 1, 9, 2], [9, 2, 9, 1]])) == ["true", "false"]
    assert true_or_false_answer(["red", "yes"]) is None


def test_a_score_that_is_not_finite_is_reported() -> None:
    with pytest.raises(InputError, match=r"^7: the model's score is not a finite number"):
        check_finite(torch.tensor([[0.0, 1], [float("nan"), 1]]), ["6", "7"])
