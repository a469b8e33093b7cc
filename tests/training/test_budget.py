"""Budgets: how they are written, and how much of them is spent."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vlbench.errors import InputError
from vlbench.training.budget import Budget, Spent, parse_budget, training_macs


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("200000", "samples", 200_000),
        ("200,000", "samples", 200_000),
        ("1_000", "samples", 1_000),
        ("200k", "samples", 200_000),
        ("200ksamples", "samples", 200_000),
        ("1.5M samples", "samples", 1_500_000),
        ("2e5", "samples", 200_000),
        ("2000steps", "steps", 2_000),
        ("2 ksteps", "steps", 2_000),
        ("1step", "steps", 1),
        ("90s", "seconds", 90),
        ("25min", "seconds", 1_500),
        ("25 Minutes", "seconds", 1_500),
        ("1.5h", "seconds", 5_400),
        ("5e15macs", "macs", 5e15),
        ("5PMACs", "macs", 5e15),
        ("0.25Gmacs", "macs", 2.5e8),
    ],
)
def test_forms(text: str, kind: str, amount: float) -> None:
    assert parse_budget(text) == Budget.model_validate({"kind": kind, "amount": amount})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a budget"),
        ("min", "not a budget"),
        ("-3", "not a budget"),
        ("1,5h", "not a budget"),
        ("nan", "not a budget"),
        ("25m", "minutes or millions.* 25min or 25M works"),
        ("25 bananas", "'bananas' is not a unit of budgets"),
        ("2Xsteps", "'Xsteps' is not a unit"),
        ("0", "nothing could be trained"),
        ("0min", "nothing could be trained"),
        ("1e999macs", "nothing could be trained"),
        ("1e300", "nothing could be trained for so long"),
        ("9" * 400, "nothing could be trained for so long"),
        ("1e20h", "nothing could be trained for so long"),
        ("inf", "not a budget"),
        ("1.5samples", "not a whole number of samples; 2samples works"),
    ],
)
def test_what_is_not_a_budget_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(InputError, match=f"^--budget {text}: .*{why}") as error:
        parse_budget(text)
    assert "\n" not in str(error.value)
    assert "works" in str(error.value)


@pytest.mark.parametrize(
    ("text", "share"), [("400", 0.25), ("40steps", 0.5), ("8s", 0.75), ("1000macs", 1.0), ("10", 1.0)]
)
def test_share(text: str, share: float) -> None:
    assert parse_budget(text).share(Spent(samples=100, steps=20, seconds=6.0, macs=1e3)) == share


def test_two_phases_share_a_budget() -> None:
    whole = parse_budget("25min")
    rest = whole.after(Spent(seconds=500.0, samples=9))
    assert rest == Budget(kind="seconds", amount=1000.0)
    with pytest.raises(InputError, match="--budget 25 min: the phase before took 25 min; a larger budget works"):
        whole.after(Spent(seconds=1500.0))


def test_samples_and_steps_are_whole() -> None:
    with pytest.raises(ValidationError, match=r"2.5 is not a whole number of steps"):
        Budget(kind="steps", amount=2.5)


def test_macs_of_training() -> None:
    # Of a linear layer y = W x each of forward, gradient of x and gradient of W is a product of the same size.
    assert training_macs(6 * 3, samples=10) == 3 * (6 * 3) * 10
    assert training_macs(None, samples=10) == 0


@pytest.mark.parametrize(
    ("text", "words"), [("200000", "200,000 samples"), ("45s", "45 s"), ("3h", "3.0 h"), ("5e15macs", "5e+15 MACs")]
)
def test_in_words(text: str, words: str) -> None:
    assert str(parse_budget(text)) == words
