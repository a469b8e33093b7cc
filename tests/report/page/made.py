"""Results folders for the page, written as JSON from a published line, so that the truth is the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.paths import ROOT
from vlbench.report.frames import read
from vlbench.report.page.page import render

PUBLISHED = ROOT / "results" / "epyc-2-cores"
Line = dict[str, Any]


def published() -> list[Line]:
    """uniter-base, pixelbert-r50 and vilt-b32 as they were measured."""
    return [json.loads(line) for line in (PUBLISHED / "cells.jsonl").read_text().splitlines()]


def line(name: str, times: float = 1.0, **values: Any) -> Line:
    """A cell of its own, whose latencies are so many times ViLT's."""
    made = json.loads(json.dumps(published()[-1]))
    latency = made["latency_ms"]
    latency["median"] *= times
    latency["ci95"] = [times * bound for bound in latency["ci95"]]
    latency["by_restart"] = [times * value for value in latency["by_restart"]]
    made |= {"model": name, "spec_hash": f"{name} spec", "cell_hash": f"{name} cell"}
    return made | values


def failed(name: str, error: str) -> Line:
    nothing = {
        "latency_ms": None,
        "latency_ms_by_stage": None,
        "noise": None,
        "restarts": [],
        "peak_memory_bytes": None,
    }
    return line(name) | nothing | {"status": "failed", "error": error}


def page_of(*folders: Path) -> str:
    return render(read(*folders))
