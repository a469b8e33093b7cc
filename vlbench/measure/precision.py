"""Precisions of weights and activations, and the size of an element in each."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]

ELEMENT_BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2, "fp16": 2}
