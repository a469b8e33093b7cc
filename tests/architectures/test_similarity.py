"""Scores of pairs against the formulas of SCAN's section 3.1 and of CLIP, written with loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.interaction import DotProduct, StackedCrossAttention, score_matrix
from vlbench.architectures.interfaces import Tokens
from vlbench.specs import DotProductSpec, StackedCrossAttentionSpec

TEMPERATURE = {"text_image": 9.0, "image_text": 4.0}
LSE = {"text_image": 6.0, "image_text": 5.0}
BOTH = ("text_image", "image_text")


def cosine(first: list[float], second: list[float]) -> float:
    product = sum(a * b for a, b in zip(first, second, strict=True))
    return product / math.sqrt(sum(a * a for a in first)) / math.sqrt(sum(b * b for b in second))


def relevances(asking: list[list[float]], asked: list[list[float]], temperature: float) -> list[float]:
    """SCAN, equations 1 to 4, for real tokens alone."""
    positive = [[max(0.0, cosine(one, other)) for other in asked] for one in asking]
    found = []
    for row, one in zip(positive, asking, strict=True):
        logits = []
        for place, value in enumerate(row):
            norm = math.sqrt(sum(other[place] ** 2 for other in positive))
            logits.append(temperature * value / norm if norm else 0.0)
        total = sum(math.exp(logit) for logit in logits)
        weights = [math.exp(logit) / total for logit in logits]
        mixed = [sum(w * other[d] for w, other in zip(weights, asked, strict=True)) for d in range(len(one))]
        found.append(cosine(one, mixed))
    return found


def score(text: list[list[float]], image: list[list[float]], directions: tuple[str, ...], pooling: str) -> float:
    scores = []
    for direction in directions:
        asking, asked = (text, image) if direction == "text_image" else (image, text)
        found = relevances(asking, asked, TEMPERATURE[direction])
        if pooling == "mean":
            scores.append(sum(found) / len(found))
        else:
            scores.append(math.log(sum(math.exp(LSE[direction] * one) for one in found)) / LSE[direction])
    return sum(scores) / len(scores)


def stacked(directions: tuple[str, ...] = BOTH, pooling: str = "lse") -> StackedCrossAttention:
    return StackedCrossAttention(
        StackedCrossAttentionSpec(
            kind="stacked_cross_attention",
            directions=directions,
            text_image_temperature=TEMPERATURE["text_image"],
            image_text_temperature=TEMPERATURE["image_text"],
            pooling=pooling,
            text_image_lse=LSE["text_image"],
            image_text_lse=LSE["image_text"],
        )
    )


def tokens_of(*lengths: int, width: int = 4, seed: int = 0) -> Tokens:
    """Random tokens, and random numbers where they are padded."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), max(lengths), width, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[index < length for index in range(max(lengths))] for length in lengths])
    return Tokens(values=values, mask=None if mask.all() else mask)


def real(tokens: Tokens, index: int) -> list[list[float]]:
    values = tokens.values[index]
    return (values if tokens.mask is None else values[tokens.mask[index]]).tolist()


LENGTHS = {
    "unpadded": ((5, 5, 5), (7, 7, 7)),
    "padded text": ((5, 2, 1), (7, 7, 7)),
    "padded image": ((5, 5, 5), (3, 7, 1)),
    "both padded": ((5, 2, 4), (3, 7, 1)),
}


@pytest.mark.parametrize(("words", "regions"), LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("pooling", ["lse", "mean"])
@pytest.mark.parametrize("directions", [("text_image",), ("image_text",), BOTH])
def test_stacked_cross_attention_by_its_formula(
    directions: tuple[str, ...], pooling: str, words: tuple[int, ...], regions: tuple[int, ...]
) -> None:
    text, image = tokens_of(*words, seed=1), tokens_of(*regions, seed=2)
    expected = [[score(real(text, i), real(image, i), directions, pooling)] for i in range(len(words))]
    found = stacked(directions, pooling)(text, image)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-10, rtol=0)


def test_a_pair_without_any_positive_similarity_is_attended_to_evenly() -> None:
    text = Tokens(values=-torch.ones(1, 2, 3), mask=None)
    image = Tokens(values=torch.rand(1, 4, 3, requires_grad=True), mask=None)
    found = stacked(("text_image",), "mean")(text, image)
    expected = F.cosine_similarity(text.values[:, 0], image.values.mean(dim=1))
    torch.testing.assert_close(found[:, 0], expected)
    found.sum().backward()


def test_dot_product_is_the_cosine_and_its_scale_is_learned() -> None:
    text, image = tokens_of(1, 1, 1, seed=1), tokens_of(1, 1, 1, seed=2)
    expected = torch.tensor([[cosine(real(text, i)[0], real(image, i)[0])] for i in range(3)], dtype=torch.float64)
    torch.testing.assert_close(DotProduct(DotProductSpec(kind="dot_product", logit_scale=None))(text, image), expected)
    scaled = DotProduct(DotProductSpec(kind="dot_product", logit_scale=1 / 0.07)).double()
    initialise_random(scaled, seed=0)
    torch.testing.assert_close(scaled(text, image), expected / 0.07, atol=1e-5, rtol=0)
    assert [name for name, parameter in scaled.named_parameters() if parameter.requires_grad] == ["log_scale"]


@pytest.mark.parametrize("words", [(5, 2, 3), (4, 4, 4)])
def test_the_score_matrix_has_a_row_a_text_and_a_column_an_image(words: tuple[int, ...]) -> None:
    text, image, interaction = tokens_of(*words, seed=1), tokens_of(7, 3, seed=2), stacked()
    found = score_matrix(interaction, text, image)
    expected: list[list[float]] = [
        [score(real(text, i), real(image, j), BOTH, "lse") for j in (0, 1)] for i in range(3)
    ]
    torch.testing.assert_close(found, _matrix(expected), atol=1e-10, rtol=0)


def _matrix(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)
