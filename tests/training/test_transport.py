"""IPOT against an exact solver of the transport problem, and what flows through it."""

from __future__ import annotations

import numpy
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.interfaces import Tokens
from vlbench.training.transport import (
    alignment_distance,
    alignment_loss,
    cosine_distance,
    transport_plan,
    without_ends,
    without_first,
)

SHAPES = [(2, 2), (3, 5), (5, 3), (6, 6), (4, 9), (1, 4), (4, 1)]


def random_tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens(values: Tensor, mask: Tensor | None = None) -> Tokens:
    return Tokens(values=values, mask=mask)


def cheapest(cost_LR: Tensor) -> float:
    """The exact optimum of moving a uniform distribution over the rows onto one over the columns."""
    rows, columns = cost_LR.shape
    leaving = numpy.kron(numpy.eye(rows), numpy.ones(columns))
    arriving = numpy.kron(numpy.ones(rows), numpy.eye(columns))
    shares = numpy.concatenate([numpy.full(rows, 1 / rows), numpy.full(columns, 1 / columns)])
    result = linprog(cost_LR.double().flatten().numpy(), A_eq=numpy.vstack([leaving, arriving]), b_eq=shares)
    assert result.success
    return float(result.fun)


def test_cost_is_the_cosine_distance() -> None:
    words, image = random_tokens(2, 3, 8), random_tokens(2, 5, 8, seed=1)
    similarity = F.cosine_similarity(words[:, :, None], image[:, None], dim=3)
    torch.testing.assert_close(cosine_distance(words, image), 1 - similarity)


def test_opposite_vectors_are_two_apart_and_nothing_is_one_from_all() -> None:
    words = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    image = torch.tensor([[[3.0, 0.0], [-2.0, 0.0]]])
    assert cosine_distance(words, image).tolist() == [[[0, 2], [1, 1]]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_value_is_that_of_an_exact_solver(shape: tuple[int, int], seed: int) -> None:
    """Within 0.005 for costs between 0 and 2, and with 500 iterations within 0.0005."""
    costs = torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed)) * 2
    exact = cheapest(costs[0])
    for iterations, tolerance in ((50, 5e-3), (500, 5e-4)):
        value = (transport_plan(costs, None, None, iterations=iterations) * costs).sum().item()
        assert value == pytest.approx(exact, abs=tolerance)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_marginals_are_uniform(shape: tuple[int, int]) -> None:
    costs = torch.rand(4, *shape, generator=torch.Generator().manual_seed(3)) * 2
    plan = transport_plan(costs, None, None)
    assert plan.min() >= 0
    torch.testing.assert_close(plan.sum(dim=2), torch.full((4, shape[0]), 1 / shape[0]))
    torch.testing.assert_close(plan.sum(dim=1), torch.full((4, shape[1]), 1 / shape[1]), atol=5e-3, rtol=0)


def test_words_that_have_a_patch_of_their_own_go_there() -> None:
    order = torch.tensor([2, 0, 3, 1])
    words = torch.eye(4)[None]
    plan = transport_plan(cosine_distance(words, words[:, order]), None, None)
    torch.testing.assert_close(plan, torch.eye(4)[:, order][None] / 4, atol=1e-4, rtol=0)


def test_padding_changes_nothing() -> None:
    words, image = random_tokens(3, 4, 8), random_tokens(3, 6, 8, seed=1)
    word_mask = torch.arange(7).expand(3, -1) < 4
    image_mask = torch.arange(11).expand(3, -1) < 6
    wide_words = torch.cat((words, random_tokens(3, 3, 8, seed=2) * 9), dim=1)
    wide_image = torch.cat((image, random_tokens(3, 5, 8, seed=3) * 9), dim=1)
    plain = transport_plan(cosine_distance(words, image), None, None)
    padded = transport_plan(cosine_distance(wide_words, wide_image), word_mask, image_mask)
    torch.testing.assert_close(padded[:, :4, :6], plain, atol=1e-7, rtol=1e-5)
    assert padded[:, 4:].count_nonzero() == 0
    assert padded[:, :, 6:].count_nonzero() == 0
    torch.testing.assert_close(
        alignment_distance(tokens(wide_words, word_mask), tokens(wide_image, image_mask)),
        alignment_distance(tokens(words), tokens(image)),
    )


