"""Blind baselines, worked out by hand."""

from __future__ import annotations

from pathlib import Path

from vlbench.tasks.items import Item
from vlbench.tasks.scoring import majority_answer, text_only_answers


def item(identifier: str, text: str, answer: str | tuple[str, ...], unit: str = "") -> Item:
    answers = (answer,) if isinstance(answer, str) else answer
    return Item(identifier=identifier, text=text, images=(Path("i.png"),), answers=answers, unit=unit or identifier)


def test_the_majority_answer_is_the_one_that_scores_most() -> None:
    said_by_all = item("a", "?", ("cat",) * 10)
    said_by_four = [item(str(number), "?", ("dog",) * 4 + ("a", "b", "c", "d", "e", "f")) for number in range(2)]
    assert majority_answer([said_by_all, *said_by_four]) == "dog"  # ten votes count no more than four


def test_a_known_text_gets_its_own_answer_and_a_new_one_that_of_its_prefix() -> None:
    training = [item(f"r{n}", f"what colour is ball {n}?", "red") for n in range(10)]
    training += [item(f"y{n}", f"is there a ball {n}?", "yes") for n in range(30)]
    training += [item("known", "what colour is the sky?", "blue")]
    asked = [
        item("1", "What colour is  the sky?", "blue"),
        item("2", "what colour is a car?", "black"),
        item("3", "how many are there?", "2"),
    ]
    assert text_only_answers(asked, training) == {"1": "blue", "2": "red", "3": "yes"}


def test_without_a_training_split_nothing_is_learnt_from_the_same_image() -> None:
    same = [item("a", "is it red?", "yes", "image 1"), item("b", "is it red?", "yes", "image 1")]
    others = [item("c", "is it red?", "no", "image 2")]
    assert text_only_answers([*same, *others]) == {"a": "no", "b": "no", "c": "yes"}
    assert text_only_answers(same) == {"a": "", "b": ""}


def test_a_rare_prefix_predicts_nothing() -> None:
    few = [item(f"r{n}", f"what colour is ball {n}?", "red") for n in range(9)]
    many = [item(f"y{n}", f"is there a ball {n}?", "yes") for n in range(10)]
    assert text_only_answers([item("1", "what colour is it?", "?")], [*few, *many]) == {"1": "yes"}
