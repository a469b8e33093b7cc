"""UNITER's patterns, on constructed heads of each, for several lengths of text and image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from vlbench.explain.patterns import MIN_SMALLER_SHARE, THRESHOLD, Pattern, PatternScores, score_patterns

LENGTHS = ((9, 36), (12, 241), (40, 200), (7, 10), (30, 12))
Rows = NDArray[np.float64]


def classify(attention: Rows, text_length: int, special_tokens: Sequence[int] | None = None) -> Pattern:
    return score_patterns(attention, text_length, special_tokens).pattern


def normalised(weights: Rows) -> Rows:
    return weights / weights.sum(1, keepdims=True)


def noise(length: int) -> Rows:
    return np.random.default_rng(0).gamma(0.5, size=(length, length)) + 1e-6


def vertical(text: int, image: int) -> Rows:
    made = np.zeros((text + image, text + image))
    made[:, [0, text - 1]] = 1
    return normalised(made)


def diagonal(text: int, image: int) -> Rows:
    """To the token before, as far as there is one."""
    return np.eye(text + image)[[max(position - 1, 0) for position in range(text + image)]]


def block(text: int, image: int) -> Rows:
    of_text = np.arange(text + image) < text
    return normalised((of_text[:, None] == of_text) * noise(text + image))


def reversed_block(text: int, image: int) -> Rows:
    of_text = np.arange(text + image) < text
    return normalised((of_text[:, None] != of_text) * noise(text + image))


def heterogeneous(text: int, image: int) -> Rows:
    return normalised(noise(text + image))


def mixture(text: int, image: int) -> Rows:
    return (vertical(text, image) + diagonal(text, image)) / 2


MADE = {
    Pattern.vertical: vertical,
    Pattern.diagonal: diagonal,
    Pattern.vertical_and_diagonal: mixture,
    Pattern.block: block,
    Pattern.heterogeneous: heterogeneous,
    Pattern.reversed_block: reversed_block,
}


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("pattern", Pattern)
def test_each_pattern_is_recognised(pattern: Pattern, lengths: tuple[int, int]) -> None:
    assert classify(MADE[pattern](*lengths), lengths[0]) is pattern


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("pattern", [pattern for pattern in Pattern if pattern is not Pattern.heterogeneous])
def test_a_quarter_of_noise_hides_none(pattern: Pattern, lengths: tuple[int, int]) -> None:
    noisy = 0.75 * MADE[pattern](*lengths) + 0.25 * heterogeneous(*lengths)
    assert classify(noisy, lengths[0]) is pattern


@pytest.mark.parametrize("lengths", LENGTHS)
def test_uniform_attention_scores_zero(lengths: tuple[int, int]) -> None:
    length = sum(lengths)
    scores = score_patterns(np.full((length, length), 1 / length), lengths[0])
    assert scores.vertical == scores.diagonal == 0
    assert scores.block == pytest.approx(0, abs=1e-12)
    assert scores.pattern is Pattern.heterogeneous


def test_the_ends_of_the_scale() -> None:
    assert score_patterns(vertical(9, 36), 9).vertical == 1
    assert score_patterns(np.eye(45), 9).diagonal == 1
    assert score_patterns(reversed_block(9, 36), 9).block == -1
    # a block's own neighbours count as its diagonal; of what is left all stays within
    assert score_patterns(block(9, 36), 9).block == 1


def test_both_modalities_count_alike() -> None:
    """Words that attend to special tokens only, and 200 patches that attend uniformly, are half a vertical pattern."""
    text, image = 10, 200
    made = heterogeneous(text, image) * 0 + 1 / (text + image)
    made[:text] = vertical(text, image)[:text]
    chance = 2 / (text + image)
    assert score_patterns(made, text).vertical == pytest.approx(((1 + chance) / 2 - chance) / (1 - chance))


def test_the_images_class_token_is_special_if_it_is_listed() -> None:
    made = np.zeros((50, 50))
    made[:, 10] = 1
    assert classify(made, 10) is Pattern.heterogeneous
    assert classify(made, 10, special_tokens=(0, 9, 10)) is Pattern.vertical


def test_the_neighbour_of_the_last_word_is_no_patch() -> None:
    """Each token attends to the one before: the first word to a special token, the first patch to a word."""
    shares = (2 / 3 + 3 / 4) / 2
    chance = ((2 + 3 + 2) / 3 + (2 + 3 + 3 + 2) / 4) / 2 / 8
    scores = score_patterns(diagonal(4, 4), 4, special_tokens=(0,))
    assert scores.diagonal == pytest.approx((shares - chance) / (1 - chance))


@pytest.mark.parametrize(
    ("scores", "pattern"),
    [
        ((THRESHOLD, 0.0, 0.0), Pattern.vertical),
        ((THRESHOLD - 0.01, 0.0, 0.0), Pattern.heterogeneous),
        ((0.0, THRESHOLD, 1.0), Pattern.diagonal),
        ((1 - MIN_SMALLER_SHARE, MIN_SMALLER_SHARE, 0.0), Pattern.vertical_and_diagonal),
        ((0.8, 0.2, 0.0), Pattern.vertical),
        ((0.2, 0.8, 0.0), Pattern.diagonal),
        ((0.3, 0.0, THRESHOLD), Pattern.block),
        ((0.3, 0.0, -THRESHOLD), Pattern.reversed_block),
        ((0.3, 0.1, 0.49), Pattern.heterogeneous),
    ],
)
def test_the_thresholds(scores: tuple[float, float, float], pattern: Pattern) -> None:
    vertical_, diagonal_, block_ = scores
    assert PatternScores(vertical=vertical_, diagonal=diagonal_, block=block_).pattern is pattern


def test_a_matrix_that_is_not_one_sequence_of_text_and_image_is_refused() -> None:
    with pytest.raises(ValueError, match="square"):
        classify(np.ones((4, 6)) / 6, 3)
    with pytest.raises(ValueError, match="special tokens only"):
        classify(np.eye(6), 2)
    with pytest.raises(ValueError, match="special tokens only"):
        classify(np.eye(6), 6)
