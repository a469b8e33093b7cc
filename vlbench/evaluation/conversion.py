"""Has a backend convert the stages of the model under test, for batches of any size, and compares what it gives with
eager PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from vlbench.architectures.vl_model import VLModel
from vlbench.errors import LONGEST_REASON, InputError, first_line, is_out_of_memory, shortened
from vlbench.evaluation.adapter import ModelUnderTest, UnbatchedVisual
from vlbench.evaluation.inputs import Batch, batches
from vlbench.evaluation.processes import Process
from vlbench.evaluation.retrieval import score_block
from vlbench.evaluation.split import Split
from vlbench.runner.backends import is_converted
from vlbench.runner.conversion import (
    ConvertedPart,
    NotConvertibleError,
    Pass,
    PreparedWorkload,
    Target,
    Workload,
)
from vlbench.runner.convert import convert, why_not_measured
from vlbench.runner.records import Conversion
from vlbench.runner.workload import convertible_of
from vlbench.specs import AnySpec
from vlbench.system.temporary import temporary_folder
from vlbench.tasks.items import Gallery, Item

SEARCHED = 4  # batches, among whose items those with the shortest texts are
TEXTS = 3  # of a gallery, that are scored in a pass
CALIBRATED = 8  # items in each of two passes


class ConversionError(Exception):
    """Why a model has no accuracy with a backend and precision, for a user."""


class ConvertedModel:
    """What is known of a conversion; it goes on during the evaluation, as batches of another layout come."""

    def __init__(self, conversion: Conversion, parts: Sequence[ConvertedPart], later: dict[str, str]) -> None:
        self._conversion, self._parts, self._later = conversion, parts, later

    @property
    def record(self) -> Conversion:
        return self._conversion.model_copy(update={"eager_stages": self._conversion.eager_stages | self._later})

    def undo(self) -> None:
        """Gives the parts their own `forward` again, so that nothing keeps the model."""
        for part, _ in self._parts:
            vars(part.module).pop("forward", None)


@contextmanager
def converted(model: ModelUnderTest, spec: AnySpec, split: Split, process: Process) -> Iterator[ConvertedModel | None]:
    """Has the backend of the split's settings convert the stages of a model; None where it changes nothing.

    Raises ConversionError where it cannot be used here, fails, or gives other outputs than eager PyTorch.
    """
    settings = split.settings
    if not is_converted(settings.backend, settings.precision):
        yield None
        return
    with temporary_folder() as folder:
        target = Target(
            precision=settings.precision, threads=torch.get_num_threads(), folder=folder, fixed_shapes=False
        )
        done, reason = None, None
        try:
            with torch.no_grad():
                done = _convert(model, spec, split, target)
        except ConversionError as error:
            reason = str(error)
        reason = process.any_of(reason)  # so that all processes leave it out, where one has to
        if done is None or reason is not None:
            raise ConversionError(reason)
        try:
            yield done
        finally:
            done.undo()


def _convert(model: ModelUnderTest, spec: AnySpec, split: Split, target: Target) -> ConvertedModel:
    forward, *examples = example_passes(model, split)
    workload = Workload(
        model=model.model,
        inputs=(None, None),
        forward=forward,
        device=model.device,
        stages={},
        convertible=_convertible(model),
        target=target,
        examples=examples,
        calibration=calibration_passes(model, spec, split) if target.precision == "int8-static" else (),
    )
    later: dict[str, str] = {}

    def guarded(prepared: PreparedWorkload) -> PreparedWorkload:
        return replace(prepared, parts=[_guarded(part, later) for part in prepared.parts])

    selects = spec.generates_text or (spec.has_detector and not split.reads_features(spec))
    with _failures():
        prepared, conversion = convert(workload, split.settings.backend, selects=selects, adapt=guarded)
    if reason := why_not_measured(conversion):
        raise ConversionError(reason)
    model.cached_tokens = {}
    return ConvertedModel(conversion, prepared.parts, later)


def _convertible(model: ModelUnderTest) -> dict[str, tuple[nn.Module, ...]]:
    """The modules of each stage, those within a visual embedder that gets each image alone included."""
    built = model.model
    if not isinstance(built, VLModel) or not isinstance(built.visual, UnbatchedVisual):
        return convertible_of(built)
    wrapper = built.visual
    built.visual = wrapper.embedder
    try:
        return convertible_of(built)
    finally:
        built.visual = wrapper


@contextmanager
def _failures() -> Iterator[None]:
    """Any error of a backend as a ConversionError, but that memory ran out."""
    try:
        yield
    except (ConversionError, NotConvertibleError):
        raise
    except InputError as error:
        raise ConversionError(str(error)) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ConversionError(shortened(f"{type(error).__name__}: {first_line(error)}", LONGEST_REASON)) from error


def _guarded(converted_part: ConvertedPart, later: dict[str, str]) -> ConvertedPart:
    """A part that goes on in eager PyTorch, and is listed, once arguments come that its backend cannot convert."""
    part, forward = converted_part

    def guarded(*positional: Any, **named: Any) -> Any:
        if part.name not in later:
            try:
                with _failures():
                    return forward(*positional, **named)
            except NotConvertibleError as error:
                later[part.name] = str(error)
        return part.eager(*positional, **named)

    part.module.forward = guarded
    return ConvertedPart(part, guarded)


def example_passes(model: ModelUnderTest, split: Split) -> list[Pass]:
    """Up to three passes of different sizes: a full batch, the first of the split; half as many of short texts; and two
    whose texts are equally long, so that none is padded."""
    batch_size, gallery = split.settings.batch, split.gallery
    texts = gallery.texts if gallery else [item.text for item in split.items]
    groups = example_groups([_length(model, text) for text in texts[: SEARCHED * batch_size]], batch_size)
    if gallery is None:
        return _item_passes(model, [[split.items[index] for index in group] for group in groups])
    sizes = (batch_size, batch_size // 2 or 1, 2)
    return [_gallery_pass(model, gallery, group, size) for group, size in zip(groups, sizes, strict=False)]


def example_groups(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Which texts make the passes, by their lengths; fewer passes than three where there are too few texts."""
    by_length = sorted(range(len(lengths)), key=lambda index: lengths[index])
    groups = [list(range(min(batch_size, len(lengths))))]
    if len(lengths) > 1:
        groups.append(by_length[: max(1, batch_size // 2)])
    alike = [list(pair) for pair in pairwise(by_length) if len({lengths[index] for index in pair}) == 1]
    return groups + alike[-1:]


def _length(model: ModelUnderTest, text: str) -> int:
    """Of a text in tokens; 0 for a model that reads none."""
    return model.encoder.text([text]).ids.shape[1] if model.encoder.reads_text else 0


def _item_passes(model: ModelUnderTest, groups: Sequence[Sequence[Item]]) -> list[Pass]:
    return [partial(_output, model, batch) for batch in batches(groups, model.encoder)]


def _output(model: ModelUnderTest, batch: Batch) -> Tensor:
    """Without tokens of an earlier pass."""
    model.cached_tokens = {}
    return model.forward(batch)


def _gallery_pass(model: ModelUnderTest, gallery: Gallery, texts: Sequence[int], images: int) -> Pass:
    chosen = [gallery.texts[index] for index in texts]
    return partial(
        score_block, model, chosen, gallery.images[:images], rows=min(TEXTS, len(chosen)), batch_size=len(chosen)
    )


def calibration_passes(model: ModelUnderTest, spec: AnySpec, split: Split) -> list[Pass]:
    """Two passes of the training split, if it is there."""
    if split.gallery:
        gallery = split.calibration_gallery(spec, CALIBRATED)
        texts = range(min(2 * CALIBRATED, len(gallery.texts)))
        return [_gallery_pass(model, gallery, texts[half::2], CALIBRATED) for half in range(2) if texts[half::2]]
    items = split.calibration_items(spec, 2 * CALIBRATED)
    return _item_passes(model, [items[half::2] for half in range(2) if items[half::2]])
