"""Shares as users write them: `5%` or `0.05`."""

from __future__ import annotations

import re


def share_of(text: object) -> float | None:
    """0.05 of `5%` and of `0.05`; None of what is no such number."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*", str(text))
    return float(match[1]) / (100 if match[2] else 1) if match else None
