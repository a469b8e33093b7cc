"""The loop against formulas: gradients, rates, overfitting, the curve."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tests.training.learners import Classifier, Examples, course, course_of, digest, network, settings
from vlbench.errors import InputError
from vlbench.training.learner import Losses
from vlbench.training.loop import seed_of, train
from vlbench.training.optimiser import rate_factor
from vlbench.training.progress import TrainingListener, TrainingProgress


def gradients_seen(folder: Path, **values: object) -> list[Tensor]:
    """The gradients of the first step, before clipping."""
    learner = Classifier(network("linear"))
    train(learner, Examples(), settings(budget="1steps", clip=None, **values), folder)
    return [value.grad.clone() for value in learner.module.parameters() if value.grad is not None]


@pytest.mark.parametrize("accumulate", [2, 4, 7, 10])
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path, accumulate: int) -> None:
    module = network("linear")
    values_BD, classes_B = Examples().batch(0, 10)
    nn.functional.cross_entropy(module(values_BD), classes_B).backward()
    gradients = gradients_seen(tmp_path, batch=10, accumulate=accumulate)
    for gradient, parameter in zip(gradients, module.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-6, rtol=0)


def test_loss_and_accuracy_are_of_all_samples(tmp_path: Path) -> None:
    learner, quick = Classifier(network("linear")), settings(budget="1steps", batch=10, accumulate=3)
    logits_BC = learner.module(Examples().batch(0, 10)[0])
    classes_B = Examples().batch(0, 10)[1]
    (point,) = train(learner, Examples(), quick, tmp_path).history
    assert point.loss == pytest.approx(nn.functional.cross_entropy(logits_BC, classes_B).item(), abs=1e-6)
    assert point.loss_by_term == {"classes": pytest.approx(point.loss)}
    assert (point.accuracy, point.questions) == ((logits_BC.argmax(1) == classes_B).double().mean().item(), 10)
    assert (point.samples, point.steps) == (10, 1)


def test_one_step_is_adamw(tmp_path: Path) -> None:
    module = network("linear")
    expected = torch.optim.AdamW(module.parameters(), lr=1e-2 * rate_factor(0.5, warm_up=0.1), betas=(0.9, 0.98))
    expected.param_groups[0]["weight_decay"] = 0.0
    values_BD, classes_B = Examples().batch(0, 8)
    nn.functional.cross_entropy(module(values_BD), classes_B).backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), 0.05)
    expected.step()
    learner = Classifier(network("linear"))
    trained = train(learner, Examples(), settings(budget="1steps", weight_decay=0, clip=0.05), tmp_path)
    for parameter, target in zip(learner.module.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(parameter, target, atol=1e-7, rtol=0)
    assert trained.history[0].gradient_norm == pytest.approx(norm.item(), rel=1e-6)
    assert trained.history[0].learning_rate == pytest.approx(1e-2 * 0.5 / 0.9)


@pytest.mark.parametrize("budget", ["20steps", "160", "480macs"])
def test_rates_of_a_whole_run(tmp_path: Path, budget: str) -> None:
    quick = settings(budget=budget, point_steps=1)  # 160 samples, of which each is 1 MAC forward and 3 to train
    trained = train(Classifier(network("linear")), Examples(), quick, tmp_path, forward_macs=1.0)
    rates = [point.learning_rate for point in trained.history]
    assert rates == pytest.approx([1e-2 * rate_factor((step + 0.5) / 20, warm_up=0.1) for step in range(20)])
    assert min(rates) > 0
    assert trained.spent == replace(trained.spent, samples=160, steps=20, macs=480.0)


def test_a_budget_of_seconds_has_its_whole_schedule(tmp_path: Path) -> None:
    quick = settings(budget="0.6s", point_steps=1)
    points = train(Classifier(network("linear"), seconds=0.01), Examples(), quick, tmp_path).history
    ends = [0.0, *(point.seconds for point in points)]
    assert ends[-2] < 0.6 <= ends[-1]
    # a step is expected to take as long as the one before it
    lengths = [0.0, *(later - earlier for earlier, later in pairwise(ends))]
    for point, begun, length in zip(points, ends, lengths, strict=False):
        share = (begun + min(0.6, begun + length)) / 2 / 0.6
        assert point.learning_rate == pytest.approx(1e-2 * rate_factor(share, warm_up=0.1), abs=1e-9)


@pytest.mark.parametrize("kind", ["linear", "dropout", "norm"])
def test_one_batch_is_overfitted_in_200_steps(tmp_path: Path, kind: str) -> None:
    quick = settings(budget="200steps", batch=16, point_steps=50, learning_rate=3e-2)
    trained = train(Classifier(network(kind)), Examples(epoch=16), quick, tmp_path)
    assert trained.history[0].loss > trained.history[-1].loss
    assert trained.history[-1].accuracy is not None
    assert trained.history[-1].accuracy > (0.9 if kind == "dropout" else 0.99)
    assert trained.history[-1].loss < (0.4 if kind == "dropout" else 0.1)


def test_seeds_determine_everything_random(tmp_path: Path) -> None:
    runs = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(name))
        torch.rand(ord(name))  # what happened before does not matter
        learner = Classifier(network("dropout"), noisy=True)
        trained = train(learner, Examples(), settings(seed=seed), tmp_path / name)
        runs[name] = (digest(learner.module), learner.drawn, course(trained))
    assert runs["a"] == runs["b"]
    assert runs["a"][0] != runs["c"][0]
    assert not set(runs["a"][1]) & set(runs["c"][1])
    assert len(set(runs["a"][1])) == 20  # another draw each step


def test_seeds_of_different_things_differ() -> None:
    seeds = {seed_of(seed, step, rank, what) for seed in (0, 1, 11) for step in (0, 1, 11) for rank in (0, 1)
             for what in ("global", "choices")}  # fmt: skip
    assert len(seeds) == 36
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_workers_change_nothing(tmp_path: Path) -> None:
    digests = []
    for workers in (0, 2):
        learner = Classifier(network("dropout"))
        train(learner, Examples(), settings(workers=workers), tmp_path / str(workers))
        digests.append(digest(learner.module))
    assert digests[0] == digests[1]


def test_the_curve_is_in_the_file(tmp_path: Path) -> None:
    trained = train(Classifier(network("linear")), Examples(), settings(budget="22steps"), tmp_path)
    assert course_of(tmp_path) == course(trained)
    assert [point.steps for point in trained.history] == [5, 10, 15, 20, 22]
    line = json.loads((tmp_path / "training.jsonl").read_text().splitlines()[-1])
    assert list(line)[:4] == ["samples", "steps", "seconds", "loss"]
    assert line["samples_per_second"] > 0


class Uneven:
    """A loss that half of the batches do not have, and a parameter that none uses."""

    def __init__(self) -> None:
        self.module = nn.ParameterDict({"used": torch.ones(2, 2), "idle": torch.ones(2, 2)})

    def losses(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Losses:
        loss = (self.module["used"] ** 2).mean()
        return Losses(total=loss, parts={"odd": loss} if float(batch[0].sum()) > 0 else {})


def test_parts_are_of_the_batches_that_have_them(tmp_path: Path) -> None:
    learner = Uneven()
    trained = train(learner, Examples(), settings(budget="20steps"), tmp_path)
    assert {name for point in trained.history for name in point.loss_by_term} == {"odd"}
    assert trained.history[0].accuracy is None
    assert torch.equal(learner.module["idle"], torch.ones(2, 2))  # no gradient: not even weight decay


class Broken(Classifier):
    def losses(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Losses:
        losses = super().losses(batch, generator)
        return replace(losses, total=losses.total * (float("nan") if len(self.drawn) > 12 else 1.0))


def test_a_loss_that_is_not_finite_ends_training_and_spoils_no_checkpoint(tmp_path: Path) -> None:
    quick = settings(checkpoint_seconds=0)
    with pytest.raises(InputError, match=r"loss is not finite; a lower learning rate or fp32 works") as error:
        train(Broken(network("linear")), Examples(), quick, tmp_path)
    assert "\n" not in str(error.value)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in kept["module"].values())
    assert json.loads(kept["numbers"])["spent"]["steps"] == 12


def test_bf16_computes_in_bfloat16_and_keeps_float32_weights(tmp_path: Path) -> None:
    seen = []
    learner = Classifier(network("linear"))
    learner.module[0].register_forward_hook(lambda _module, _given, values: seen.append(values.dtype))
    trained = train(learner, Examples(epoch=16), settings(precision="bf16", batch=16, budget="100steps"), tmp_path)
    assert set(seen) == {torch.bfloat16}
    assert {value.dtype for value in learner.module.parameters()} == {torch.float32}
    assert trained.history[-1].loss < trained.history[0].loss


def test_a_listener_gets_the_progress(tmp_path: Path) -> None:
    reports: list[TrainingProgress] = []
    train(
        Classifier(network("linear")),
        Examples(),
        settings(),
        tmp_path,
        listener=TrainingListener(on_progress=reports.append),
    )
    assert reports[-1].share == 1
    assert reports[-1].spent.samples == 160
    assert reports[-1].loss is not None
    assert reports[-1].seconds_left == 0


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="a batch of 8 cannot be cut into 9; 8 works"):
        settings(accumulate=9)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        settings(rate=1)


def test_macs_must_be_known_where_they_are_the_budget(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs forward_macs"):
        train(Classifier(network("linear")), Examples(), settings(budget="1e9macs"), tmp_path)
