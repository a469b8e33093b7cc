"""Counts a model of a spec on the meta device: no memory, no time to speak of, the same figures as a real pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from vlbench.architectures.model import build
from vlbench.architectures.table6 import charge_table6, params_table6
from vlbench.architectures.tokens import Images, Text
from vlbench.measure.counting import count_macs, count_parameters
from vlbench.measure.counts import Counts
from vlbench.specs import ModelSpec


def count(spec: ModelSpec, *, batch: int = 1) -> Counts:
    """Parameters and MACs of a batch of the spec's input; a detector passes on the load that the spec declares."""
    with torch.device("meta"):
        model = build(spec).eval()
        text, images = blank_batch(spec, batch)
        single = blank_batch(spec, 1)
    stages = model.stages()
    parameters = count_parameters(model, stages)
    with _token_count(model.visual) as image_tokens:
        macs = count_macs(lambda: model(text, images), stages)
    charged = charge_table6(spec, model, lambda: model(*single), image_tokens=image_tokens[0])
    return Counts(
        image_tokens=image_tokens[0],
        text_tokens=spec.input.text_tokens,
        params_total=parameters.total,
        params_trainable=parameters.trainable,
        params_by_stage=parameters.by_stage,
        macs=macs.total,
        macs_by_stage=macs.by_stage,
        flops=2 * macs.total,
        operators=macs.operators,
        params_table6=params_table6(model),
        macs_table6=charged.macs if charged else None,
        flops_table6=charged.flops if charged else None,
    )


def blank_batch(spec: ModelSpec, batch: int) -> tuple[Text | None, Images]:
    """An input of the spec's shape without content, on the device of the context."""
    images = Images(pixels=torch.empty(batch, 3, *spec.input.image_size), sizes=(spec.input.image_size,) * batch)
    if spec.text is None:
        return None, images
    return Text(ids=torch.empty(batch, spec.input.text_tokens, dtype=torch.long), mask=None), images


@contextmanager
def _token_count(visual: nn.Module) -> Iterator[list[int]]:
    """Fills its list with the number of tokens that each call of the visual embedder gives."""
    lengths: list[int] = []
    hook = visual.register_forward_hook(lambda _, __, tokens: lengths.append(tokens.values.shape[1]))
    try:
        yield lengths
    finally:
        hook.remove()
