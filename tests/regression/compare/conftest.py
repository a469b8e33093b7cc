"""Made-up results: what a folder holds, line by line."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import write_results
from vlbench.measuring.machine import Machine
from vlbench.measuring.statistics import summarise
from vlbench.runner.cells import Cell, blank_result
from vlbench.runner.records import Result
from vlbench.specs.catalog import catalog

MACHINE = Machine(
    cpu="Made-up 9000",
    cores=2,
    logical_cores=4,
    threads=2,
    ram_bytes=8 * 2**30,
    gpu=None,
    os="Linux 6.1 x86_64",
    python="3.11.9",
    torch="2.11.0",
)
STAGES = {"text": 0.05, "visual": 0.25, "visual.backbone": 0.2, "visual.projection": 0.04, "interaction": 0.6}


@cache
def _cell() -> Cell:
    return Cell(spec=catalog()["vilt-b32"], image=Path("photo.jpg"), image_sha256="ab" * 32, text="a photograph")


def speeds(seed: int, restarts: int = 15, *, noise: float = 0.008, states: Sequence[float] = (1.0,)) -> list[float]:
    """What each restart draws: a state, and a little noise."""
    source = random.Random(seed)
    return [source.choice(states) * source.lognormvariate(0, noise) for _ in range(restarts)]


def made_up(
    model: str = "vilt-b32",
    *,
    drawn: Sequence[float] = (),
    total_ms: float = 100.0,
    stages: dict[str, float] | None = None,
    **values: Any,
) -> Result:
    """A cell of `total_ms` times the speeds drawn; `stages` are shares of `total_ms`, each of one sample a restart."""
    drawn = drawn or speeds(hash_of(model))
    shares = STAGES if stages is None else stages
    found: dict[str, Any] = {
        "model": model,
        "status": "ok",
        "params_total": 111_596_546,
        "macs": 25_888_869_888,
        "operators": 412,
        "peak_memory_bytes": 500 * 2**20,
        "latency_ms": summarise([[total_ms * speed] for speed in drawn]),
        "measured_at": "2026-01-31T00:00:00+00:00",
    }
    if shares:
        parts = {"total": 1.0, **shares}
        found["latency_ms_by_stage"] = {
            name: summarise([[share * total_ms * speed] for speed in drawn]) for name, share in parts.items()
        }
    return blank_result(_cell(), MACHINE, **(found | values))


def slowed(model: str, stage: str, share: float, *, drawn: Sequence[float] = (), **values: Any) -> Result:
    """The same cell, `share` of the whole pass slower, all of it in one stage (and in the one that holds it)."""
    stages = dict(STAGES)
    for name in {stage, stage.partition(".")[0]}:
        stages[name] += share
    stages = {name: part / (1 + share) for name, part in stages.items()}
    return made_up(model, total_ms=100 * (1 + share), stages=stages, drawn=drawn, **values)


def hash_of(text: str) -> int:
    return sum(place * ord(sign) for place, sign in enumerate(text, start=1))


@pytest.fixture
def folders(tmp_path: Path) -> Callable[[Sequence[Result], Sequence[Result]], tuple[Path, Path]]:
    def make(base: Sequence[Result], head: Sequence[Result]) -> tuple[Path, Path]:
        return write_results(tmp_path / "base", base), write_results(tmp_path / "head", head)

    return make
