"""What tests of several folders need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

# One model for each way to see and each way to join text and image, and three classes of transformers
TYPICAL = frozenset(
    "vit-b32 vilt-b32 clip-vit-b32 pixelbert-r50 clip-rn50 vsepp uniter-base-table6 visualbert lxmert-table6 "
    "vilbert-table6 scan hf-vilt-b32 hf-clip-vit-b32 hf-lxmert-vqa".split()
)


def each_model(names: Iterable[str]) -> list[Any]:
    """Values for a test's parameter `name`: all but the typical models are slow."""
    return [name if name in TYPICAL else pytest.param(name, marks=pytest.mark.slow) for name in names]
