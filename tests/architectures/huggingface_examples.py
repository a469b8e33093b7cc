"""Tiny models of transformers, and what they are given, for the tests of this folder."""

from __future__ import annotations

import pytest
import torch

from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images, Text
from vlbench.errors import SpecError
from vlbench.specs import HuggingFaceSpec

ATOL = 1e-5


def refusal(spec: HuggingFaceSpec) -> str:
    with pytest.raises(SpecError) as caught:
        build(spec)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{spec.name}: ")
    return message.removeprefix(f"{spec.name}: ")


def text_of(spec: HuggingFaceSpec, *lengths: int) -> Text:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 100, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return Text(ids=ids, mask=None if mask.all() else mask)


def images_of(*sizes: tuple[int, int]) -> Images:
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    pixels = torch.randn(len(sizes), 3, height, width, generator=torch.Generator().manual_seed(2))
    return Images(pixels=pixels, sizes=sizes)
