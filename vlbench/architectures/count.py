"""Counts a spec's model on the meta device: without memory, in little time, with the same figures as a real pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from vlbench.architectures.build import build
from vlbench.architectures.huggingface_stages import Stage
from vlbench.architectures.interfaces import Images, Text
from vlbench.architectures.table6 import charge_table6, params_table6
from vlbench.measuring.counters import CountedPass
from vlbench.measuring.macs import MacCount, ParameterCount, count_macs, count_parameters
from vlbench.measuring.module_counts import ModuleCounts
from vlbench.measuring.modules import count_modules
from vlbench.measuring.records import ELEMENT_BYTES, Counts, Precision
from vlbench.specs import RANDOM, AnySpec, HuggingFaceSpec, ModelSpec, ModuleSpec


def count(spec: AnySpec, *, batch: int = 1, precision: Precision = "fp32") -> Counts:
    """Parameters, MACs and bytes moved for a batch of the spec's input; a detector has the load that the spec declares.

    The precision is only the size in bytes of what is floating point. A detector is counted in torchvision's layers,
    whatever its engine. A class of transformers whose forward pass depends on values, which the meta device lacks, is
    counted on the CPU. Raises SpecError if its stages leave out much of its MACs, or if it cannot be built.
    """
    if isinstance(spec, ModuleSpec):
        return _count_module(spec, batch, precision)
    if isinstance(spec, HuggingFaceSpec):
        try:
            return _count_huggingface(spec, batch, precision, "meta")
        except (NotImplementedError, RuntimeError):
            return _count_huggingface(spec, batch, precision, "cpu")
    model, inputs = _blank_pass(spec, batch, "meta")
    single = blank_batch(spec, 1, "meta")
    stages = model.stages()
    parameters = count_parameters(model, stages)
    with _token_count(model.visual) as image_tokens:
        macs = count_macs(lambda: model(*inputs), stages)
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
    model, inputs = _blank_pass(spec, batch, device)
    stages = model.stages()
    parameters = count_parameters(model, stages)
    with model.checked_stages(), model.image_tokens() as image_tokens:
        macs = count_macs(lambda: model(*inputs), stages)
    model.check_rest(macs.total, macs.by_stage)
    return counts_of(spec, parameters, macs, precision, image_tokens[-1])


def _count_module(spec: ModuleSpec, batch: int, precision: Precision) -> Counts:
    from vlbench.architectures.module_sources import failures_in_one_line  # noqa: PLC0415  imports transformers

    def counted(device: str) -> Counts:
        model, inputs = _blank_pass(spec, batch, device)
        stages = model.stages()
        macs = count_macs(model.bound(*inputs), stages, lenient=True)
        return counts_of(spec, count_parameters(model, stages), macs, precision, None)

    with suppress(Exception):  # code that needs values raises errors of any class on the meta device
        return counted("meta")
    with failures_in_one_line(spec.name, "its forward pass"):
        return counted("cpu")


def count_by_module(spec: AnySpec, *, batch: int = 1, counters: Sequence[str] = ("vlbench",)) -> ModuleCounts:
    """The spec's model by stage and by module, by several counters; an operator that none knows is listed, not refused.

    Raises SpecError if the model cannot be built.
    """

    def prepare(on_meta: bool) -> CountedPass:
        model, inputs = _blank_pass(spec, batch, "meta" if on_meta else "cpu")
        stages = model.stages()
        parts = {name: stage.parts if isinstance(stage, Stage) else (stage,) for name, stage in stages.items()}
        model.requires_grad_(False)  # a gradient confuses PyTorch's counter
        module, arguments, named = model, inputs, {}
        if isinstance(spec, ModuleSpec):
            module, (arguments, named) = model.model, model.arguments(*inputs)
        return CountedPass(module=module, arguments=arguments, named_arguments=named, stages=stages, stage_parts=parts)

    return count_modules(prepare, counters)


def _blank_pass(spec: AnySpec, batch: int, device: str) -> tuple[Any, tuple[Any, Any]]:
    """The model in evaluation mode without its checkpoint, with blank inputs."""
    if isinstance(spec, ModelSpec):
        embedder = spec.with_engine("torchvision").visual.model_copy(update={"weights": RANDOM})
        untrained = spec.model_copy(update={"visual": embedder, "weights": RANDOM})
        with torch.device(device):
            return build(untrained).eval(), blank_batch(spec, batch, device)
    if isinstance(spec, ModuleSpec):
        from vlbench.architectures.module_model import ModuleModel  # noqa: PLC0415  it imports transformers

        with torch.device(device):
            module = ModuleModel(spec).eval().for_batch(batch)
        return module, blank_batch(spec, batch, device)
    from vlbench.architectures import huggingface  # noqa: PLC0415  it imports transformers, as slow as PyTorch

    with torch.device(device):
        model = huggingface.HuggingFaceModel(spec, blank=True).eval()
    if not spec.features:
        return model, blank_batch(spec, batch, device)
    text, _ = blank_batch(spec, batch, "meta")
    return model, (text, huggingface.random_images(spec, batch * spec.images, device))


def counts_of(
    spec: AnySpec,
    parameters: ParameterCount,
    macs: MacCount,
    precision: Precision,
    image_tokens: int | None,
    **table6: int | None,
) -> Counts:
    """The record of what was counted in one forward pass."""
    size = ELEMENT_BYTES.get(precision)
    by_stage = {name: moved.bytes(size) for name, moved in macs.traffic_by_stage.items()} if size else None
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
        unknown_operators=macs.unknown or None,
        bytes_moved=macs.traffic.bytes(size) if size else None,
        bytes_moved_by_stage=by_stage,
        **table6,
    )


def blank_batch(spec: AnySpec, batch: int, device: str | None = None) -> tuple[Text | None, Images]:
    """Zeros of the spec's shape, on a device or the current one."""
    count = batch * spec.images
    pixels = torch.zeros(count, 3, *spec.input.image_size, device=device)
    images = Images(pixels=pixels, sizes=(spec.input.image_size,) * count)
    if spec.text is None:
        return None, images
    return Text(ids=torch.zeros(batch, spec.input.text_tokens, dtype=torch.long, device=device), mask=None), images


@contextmanager
def _token_count(visual: nn.Module) -> Iterator[list[int]]:
    """Fills its list with the number of tokens that each call of the visual embedder gives."""
    lengths: list[int] = []
    hook = visual.register_forward_hook(lambda _, __, tokens: lengths.append(tokens.values.shape[1]))
    try:
        yield lengths
    finally:
        hook.remove()