def test_each_pair_has_a_length_of_its_own() -> None:
    words, image = random_tokens(2, 5, 8), random_tokens(2, 6, 8, seed=1)
    word_mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    image_mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    both = alignment_distance(tokens(words, word_mask), tokens(image, image_mask))
    first = alignment_distance(tokens(words[:1]), tokens(image[:1, :4]))
    second = alignment_distance(tokens(words[1:, :2]), tokens(image[1:]))
    torch.testing.assert_close(both, torch.cat((first, second)))


def test_nothing_to_align_costs_nothing() -> None:
    words = random_tokens(2, 3, 4).requires_grad_()
    empty = torch.tensor([[False] * 3, [True] * 3])
    distance = alignment_distance(tokens(words, empty), tokens(random_tokens(2, 2, 4, seed=1)))
    assert distance[0] == 0
    assert distance[1] > 0
    distance.sum().backward()
    assert words.grad is not None
    assert words.grad[0].count_nonzero() == 0
    assert words.grad.isfinite().all()


def test_gradient_is_that_of_the_cost_under_a_fixed_plan() -> None:
    words, image = (random_tokens(2, length, 8, seed=length).requires_grad_() for length in (3, 5))
    alignment_loss(tokens(words), tokens(image)).backward()
    fixed = transport_plan(cosine_distance(words, image), None, None)
    assert not fixed.requires_grad
    expected = torch.autograd.grad((fixed * cosine_distance(words, image)).sum() / 2, (words, image))
    torch.testing.assert_close((words.grad, image.grad), expected)


def test_loss_is_the_mean_and_pairs_that_do_not_match_are_pushed_apart() -> None:
    words, image = tokens(random_tokens(3, 4, 8)), tokens(random_tokens(3, 6, 8, seed=1))
    first, second, third = alignment_distance(words, image)
    torch.testing.assert_close(alignment_loss(words, image), (first + second + third) / 3)
    matches = torch.tensor([True, False, True])
    torch.testing.assert_close(alignment_loss(words, image, matches), (first - second + third) / 3)


def test_one_descent_step_brings_words_nearer_to_their_patches() -> None:
    words = random_tokens(2, 4, 8).requires_grad_()
    image = tokens(random_tokens(2, 6, 8, seed=1))
    before = alignment_loss(tokens(words), image)
    before.backward()
    assert words.grad is not None
    assert alignment_loss(tokens(words.detach() - 0.5 * words.grad), image) < before


@pytest.mark.parametrize("length", [40, 200])
def test_long_and_extreme_costs_stay_finite(length: int) -> None:
    costs = torch.randint(0, 2, (2, length, length), generator=torch.Generator().manual_seed(0)) * 2.0
    plan = transport_plan(costs, None, None)
    assert plan.isfinite().all()
    torch.testing.assert_close(plan.sum(dim=(1, 2)), torch.ones(2))


def test_autocast_and_half_precision_change_no_digit_of_the_plan() -> None:
    words, image = random_tokens(2, 4, 8).bfloat16(), random_tokens(2, 6, 8, seed=1).bfloat16()
    expected = transport_plan(cosine_distance(words.float(), image.float()), None, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        costs = cosine_distance(words, image)
        plan = transport_plan(costs, None, None)
    assert costs.dtype == plan.dtype == torch.float32
    assert torch.equal(plan, expected)


def test_ends_are_the_first_and_the_last_real_token() -> None:
    values = random_tokens(4, 4, 2)
    mask = torch.tensor(
        [[True] * 4, [True, True, True, False], [True, True, False, False], [True, False, False, False]]
    )
    inner = without_ends(tokens(values, mask)).mask
    assert inner is not None
    assert inner.tolist() == [[False, True, True, False], [False, True, False, False], [False] * 4, [False] * 4]
    assert mask[0].all()
    whole = without_first(tokens(values)).mask
    assert whole is not None
    assert whole.tolist() == [[False, True, True, True]] * 4
