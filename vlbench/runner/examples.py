"""Passes beside the one that is measured: of other sizes, to check a conversion with, and of other values, to calibrate
one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from PIL import Image

from vlbench.architectures.build import AnyModel
from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.architectures.module_model import ModuleModel
from vlbench.inputs import normalised, padded_ids
from vlbench.measuring.counters import map_tensors, tensors_of
from vlbench.runner.conversion import Inputs, Pass
from vlbench.specs import AnySpec
from vlbench.tasks.shapes.drawing import draw
from vlbench.tasks.shapes.items import generated_scene, image_path
from vlbench.tasks.shapes.language import questions_about

SIZES = ((1, 2), (0, 4))  # of other passes: examples for each more, tokens of the text fewer
CALIBRATION_SCENES = 8


def pass_of(model: AnyModel, inputs: Inputs) -> Pass:
    """One forward pass. An external module is called without what is around it."""
    text, images = inputs
    if isinstance(model, ModuleModel):
        return model.bound(text, images if isinstance(images, Images) else None)
    return partial(model, text, images)


def resized_passes(forward: Pass) -> list[Pass]:
    """Passes with more examples and shorter texts, as far as the model runs them."""
    return [some for more, shorter in SIZES for some in _resized(forward, more, shorter)]


def _resized(forward: Pass, examples: int, tokens: int) -> Iterator[Pass]:
    """At most one: with a shorter text, or at least with more examples."""
    for more, shorter in ((examples, tokens), (examples + 1, 0)):
        try:
            arguments, named = (_grown(value, more, shorter) for value in (forward.args, dict(forward.keywords)))
            changed = partial(forward.func, *arguments, **named)
            changed()
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
            continue
        yield changed
        return


def _grown(value: Any, more: int, shorter: int) -> Any:
    """Inputs with `more` examples for each; a text loses its last tokens but one."""
    if isinstance(value, Text):
        kept = max(2, value.ids.shape[1] - shorter)
        cut = replace(value, ids=value.ids[:, :kept], mask=None if value.mask is None else value.mask[:, :kept])
        return map_tensors(cut, lambda tensor: repeated(tensor, more))
    if isinstance(value, Images | RegionFeatures):
        grown = map_tensors(replace(value, sizes=()), lambda tensor: repeated(tensor, more))
        return replace(grown, sizes=value.sizes * (1 + more))
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_grown(item, more, shorter) for item in value)
    if type(value) is dict:
        return {name: _grown(item, more, shorter) for name, item in value.items()}
    return map_tensors(value, lambda tensor: repeated(tensor, more)) if any(True for _ in tensors_of(value)) else value


def repeated(tensor: torch.Tensor, more: int) -> torch.Tensor:
    return tensor.repeat(1 + more, *[1] * (tensor.dim() - 1)) if tensor.dim() else tensor


def calibration_inputs(spec: AnySpec, inputs: Inputs) -> Sequence[Inputs]:
    """The inputs themselves and, for a model that reads pixels, scenes of the generated world with a question about
    each."""
    text, images = inputs
    if not isinstance(images, Images):
        return [inputs]
    return [inputs, *(_scene_inputs(spec, text, images, index) for index in range(CALIBRATION_SCENES))]


def _scene_inputs(spec: AnySpec, text: Text | None, images: Images, index: int) -> Inputs:
    height, width = spec.input.image_size
    scene = generated_scene(image_path("train", index))
    assert scene
    picture = Image.fromarray(draw(scene)).resize((width, height), Image.Resampling.BICUBIC)
    pixels_3HW = torch.from_numpy(normalised(picture, spec.input)).to(images.pixels)
    changed = replace(images, pixels=pixels_3HW.expand_as(images.pixels).contiguous())
    if text is None:
        return None, changed
    ids, _ = padded_ids(questions_about(scene)[0].text, spec)
    ids_L = torch.tensor(ids, device=text.ids.device)[: text.ids.shape[1]]
    return replace(text, ids=ids_L.expand_as(text.ids).contiguous()), changed
