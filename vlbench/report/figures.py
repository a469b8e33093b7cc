"""Suites as figures."""

from __future__ import annotations
from pathlib import Path
from vlbench.reproduce.outcomes import Reproduction


def draw(reproduction: Reproduction, folder: Path) -> None:
    """Draws."""
