"""How far outputs lie apart, against numbers made by hand."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlbench.runner.conversion import ConvertedPart, Part, PreparedWorkload, StageInputs, Target, Workload
from vlbench.runner.equality import TOLERANCES, OutputDifference, check_equality, why_unequal
from vlbench.runner.records import Equality

NAN, INFINITE = float("nan"), float("inf")


def difference(expected: Any, given: Any) -> OutputDifference:
    between = OutputDifference()
    between.add([torch.as_tensor(expected)], [torch.as_tensor(given)])
    return between


@pytest.mark.parametrize(
    ("expected", "given", "largest", "mean"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0, 0),
        ([1.0, -4.0], [1.0, -3.0], 1 / 4, 1 / 8),
        ([100.0, -400.0], [100.0, -300.0], 1 / 4, 1 / 8),  # a share of the largest, whatever the scale
        ([0.0, 2.0, 0.0, 0.0], [0.5, 2.5, 0.0, 0.0], 1 / 4, 1 / 8),
        ([-INFINITE, 2.0, 1.0], [-INFINITE, 2.0, 2.0], 1 / 2, 1 / 4),
        ([0.0, 0.0], [0.0, 0.0], 0, 0),
        ([], [], 0, 0),
    ],
)
def test_the_largest_and_the_mean_difference(expected: Any, given: Any, largest: float, mean: float) -> None:
    between = difference(expected, given)
    assert between.largest == pytest.approx(largest)
    assert between.sum / max(1, between.count) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ([1.0, 2.0], [[1.0, 2.0]]),
        ([1.0, 2.0], [1.0]),
        ([1.0, 2.0], [1.0, NAN]),
        ([1.0, NAN], [1.0, 2.0]),
        ([1.0, NAN], [1.0, NAN]),
        ([1.0, INFINITE], [1.0, -INFINITE]),
        ([1.0, -INFINITE], [1.0, -1e30]),
        ([0.0, 0.0], [0.0, 1e-9]),  # there is no scale
        ([1, 2], [1, 3]),
        ([True, False], [True, True]),
    ],
)
def test_what_cannot_be_measured_is_infinitely_far(expected: Any, given: Any) -> None:
    assert math.isinf(difference(expected, given).largest)


def test_equal_integers_and_masks_are_equal_whatever_their_type() -> None:
    assert difference([1, 2], torch.tensor([1, 2], dtype=torch.int32)).largest == 0
    assert difference([True, False], [True, False]).largest == 0


def test_each_tensor_has_a_scale_of_its_own() -> None:
    between = OutputDifference()
    between.add([torch.tensor([1000.0]), torch.tensor([1.0])], [torch.tensor([1000.0]), torch.tensor([0.5])])
    assert (between.largest, between.sum, between.count) == (0.5, 0.5, 2)


def test_another_number_of_tensors_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        OutputDifference().add([torch.ones(1)], [])


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Identity(), nn.Identity()

    def forward(self, values: Tensor) -> Tensor:
        return self.first(values) + self.second(values)


def equality_of(first: float, second: float, *, whole: float = 0, selects: bool = False) -> Equality:
    """Of a model that adds its input to itself, on inputs of three sizes, with parts that are off by so much."""
    model: Any = Sum()
    passes = [partial(model, torch.full((size,), 2.0)) for size in (1, 2, 5)]
    workload = Workload(
        model=model,
        inputs=(None, None),
        forward=passes[0],
        device=torch.device("cpu"),
        stages={},
        convertible={},
        target=Target(folder=Path("/dev/null")),
        examples=passes[1:],
    )
    outputs = [run() for run in passes]
    parts = []
    for name, off in (("first", first), ("second", second)):
        module = getattr(model, name)
        calls = [StageInputs(some.args, {}) for some in passes]
        part = Part(
            name=name,
            module=module,
            eager=module.forward,
            calls=calls,
            outputs=[output / 2 for output in outputs],
            calibration=list,
            target=workload.target,
        )
        parts.append(ConvertedPart(part, lambda values, off=off: values + off))
    prepared = PreparedWorkload(
        forward=passes[0], stages={}, parts=parts, outputs=outputs, run=lambda passed: passed() + whole
    )
    return check_equality(workload, prepared, "fp32", selects=selects)


def test_each_part_and_the_output_are_compared_on_all_passes() -> None:
    equality = equality_of(0, 1, whole=2)
    assert equality.inputs == 3
    assert equality.largest_by_part == {"first": 0, "second": 1 / 2, "output": 2 / 4}
    assert (equality.largest, equality.mean) == (1 / 2, pytest.approx((0 + 1 / 2 + 1 / 2) / 3))
    assert equality.tolerance == TOLERANCES["fp32"]


def test_what_a_detector_selects_is_not_compared() -> None:
    """A last digit of a score decides it."""
    assert set(equality_of(0, 0, whole=2, selects=True).largest_by_part) == {"first", "second"}


def test_a_part_that_is_off_is_named_before_the_output() -> None:
    assert why_unequal(equality_of(0, 0)) is None
    assert why_unequal(equality_of(0, 1e-4)) is None
    tail = "at most 0.0001 is allowed"
    assert why_unequal(equality_of(0, 0.5, whole=4)) == (
        f"the output of second differs from eager PyTorch's by 0.25 of its largest value; {tail}"
    )
    assert why_unequal(equality_of(0, NAN)) == (
        f"the output of second differs from eager PyTorch's in shape, type or which values are finite; {tail}"
    )
    assert why_unequal(equality_of(0, 0, whole=4)) == (
        f"the output differs from eager PyTorch's by 1 of its largest value; {tail}"
    )
