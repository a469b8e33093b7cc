"""VQA accuracy equals the official scorer's results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlbench.tasks.metrics import CONTRACTIONS, normalised, vqa_accuracy


@pytest.fixture
def golden(reference_data: Path) -> dict:
    return json.loads((reference_data / "golden" / "vqa_official_golden.json").read_text(encoding="utf-8"))


def test_every_answer_is_normalised_as_the_official_scorer_does(golden: dict) -> None:
    cases = golden["normalize"]
    assert len(cases) > 40
    assert {case["answer"]: normalised(case["answer"]) for case in cases} == {
        case["answer"]: case["official"] for case in cases
    }


def test_every_accuracy_is_the_official_scorers_to_the_last_digit(golden: dict) -> None:
    cases = golden["accuracy"]
    assert len(cases) > 20
    assert [vqa_accuracy(case["pred"], case["gts"]) for case in cases] == [case["official"] for case in cases]


@pytest.mark.parametrize(("matches", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_the_mean_over_leaving_one_out(matches: int, expected: float) -> None:
    answers = ["cat"] * matches + [f"other {number}" for number in range(10 - matches)]
    assert vqa_accuracy("cat", answers) == pytest.approx(expected, abs=1e-15)


def test_answers_are_not_normalised_if_all_agree() -> None:
    assert vqa_accuracy("The dog", ["dog"] * 10) == 0
    assert vqa_accuracy("The dog", ["dog"] * 9 + ["cat"]) == 1
    assert vqa_accuracy("a", ["a"] * 10) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("two", "2"),
        ("None", "0"),
        ("an apple", "apple"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("lets", "lets"),
        ("yes/no", "yes no"),
        ("yes / no", "yes no"),
        ("1,000 t-shirts", "1000 tshirts"),
        ("3.5 m.", "3.5 m"),
        ("." * 40, "." * 8),
        ("", ""),
    ],
)
def test_quirks_of_the_official_scorer_are_kept(answer: str, expected: str) -> None:
    assert normalised(answer) == expected


def test_contractions_get_their_missing_apostrophe() -> None:
    assert len(CONTRACTIONS) == 114  # of the official table, those that change a word in lower case
    whole = {short: word for short, word in CONTRACTIONS.items() if short != "somebody'd"}
    assert all(
        len(word) == len(short) + 1 and word.replace("'", "") == short.replace("'", "") for short, word in whole.items()
    )


@pytest.mark.parametrize("sign", [*';/[]"{}()=+\\_-><@`,?!'])
def test_a_sign_within_a_word_splits_it_and_one_next_to_a_blank_is_removed(sign: str) -> None:
    assert normalised(f"x{sign}y") == "x y"
    assert normalised(f"x{sign} y") == "x y"
    assert normalised(f"x{sign}y z{sign} w") == "xy z w"
