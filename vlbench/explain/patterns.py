"""Names UNITER's six attention patterns (section 4.4) from a matrix of attention weights.

The paper names the patterns by eye; the rule here is ours. Rows of special tokens are left out, and text and image
count the same, however many tokens each has. Every score is relative to chance: a share s of attention that would be c
if attention were uniform scores (s - c) / (1 - c), which is 0 for chance and 1 for all attention.

- `vertical`: the share that goes to special tokens.
- `diagonal`: the share that goes to the token itself and its neighbours of the same modality, special tokens left out.
- `block`: of the remaining attention, the share within the modality: 1 for all, 0 for chance, -1 for none.

If `vertical` and `diagonal` sum to THRESHOLD or more, the pattern is both of them where the smaller one is at least
MIN_SMALLER_SHARE of the sum, and otherwise the greater one. Else it is a block from THRESHOLD on, a reversed block from
-THRESHOLD on, and heterogeneous in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

THRESHOLD, MIN_SMALLER_SHARE = 0.5, 0.25


class Pattern(StrEnum):
    vertical = "vertical"
    diagonal = "diagonal"
    vertical_and_diagonal = "vertical+diagonal"
    block = "block"
    heterogeneous = "heterogeneous"
    reversed_block = "reversed block"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternScores:
    """How strong each pattern is in a head: `vertical` and `diagonal` from 0 to 1, `block` from -1 (reversed) to 1."""

    vertical: float
    diagonal: float
    block: float

    @property
    def pattern(self) -> Pattern:
        if self.vertical + self.diagonal >= THRESHOLD:
            if min(self.vertical, self.diagonal) >= MIN_SMALLER_SHARE * (self.vertical + self.diagonal):
                return Pattern.vertical_and_diagonal
            return Pattern.vertical if self.vertical > self.diagonal else Pattern.diagonal
        if abs(self.block) >= THRESHOLD:
            return Pattern.block if self.block > 0 else Pattern.reversed_block
        return Pattern.heterogeneous


def score_patterns(
    attention_LL: NDArray[np.floating], text_length: int, special_tokens: Sequence[int] | None = None
) -> PatternScores:
    """The scores of one head.

    Args:
        attention_LL: one row per query, each summing to 1; text tokens come first.
        text_length: number of text tokens.
        special_tokens: their positions; by default the first and the last text token, [CLS] and [SEP].

    Raises ValueError where the matrix is not square, or text or image has special tokens only.
    """
    length = len(attention_LL)
    if attention_LL.shape != (length, length):
        raise ValueError(f"attention of shape {attention_LL.shape}; text and image in one sequence give a square")
    ordinary = np.ones(length, dtype=bool)
    ordinary[[0, text_length - 1] if special_tokens is None else list(special_tokens)] = False
    of_text = np.arange(length) < text_length
    modalities = [ordinary & of_text, ordinary & ~of_text]
    if not all(modality.any() for modality in modalities):
        raise ValueError(f"{text_length} of {length} tokens are text; text or image has special tokens only")
    shares = _shares(attention_LL, modalities, ordinary)
    chances = _shares(np.full((length, length), 1 / length), modalities, ordinary)
    vertical, diagonal, block = (_above_chance(share, chance) for share, chance in zip(shares, chances, strict=True))
    return PatternScores(vertical=max(vertical, 0.0), diagonal=max(diagonal, 0.0), block=block)


def _shares(
    attention_LL: NDArray[np.floating], modalities: Sequence[NDArray[np.bool_]], ordinary: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """The share of attention to special tokens, to neighbours, and of the rest within the modality.

    Each is the mean of the two modalities' means over rows.
    """
    positions = np.arange(len(attention_LL))
    near = np.abs(positions[:, None] - positions) <= 1
    by_modality = []
    for modality in modalities:
        rows = attention_LL[modality].astype(np.float64)
        near_rows = near[modality]
        to_special = rows[:, ~ordinary].sum(1).mean()
        to_neighbours = (rows * (near_rows & modality)).sum(1).mean()
        inside = (rows * (~near_rows & modality)).sum(1).mean()
        across = rows[:, ordinary & ~modality].sum(1).mean()
        by_modality.append((to_special, to_neighbours, inside / max(inside + across, 1e-12)))
    vertical, diagonal, within = np.mean(by_modality, axis=0)
    return float(vertical), float(diagonal), float(within)


def _above_chance(share: float, chance: float) -> float:
    """1 for all attention, 0 for chance, -1 for none."""
    room = 1 - chance if share > chance else chance
    return (share - chance) / room if room > 0 else 0.0
