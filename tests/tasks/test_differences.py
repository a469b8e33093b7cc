"""Paired differences: exact where that is known, and narrower than two intervals by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from vlbench.tasks.differences import difference_of_gallery, difference_of_items, paired_difference
from vlbench.tasks.items import Gallery, Item


def items(count: int, *answers: str, in_unit: int = 1) -> list[Item]:
    return [
        Item(identifier=str(index), text="?", images=(), answers=answers, unit=str(index // in_unit))
        for index in range(count)
    ]


def test_a_model_differs_from_itself_by_nothing() -> None:
    answers = {str(index): "yes" if index % 3 else "no" for index in range(60)}
    difference = difference_of_items("answers", items(60, "yes", in_unit=2), answers, answers)
    assert (difference.value, difference.ci95, difference.changed, difference.n) == (0, (0, 0), 0, 60)


def test_each_item_counts_by_how_much_its_score_changes() -> None:
    """One person's answer: of ten items, two become right, one becomes wrong, one changes from wrong to wrong."""
    asked = items(10, "yes")
    reference = {str(index): "yes" if index > 2 else "no" for index in range(10)}
    changed = reference | {"0": "yes", "1": "yes", "2": "perhaps", "3": "no"}
    difference = difference_of_items("answers", asked, changed, reference)
    assert difference.value == pytest.approx((2 - 1) / 10)
    assert difference.changed == 4


def test_answers_of_several_people_differ_by_their_vqa_score() -> None:
    """An answer of two in ten people scores 0.6, one of eight scores 1."""
    asked = items(10, *["red"] * 8, *["blue"] * 2)
    reference = {str(index): "red" for index in range(10)}
    difference = difference_of_items("answers", asked, reference | {"4": "blue"}, reference)
    assert difference.value == pytest.approx(-0.4 / 10)


def test_the_interval_is_that_of_a_binomial_where_differences_are_0_or_1() -> None:
    """Means of n values that are drawn from k ones and n - k zeros are binomial."""
    values = [1.0] * 30 + [0.0] * 370
    difference = paired_difference(values, range(400), changed=30)
    exact = binom.ppf([0.025, 0.975], 400, 30 / 400) / 400
    assert difference.value == 30 / 400
    assert difference.ci95 == pytest.approx(exact, abs=0.006)


def test_values_of_one_image_are_drawn_together() -> None:
    values = [1.0, -1.0, 0.0, 0.0] * 25
    apart = paired_difference(np.repeat(values, 5).tolist(), range(500), changed=0)
    together = paired_difference(np.repeat(values, 5).tolist(), np.repeat(range(100), 5).tolist(), changed=0)
    assert apart.ci95
    assert together.ci95
    assert np.diff(together.ci95)[0] == pytest.approx(np.diff(apart.ci95)[0] * 5**0.5, rel=0.2)
    assert paired_difference(values[:18], [index // 2 for index in range(18)], changed=0).ci95 is None


def test_rankings_differ_by_the_recall_of_each_text() -> None:
    """Of twelve texts, one finds its image no more, and one takes another wrong image."""
    paths = tuple(Path(str(index)) for index in range(12))
    gallery = Gallery(images=paths, texts=tuple("t" * 12), image_of_text=tuple(range(12)))
    reference = np.eye(12, dtype=np.float32)
    reference[11] = np.eye(12)[0]
    scores = reference.copy()
    scores[0], scores[11] = np.eye(12)[1], np.eye(12)[2]
    difference = difference_of_gallery(gallery, scores, reference)
    assert difference.value == pytest.approx(-1 / 12)
    assert (difference.changed, difference.n) == (2, 12)
