"""Restarts of a journal that are damaged are measured again; the others count."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import tiny
from vlbench.runner.cells import Cell
from vlbench.runner.scheduler import CellRun

WHOLE: dict[str, Any] = {"latency_ms": [1.0, 2.0], "warm_up": {"n": 1, "steady": True}, "measured_at": "2026-01-31"}
DAMAGED = [
    {},
    WHOLE | {"latency_ms": []},
    WHOLE | {"latency_ms": [math.nan]},
    WHOLE | {"latency_ms": "1.0"},
    WHOLE | {"warm_up": None},
    WHOLE | {"unknown": 1},
]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_only_whole_restarts_of_a_journal_count(damaged: dict[str, Any]) -> None:
    cell = Cell(spec=tiny("vit-b32"), image=Path("x.jpg"), image_sha256="0", text="a", device="cpu", threads=1)
    run = CellRun(cell, [damaged, WHOLE])
    assert [restart.latency_ms for restart in run.restarts] == [(1.0, 2.0)]
