"""Recall in both directions: the golden file, and brute force over all orders of ties."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from vlbench.tasks.metrics import image_to_text, text_to_image


def test_every_case_of_the_golden_file_to_the_last_digit(reference_data: Path) -> None:
    content = json.loads((reference_data / "golden" / "retrieval_golden.json").read_text(encoding="utf-8"))
    assert len(content["cases"]) >= 2
    for case in content["cases"]:
        scores, owners = np.array(case["scores_text_by_image"]), case["text_to_image"]
        images, texts = text_to_image(scores, owners), image_to_text(scores, owners)
        found = {f"img_r{rank}": images[:, place].mean() for place, rank in enumerate((1, 5, 10))}
        found |= {f"txt_r{rank}": texts[:, place].mean() for place, rank in enumerate((1, 5, 10))}
        assert found == case["expected"]


def brute_force(values: Sequence[float], own: set[int], rank: int) -> float:
    """The share of all orders by descending score in which one of `own` is among the first."""
    orders = [
        order
        for order in itertools.permutations(range(len(values)))
        if all(values[a] >= values[b] for a, b in itertools.pairwise(order))
    ]
    return sum(bool(own & set(order[:rank])) for order in orders) / len(orders)


@pytest.mark.parametrize("seed", range(12))
def test_ties_are_counted_as_the_mean_over_all_orders(seed: int) -> None:
    source = np.random.default_rng(seed)
    owners = [0, 0, 1, 2, 2, 2]
    scores = source.integers(0, 3, size=(6, 3)).astype(np.float32)
    ranks = (1, 2, 4)
    by_text, by_image = text_to_image(scores, owners, ranks), image_to_text(scores, owners, ranks)
    for place, rank in enumerate(ranks):
        for text in range(6):
            assert by_text[text, place] == pytest.approx(brute_force(scores[text].tolist(), {owners[text]}, rank))
        for image in range(3):
            own = {text for text, owner in enumerate(owners) if owner == image}
            assert by_image[image, place] == pytest.approx(brute_force(scores[:, image].tolist(), own, rank))


def test_equal_scores_have_the_recall_of_chance() -> None:
    owners = [text // 5 for text in range(50)]
    scores = np.ones((50, 10))
    assert text_to_image(scores, owners).mean(0) == pytest.approx([0.1, 0.5, 1.0])
    hit = 1 - 45 / 50
    assert image_to_text(scores, owners)[:, 0] == pytest.approx([hit] * 10)


def test_an_image_without_texts_has_no_text_recall() -> None:
    found = image_to_text(np.array([[0.3, 0.9], [0.8, 0.1]]), [0, 0], (1,))
    assert found[0, 0] == 1
    assert np.isnan(found[1, 0])
