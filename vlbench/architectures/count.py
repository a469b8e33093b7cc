"""Counts a spec's model on the meta device: without memory, in little time, with the same figures as a real pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.architectures.table6 import charge_table6, params_table6
from vlbench.errors import InputError
from vlbench.measure.macs import MacCount, ParameterCount, count_macs, count_parameters
from vlbench.measure.records import ELEMENT_BYTES, Counts, Precision
from vlbench.specs import AnySpec, HuggingFaceSpec, ModelSpec, ModuleSpec


def count(spec: AnySpec, *, batch: int = 1, precision: Precision = "fp32") -> Counts:
    """Parameters, MACs and bytes moved for a batch of the spec's input; a detector has the load that the spec declares.

    The precision is only the size in bytes of what is floating point. A detector is counted in torchvision's layers,
    whatever its engine. A class of transformers whose forward pass depends on values, which the meta device lacks, is
    counted on the CPU. Raises SpecError if its stages leave out much of its MACs, or if it cannot be built.
    """
    if not isinstance(spec, ModelSpec):
        foreign: Callable[..., Counts] = _count_module if isinstance(spec, ModuleSpec) else _count_huggingface
        try:
            return foreign(spec, batch, precision, "meta")
        except (NotImplementedError, RuntimeError, InputError):
            return foreign(spec, batch, precision, "cpu")
    with torch.device("meta"):
        model = build(spec.with_engine("torchvision")).eval()
        text, images = blank_batch(spec, batch)
        single = blank_batch(spec, 1)
    stages = model.stages()
    parameters = count_parameters(model, stages)
    with _token_count(model.visual) as image_tokens:
        macs = count_macs(lambda: model(text, images), stages)
    charged = charge_table6(spec, model, lambda: model(*single), image_tokens=image_tokens[0])
    return counts_of(
        spec,
        parameters,
        macs,
        precision,
        image_tokens[0],
        params_table6=params_table6(model),
        macs_table6=charged.macs if charged else None,
        flops_table6=charged.flops if charged else None,
    )


def _count_huggingface(spec: HuggingFaceSpec, batch: int, precision: Precision, device: str) -> Counts:
    from vlbench.architectures import huggingface  # noqa: PLC0415  it imports transformers, as slow as PyTorch

    images: Images | RegionFeatures
    pictures = batch * spec.images
    with torch.device(device):
        model = huggingface.HuggingFaceModel(spec, blank=True).eval()
        text = Text(ids=torch.zeros(batch, spec.input.text_tokens, dtype=torch.long), mask=None)
        if spec.features:
            images = huggingface.random_images(spec, pictures, device)
        else:
            pixels = torch.zeros(pictures, 3, *spec.input.image_size)
            images = Images(pixels=pixels, sizes=(spec.input.image_size,) * pictures)
        stages = model.stages()
        parameters = count_parameters(model, stages)
        with model.checked_stages(), model.image_tokens() as image_tokens:
            macs = count_macs(lambda: model(text, images), stages)
    model.check_rest(macs.total, macs.by_stage)
    return counts_of(spec, parameters, macs, precision, image_tokens[-1])


def _count_module(spec: ModuleSpec, batch: int, precision: Precision, device: str) -> Counts:
    from vlbench.architectures.module_model import ModuleModel, blank_inputs  # noqa: PLC0415  imports transformers

    with torch.device(device):
        model = ModuleModel(spec).eval().for_batch(batch)
        forward = model.bound(*blank_inputs(spec, batch))
        stages = model.stages()
        return counts_of(spec, count_parameters(model, stages), count_macs(forward, stages), precision, None)


def counts_of(
    spec: AnySpec,
    parameters: ParameterCount,
    macs: MacCount,
    precision: Precision,
    image_tokens: int | None,
    **table6: int | None,
) -> Counts:
    """The record of what was counted in one forward pass."""
    size = ELEMENT_BYTES[precision]
    return Counts(
        image_tokens=image_tokens,
        text_tokens=spec.input.text_tokens,
        params_total=parameters.total,
        params_trainable=parameters.trainable,
        params_by_stage=parameters.by_stage,
        macs=macs.total,
        macs_by_stage=macs.by_stage,
        flops=2 * macs.total,
        operators=macs.operators,
        bytes_moved=macs.traffic.bytes(size),
        bytes_moved_by_stage={name: moved.bytes(size) for name, moved in macs.traffic_by_stage.items()},
        **table6,
    )


def blank_batch(spec: ModelSpec, batch: int) -> tuple[Text | None, Images]:
    """An uninitialised input of the spec's shape, on the current device."""
    count = batch * spec.images
    images = Images(pixels=torch.empty(count, 3, *spec.input.image_size), sizes=(spec.input.image_size,) * count)
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
