"""Losses against PyTorch's own, against scipy and by hand; empty batches have a loss of 0."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import entropy
from torch import Tensor, nn

from vlbench.architectures.roi_heads import FpnRoIHead
from vlbench.specs import FpnHeadSpec
from vlbench.training.losses import (
    answers_loss,
    class_distribution,
    masked_words_loss,
    matching_loss,
    patch_levels_loss,
    region_classes_loss,
    region_distribution_loss,
    region_features_loss,
    soft_answers_loss,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_words_cost_their_cross_entropy() -> None:
    logits, targets = normal(7, 11), torch.arange(7)
    torch.testing.assert_close(masked_words_loss(logits, targets), nn.CrossEntropyLoss()(logits, targets))


def test_a_guess_among_equals_costs_the_logarithm_of_their_number() -> None:
    assert masked_words_loss(torch.zeros(3, 30522), torch.tensor([0, 5, 9])).item() == pytest.approx(math.log(30522))
    assert matching_loss(torch.zeros(4, 2), torch.tensor([True, False, True, True])).item() == pytest.approx(
        math.log(2)
    )


def test_the_second_logit_is_that_of_a_match() -> None:
    logits = torch.tensor([[0.0, 3.0], [3.0, 0.0]])
    right = matching_loss(logits, torch.tensor([True, False])).item()
    assert right == pytest.approx(math.log(1 + math.exp(-3)))
    assert matching_loss(logits, torch.tensor([False, True])).item() == pytest.approx(right + 3)


def test_features_cost_their_squared_distance() -> None:
    predicted, real = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert region_features_loss(predicted, real).item() == pytest.approx((4 + 9 + 1) / 6)


def test_levels_cost_the_mean_cross_entropy_of_the_three_channels() -> None:
    logits, levels = normal(2, 3, 256), torch.tensor([[0, 255, 7], [12, 12, 128]])
    by_hand = [-logits[row, channel].log_softmax(dim=0)[levels[row, channel]] for row in (0, 1) for channel in range(3)]
    torch.testing.assert_close(patch_levels_loss(logits, levels), torch.stack(by_hand).mean())


def test_the_detectors_surest_class_is_the_target_but_never_the_background() -> None:
    logits = normal(3, 4)
    distribution = torch.tensor([[0.1, 0.2, 0.05, 0.65], [0.7, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 1.0]])
    expected = nn.CrossEntropyLoss()(logits, torch.tensor([1, 0, 0]))
    torch.testing.assert_close(region_classes_loss(logits, distribution), expected)
    first = nn.CrossEntropyLoss()(logits, torch.tensor([3, 1, 3]))
    torch.testing.assert_close(region_classes_loss(logits, distribution, background=0), first)
    every = nn.CrossEntropyLoss()(logits, torch.tensor([3, 0, 3]))
    torch.testing.assert_close(region_classes_loss(logits, distribution, background=None), every)
    assert distribution[0, 3] == pytest.approx(0.65)


def test_divergence_is_that_of_scipy() -> None:
    logits, distribution = normal(5, 6), normal(5, 6, seed=1).softmax(dim=1)
    distribution[0] = torch.eye(6)[2]
    expected = [entropy(p.double(), q.double()) for p, q in zip(distribution, logits.softmax(dim=1), strict=True)]
    assert region_distribution_loss(logits, distribution).item() == pytest.approx(sum(expected) / 5, rel=1e-5)


def test_the_detectors_own_distribution_costs_nothing() -> None:
    logits = normal(5, 6)
    assert region_distribution_loss(logits, logits.softmax(dim=1)).item() == pytest.approx(0, abs=1e-6)


def roi_head(classes: int | None) -> FpnRoIHead:
    spec = FpnHeadSpec(kind="fpn", pool_size=2, width=6, box_regression="class_agnostic")
    return FpnRoIHead(spec.model_copy(update={"classes": classes}), inputs=4, strides=(4, 8, 16, 32))


@torch.no_grad()
def test_classes_of_kept_features_are_those_that_the_detector_gave() -> None:
    head, pyramid = roi_head(5), [normal(1, 4, size, size, seed=size) for size in (16, 8, 4, 2)]
    boxes = torch.tensor([[0.0, 0.0, 30.0, 40.0], [10.0, 10.0, 60.0, 50.0]])
    classified = head(pyramid, [boxes])
    distribution = class_distribution(head, classified.features[0][None])
    assert distribution.shape == (1, 2, 6)
    torch.testing.assert_close(distribution[0, :, :-1], classified.scores[0])
    torch.testing.assert_close(distribution.sum(dim=2), torch.ones(1, 2))


def test_a_detector_without_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="no classes"):
        class_distribution(roi_head(None), normal(1, 2, 6))


def test_a_question_without_an_answer_in_the_set_is_left_out() -> None:
    logits = normal(4, 5)
    expected = nn.CrossEntropyLoss(ignore_index=-1)(logits, torch.tensor([2, -1, 0, -1]))
    torch.testing.assert_close(answers_loss(logits, torch.tensor([2, -1, 0, -1])), expected)


def test_soft_scores_cost_binary_cross_entropy_summed_over_answers() -> None:
    logits, scores = normal(4, 5), torch.rand(4, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(soft_answers_loss(logits, scores), nn.BCEWithLogitsLoss()(logits, scores) * 5)
    logit, score = torch.tensor([[2.0]]), torch.tensor([[0.3]])
    by_hand = 0.3 * math.log(1 + math.exp(-2)) + 0.7 * math.log(1 + math.exp(2))
    assert soft_answers_loss(logit, score).item() == pytest.approx(by_hand)


NONE = {
    "words": (masked_words_loss, torch.zeros(0, dtype=torch.long)),
    "matching": (matching_loss, torch.zeros(0, dtype=torch.bool)),
    "features": (region_features_loss, torch.zeros(0, 3)),
    "classes": (region_classes_loss, torch.zeros(0, 3)),
    "distribution": (region_distribution_loss, torch.zeros(0, 3)),
    "answers": (answers_loss, torch.zeros(0, dtype=torch.long)),
    "soft": (soft_answers_loss, torch.zeros(0, 3)),
}


@pytest.mark.parametrize(("loss", "target"), NONE.values(), ids=NONE.keys())
def test_nothing_costs_nothing_and_still_has_a_gradient(loss: Callable, target: Tensor) -> None:
    layer = nn.Linear(4, 2 if loss is matching_loss else 3)
    value = loss(layer(torch.zeros(0, 4)), target)
    assert value.item() == 0
    value.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.count_nonzero() == 0


def test_questions_none_of_which_can_be_answered_cost_nothing() -> None:
    logits = normal(2, 3).requires_grad_()
    answers_loss(logits, torch.tensor([-1, -1])).backward()
    assert logits.grad is not None
    assert logits.grad.count_nonzero() == 0


@pytest.mark.parametrize("loss", [region_features_loss, region_distribution_loss])
def test_no_gradient_reaches_the_target(loss: Callable) -> None:
    predicted, real = normal(4, 3).requires_grad_(), normal(4, 3, seed=1).softmax(dim=1).requires_grad_()
    loss(predicted, real).backward()
    assert predicted.grad is not None
    assert real.grad is None


@pytest.mark.parametrize("loss", [masked_words_loss, answers_loss])
def test_losses_of_half_precision_are_taken_in_single(loss: Callable) -> None:
    logits, targets = normal(64, 100).bfloat16(), torch.arange(64)
    value = loss(logits, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.float(), targets), rtol=0, atol=0)
