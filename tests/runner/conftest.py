"""Tiny models as files of a user's own, and one run of them that several tests look at."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.command_line import vlbench
from tests.helpers import write_tiny

TINY = ("vilt-b32", "pixelbert-r50", "uniter-base", "vit-b16")


def ended(pid: int) -> bool:
    """Whether a process is gone; one that nobody has waited for yet counts, as it runs no more."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass(frozen=True)
class Run:
    folder: Path
    models: str
    process: subprocess.CompletedProcess

    @property
    def lines(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / "cells.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("tiny")
    models = ",".join(str(write_tiny(folder, name)) for name in TINY)
    out = folder / "out"
    process = vlbench("run", "--models", models, "--budget", 0.5, "--threads", 1, "--device", "cpu", "--out", out)
    return Run(out, models, process)
