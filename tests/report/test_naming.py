"""Names of cells: as short as tells them apart, and never two alike."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.report.written import MACHINE, line
from vlbench.report.labels import cell_names
from vlbench.runner.records import Result


def names(*lines: dict[str, Any]) -> list[str]:
    return cell_names([Result.model_validate(one) for one in lines])


def test_a_model_alone_is_called_by_its_name() -> None:
    assert names(line("a", batch=8), line("b", device="cuda")) == ["a", "b"]
    assert names() == []


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"batch": 8}, ["a, batch 1", "a, batch 8"]),
        ({"precision": "bf16"}, ["a, fp32", "a, bf16"]),
        ({"image_size": [600, 1000]}, ["a, 384x640", "a, 600x1000"]),
        ({"image_tokens": None}, ["a, 40+241 tokens", "a, 40+? tokens"]),
        ({"machine": MACHINE | {"threads": 1}}, ["a, 2 threads", "a, 1 thread"]),
        ({"machine": MACHINE | {"gpu": "H100"}}, ["a, EPYC 7, 2 cores", "a, H100, EPYC 7, 2 cores"]),
        ({"weights": "hub:x/y"}, ["a, random", "a, hub:x/y"]),
        ({"spec_hash": "0123456789"}, ["a, a", "a, 012345"]),
    ],
)
def test_the_setting_that_differs_is_in_the_name(other: dict[str, Any], told: list[str]) -> None:
    assert names(line("a"), line("a", **other), line("b")) == [*told, "b"]


def test_only_settings_that_tell_apart_are_named() -> None:
    batches = [line("a", batch=batch, device=device) for batch in (1, 2) for device in ("cpu", "cuda")]
    assert names(*batches) == ["a, batch 1, cpu", "a, batch 1, cuda", "a, batch 2, cpu", "a, batch 2, cuda"]
    together = [line("a", batch=1, precision="fp32"), line("a", batch=2, precision="bf16")]
    assert names(*together) == ["a, batch 1", "a, batch 2"]


def test_cells_that_no_setting_tells_apart_are_numbered() -> None:
    assert names(line("a"), line("a"), line("a")) == ["a", "a (2)", "a (3)"]
    assert names(line("a"), line("a (2)"), line("a")) == ["a", "a (2)", "a (3)"]
    assert names(line("a, batch 1"), line("a"), line("a", batch=2)) == ["a, batch 1", "a, batch 1 (2)", "a, batch 2"]


def test_names_are_unique_whatever_is_measured() -> None:
    draw = random.Random(0)
    for _ in range(200):
        lines = [
            line(
                draw.choice(["a", "b", "a, batch 1", "a (2)"]),
                batch=draw.choice([1, 2]),
                precision=draw.choice(["fp32", "bf16"]),
                machine=MACHINE | {"threads": draw.choice([1, 2])},
            )
            for _ in range(draw.randint(1, 12))
        ]
        found = names(*lines)
        assert len(set(found)) == len(lines)
        assert all(name.startswith(one["model"]) for name, one in zip(found, lines, strict=True))
