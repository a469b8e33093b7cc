"""The learning rate schedule, and which parameters have weight decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from tests.training.learners import settings
from vlbench.architectures.build import build
from vlbench.specs.catalog import catalog
from vlbench.training.optimiser import BETAS, build_optimiser, rate_factor


def test_rate_is_that_of_transformers() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_linear_schedule_with_warmup(optimiser, num_warmup_steps=10, num_training_steps=100)
    for step in range(100):
        assert rate_factor(step / 100, warm_up=0.1) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimiser.step()
        schedule.step()
    assert rate_factor(1.0, warm_up=0.1) == 0


def test_rate_without_warm_up_and_with_nothing_else() -> None:
    assert [rate_factor(share, warm_up=0) for share in (0, 0.5, 1)] == [1, 0.5, 0]
    assert [rate_factor(share, warm_up=1) for share in (0, 0.5, 1)] == [0, 0.5, 1]


@pytest.mark.parametrize("name", ["vilt-b32", "pixelbert-r50", "uniter-base"])
def test_biases_norms_positions_and_class_tokens_do_not_decay(name: str) -> None:
    model = build(catalog()[name].tiny())
    optimiser = build_optimiser(model, settings(weight_decay=0.01))
    names = {id(parameter): label for label, parameter in model.named_parameters()}
    decayed, spared = ([names[id(parameter)] for parameter in group["params"]] for group in optimiser.param_groups)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.01, 0.0]
    assert set(decayed) | set(spared) == {
        label for label, parameter in model.named_parameters() if parameter.requires_grad
    }
    assert any("words" in label for label in decayed)
    assert not [label for label in decayed if "norm" in label or label.endswith("bias") or "positions" in label]
    matrices = {label for label, value in model.named_parameters() if value.ndim > 1 and value.requires_grad}
    assert {label.rpartition(".")[2] for label in matrices - set(decayed)} <= {"weight", "positions", "class_token"}
    assert all("positions" in label or "class_token" in label for label in matrices - set(decayed))
    assert optimiser.defaults["betas"] == BETAS == (0.9, 0.98)


def test_frozen_parameters_are_not_trained() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    optimiser = build_optimiser(module, settings())
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 2
