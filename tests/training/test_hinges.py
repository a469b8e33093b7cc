"""VSE++'s losses against the sums that its section 3 writes, pair by pair."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from vlbench.training.losses import max_of_hinges, sum_of_hinges


def by_pairs(scores: torch.Tensor, margin: float, gather: Callable[[list[float]], float]) -> float:
    """Over every pair that belongs together: the hinges of all wrong images, and those of all wrong texts."""
    size, total = len(scores), 0.0
    for right in range(size):
        others = [index for index in range(size) if index != right]
        positive = scores[right, right].item()
        total += gather([max(0.0, margin - positive + scores[right, image].item()) for image in others])
        total += gather([max(0.0, margin - positive + scores[text, right].item()) for text in others])
    return total


LOSSES = {"sum": (sum_of_hinges, sum), "max": (max_of_hinges, max)}


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.5])
@pytest.mark.parametrize("size", [2, 5, 9])
@pytest.mark.parametrize(("loss", "gather"), LOSSES.values(), ids=LOSSES.keys())
def test_loss_equals_the_sum_over_pairs(loss: Callable, gather: Callable, size: int, margin: float) -> None:
    scores = torch.rand(size, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64) * 2 - 1
    expected = by_pairs(scores, margin, gather)
    assert expected > 0
    assert loss(scores, margin=margin).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", [sum_of_hinges, max_of_hinges])
def test_pairs_that_lie_a_margin_apart_cost_nothing(loss: Callable) -> None:
    assert loss(torch.eye(4), margin=0.2).item() == 0
    assert loss(torch.eye(1), margin=0.2).item() == 0


def test_only_the_hardest_negatives_are_trained() -> None:
    scores = torch.tensor([[0.5, 0.4, 0.65], [0.1, 0.9, 0.0], [0.0, 0.3, 0.8]], requires_grad=True)
    max_of_hinges(scores, margin=0.2).backward()
    # The text of row 0 violates with images 1 and 2, and pays for 2; the image of column 2 pays for text 0.
    assert scores.grad.tolist() == [[-1, 0, 2], [0, 0, 0], [0, 0, -1]]
