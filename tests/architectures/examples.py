"""Inputs and parts that several tests share, and a model's end as transformers has it."""

from __future__ import annotations

import torch
from torch import Tensor

from vlbench.architectures import heads
from vlbench.architectures.interfaces import Images, Joint, Text
from vlbench.architectures.region import RegionProjection, Regions
from vlbench.specs import RegionProjectionSpec


class PooledText(heads.Pooler):
    """The pooler as a whole head: transformers' base models end with it."""

    def forward(self, joint: Joint) -> Tensor:
        return super().forward(joint.text)


def padded_text(*lengths: int, vocabulary: int) -> Text:
    """Random words, one text of each length."""
    ids = torch.randint(1, vocabulary, (len(lengths), max(lengths)))
    return Text(ids=ids, mask=mask_of(*lengths))


def mask_of(*lengths: int) -> Tensor:
    """(B, longest) bool, the first of each row real."""
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def images_of(*sizes: tuple[int, int]) -> Images:
    """Random pixels, zero where an image is padded."""
    images = blank(*sizes)
    for row, (height, width) in zip(images.pixels, sizes, strict=True):
        row[:, :height, :width].normal_()
    return images


def blank(*sizes: tuple[int, int]) -> Images:
    height, width = (max(side) for side in zip(*sizes, strict=True))
    return Images(pixels=torch.zeros(len(sizes), 3, height, width), sizes=sizes)


def region_projection(**changes: object) -> RegionProjection:
    """UNITER's, of 6 channels to tokens of 32 numbers, with changes; in eval mode."""
    inputs = changes.pop("inputs", 6)
    arguments = {
        "width": 32,
        "geometry": 7,
        "combine": "sum_of_norms",
        "segment": True,
        "norm": True,
        "whole_image": False,
        "unit_length": False,
        "dropout": 0.1,
        "layer_norm_eps": 1e-12,
    }
    return RegionProjection(RegionProjectionSpec(**(arguments | changes)), inputs=inputs).eval()


def regions_of(features_BRC: Tensor, boxes_BR4: Tensor, mask: Tensor | None = None) -> Regions:
    return Regions(features=features_BRC, boxes=boxes_BR4, confidence=torch.ones_like(boxes_BR4[..., 0]), mask=mask)
