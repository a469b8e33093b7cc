"""UNITER's six patterns of attention (section 4.4), told from a matrix of attention and where its text ends.

The paper names the patterns by eye. The rule here is ours; every figure in it is above chance, that is: a share s of
attention that would be c if all tokens were attended to alike counts as (s - c) / (1 - c), 0 for chance and 1 for all.
Rows are those of words and parts of the image; text and image count the same, however many tokens each has.

- `vertical`: how much goes to special tokens.
- `diagonal`: how much goes to the token itself or its neighbours of the same modality, special tokens left out.
- `block`: of the rest, how much stays within its modality: 1 for all, -1 for none, 0 for chance.

Where `vertical` and `diagonal` together reach MOST, the pattern is theirs: both where the lesser is at least LESSER of
their sum, else the greater one. Else it is a block from MOST on, a reversed block from -MOST on, and heterogeneous
between these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

MOST, LESSER = 0.5, 0.25


class Pattern(StrEnum):
    vertical = "vertical"
    diagonal = "diagonal"
    vertical_and_diagonal = "vertical+diagonal"
    block = "block"
    heterogeneous = "heterogeneous"
    reversed_block = "reversed block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How strong each pattern is in a head, above chance: the first two 0 to 1, `block` from -1, its reverse, to 1."""

    vertical: float
    diagonal: float
    block: float

    @property
    def pattern(self) -> Pattern:
        if self.vertical + self.diagonal >= MOST:
            if min(self.vertical, self.diagonal) >= LESSER * (self.vertical + self.diagonal):
                return Pattern.vertical_and_diagonal
            return Pattern.vertical if self.vertical > self.diagonal else Pattern.diagonal
        if abs(self.block) >= MOST:
            return Pattern.block if self.block > 0 else Pattern.reversed_block
        return Pattern.heterogeneous


def classify(attention_LL: NDArray[np.floating], text_length: int, special: Sequence[int] | None = None) -> Pattern:
    """The pattern of one head.

    Args:
        attention_LL: a row a token that asks, each summing to 1; text before image.
        text_length: how many of the tokens are the text's.
        special: places of special tokens; by default the text's first and last, [CLS] and [SEP].

    Raises ValueError where the matrix is not square, or text or image has no token that is not special.
    """
    return scored(attention_LL, text_length, special).pattern


def scored(attention_LL: NDArray[np.floating], text_length: int, special: Sequence[int] | None = None) -> Scores:
    """How strong each pattern is. Arguments and errors as of `classify`."""
    length = len(attention_LL)
    if attention_LL.shape != (length, length):
        raise ValueError(f"attention of shape {attention_LL.shape}; text and image in one sequence give a square")
    ordinary = np.ones(length, dtype=bool)
    ordinary[[0, text_length - 1] if special is None else list(special)] = False
    of_text = np.arange(length) < text_length
    sides = [ordinary & of_text, ordinary & ~of_text]
    if not all(side.any() for side in sides):
        raise ValueError(f"{text_length} of {length} tokens are text, and one side has special tokens alone")
    found = _shares(attention_LL, sides, ordinary)
    chance = _shares(np.full((length, length), 1 / length), sides, ordinary)
    vertical, diagonal, block = (_above(share, by_chance) for share, by_chance in zip(found, chance, strict=True))
    return Scores(vertical=max(vertical, 0.0), diagonal=max(diagonal, 0.0), block=block)


def _shares(
    attention_LL: NDArray[np.floating], sides: Sequence[NDArray[np.bool_]], ordinary: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Attention to special tokens, to neighbours, and of the rest that within a modality; the mean of both sides."""
    places = np.arange(len(attention_LL))
    near = np.abs(places[:, None] - places) <= 1
    found = []
    for side in sides:
        rows = attention_LL[side].astype(np.float64)
        beside = near[side]
        to_special = rows[:, ~ordinary].sum(1).mean()
        to_neighbours = (rows * (beside & side)).sum(1).mean()
        inside = (rows * (~beside & side)).sum(1).mean()
        across = rows[:, ordinary & ~side].sum(1).mean()
        found.append((to_special, to_neighbours, inside / max(inside + across, 1e-12)))
    vertical, diagonal, within = np.mean(found, axis=0)
    return float(vertical), float(diagonal), float(within)


def _above(share: float, chance: float) -> float:
    """1 where a share is everything, 0 where it is chance, -1 where it is nothing."""
    room = 1 - chance if share > chance else chance
    return (share - chance) / room if room > 0 else 0.0
