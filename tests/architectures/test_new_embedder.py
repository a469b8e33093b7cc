"""A new visual embedder is a spec and a module: everything else asks it, and needs no change."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from tests.architectures.examples import images_of, padded_text
from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.architectures.interfaces import (
    Images,
    TokenBoxes,
    Tokens,
    VisualEmbedder,
    cell_boxes,
    grid_mask,
    mean_of_real,
)
from vlbench.architectures.registry import REGISTRY
from vlbench.errors import InputError
from vlbench.evaluation.adapter import UnbatchedVisual, build_for_evaluation
from vlbench.specs import RANDOM, ModelSpec, PatchSpec
from vlbench.specs.base import VisualSpec
from vlbench.specs.catalog import catalog
from vlbench.training.preset import read_preset, with_preset_sizes

SIDE = 16  # of a cell, in pixels


class CellSpec(VisualSpec):
    """The mean colour of square cells, projected."""

    implementation: ClassVar[str] = f"{__name__}:CellEmbedder"
    family: ClassVar[Literal["patch", "grid", "region"]] = "grid"
    kind: Literal["cells"]
    weights: str = RANDOM
    width: int = 32

    def tiny(self) -> CellSpec:
        return self


class ModelWithCells(ModelSpec):
    """A model file that may have such an embedder, as one more name in the union of visual parts allows."""

    visual: Annotated[PatchSpec | CellSpec, Field(discriminator="kind")]


class CellEmbedder(VisualEmbedder):
    """Projects the mean colour of each cell, and mixes neighbours."""

    steps = ("pool", "projection")
    box_source = ""

    def __init__(self, spec: CellSpec) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(SIDE)
        self.projection = nn.Conv2d(3, spec.width, kernel_size=3, padding=1)

    def forward(self, images: Images) -> Tokens:
        values_BDHW = self.projection(self.pool(images.pixels))
        mask = grid_mask(images, *values_BDHW.shape[2:])
        return Tokens(values=values_BDHW.flatten(2).transpose(1, 2), mask=mask)

    def token_boxes(self, images: Images) -> TokenBoxes:
        height, width = images.sizes[0]
        return cell_boxes((height // SIDE, width // SIDE), SIDE, images.sizes[0])

    def initialise_random(self, generator: torch.Generator) -> None:
        self.projection.weight.normal_(0, 0.2, generator=generator)
        self.projection.bias.zero_()


class WithForgottenStep(CellEmbedder):
    """Has a layer whose time nobody would see."""

    def __init__(self, spec: CellSpec) -> None:
        super().__init__(spec)
        self.norm = nn.LayerNorm(spec.width)


class MeanEmbedder(CellEmbedder):
    """One token of the whole image."""

    box_source = None

    def forward(self, images: Images) -> Tokens:
        return Tokens(values=mean_of_real(super().forward(images))[:, None], mask=None)


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """ViLT's text, interaction and head on cells, all tiny."""
    monkeypatch.setitem(REGISTRY, "cells", CellSpec.implementation)
    content = catalog()["vilt-b32"].tiny().model_dump() | {"family": "grid", "visual": {"kind": "cells"}}
    return ModelWithCells.model_validate(content)


def logits(spec: ModelSpec) -> Tensor:
    return build(spec).eval()(padded_text(5, 3, vocabulary=40), images_of((48, 64), (48, 64)))


@torch.no_grad()
def test_it_is_built_from_its_spec_and_its_seed(spec: ModelSpec) -> None:
    torch.manual_seed(0)
    first = logits(spec)
    torch.manual_seed(0)
    assert torch.equal(first, logits(spec))
    assert first.isfinite().all()
    assert spec.hash() != spec.model_copy(update={"visual": CellSpec(kind="cells", width=64)}).hash()


def test_its_steps_are_stages_and_are_counted(spec: ModelSpec) -> None:
    stages = ["text", "visual", "visual.pool", "visual.projection", "interaction", "head"]
    assert list(build(spec).stages()) == stages
    counts = count(spec)
    cells = (spec.input.image_size[0] // SIDE) * (spec.input.image_size[1] // SIDE)
    assert counts.image_tokens == cells
    assert counts.macs_by_stage["visual.projection"] == cells * 3 * 9 * 32


@pytest.mark.parametrize("declared", ["steps", "untimed"])
def test_a_step_that_would_not_be_timed_is_an_error(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, declared: str
) -> None:
    monkeypatch.setitem(REGISTRY, "cells", f"{__name__}:WithForgottenStep")
    with pytest.raises(TypeError, match=r"WithForgottenStep: the child module 'norm' would not be timed"):
        build(spec)
    monkeypatch.setattr(WithForgottenStep, declared, (*getattr(WithForgottenStep, declared), "norm"))
    assert ("visual.norm" in build(spec).stages()) == (declared == "steps")


@torch.no_grad()
def test_evaluation_sees_padded_images_one_by_one(spec: ModelSpec) -> None:
    model = build_for_evaluation(spec)
    assert isinstance(model.visual, UnbatchedVisual)
    batch = images_of((48, 64), (32, 32))
    alone = Images(pixels=batch.pixels[1:, :, :32, :32], sizes=((32, 32),))
    tokens = model.visual(batch)
    assert tokens.mask is not None
    assert torch.equal(tokens.values[1][tokens.mask[1]], model.visual(alone).values[0])
    assert model.detector is None


@torch.no_grad()
def test_it_says_where_its_tokens_lie(spec: ModelSpec) -> None:
    visual = build_for_evaluation(spec).visual
    with visual.record_boxes() as recorded:
        tokens = visual(images_of((48, 64)))
    (token_boxes,) = recorded
    assert token_boxes.grid == (3, 4)
    assert tokens.values.shape[1] == len(token_boxes.boxes) + visual.special_tokens
    assert token_boxes.boxes[5].tolist() == pytest.approx([1 / 4, 1 / 3, 2 / 4, 2 / 3])


@torch.no_grad()
def test_tokens_that_lie_nowhere_are_refused_by_explain(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, "cells", f"{__name__}:MeanEmbedder")
    visual = build(spec).visual
    with pytest.raises(InputError, match="MeanEmbedder: its tokens stand for no part of the image"):  # noqa: SIM117
        with visual.record_boxes():
            visual(images_of((48, 64)))


def test_training_learns_what_it_supports(spec: ModelSpec) -> None:
    visual, images = build(spec).visual, images_of((48, 64))
    assert visual.training_input(images) is images
    assert (visual.maskable, visual.learned_positions(), visual.detector) == (None, None, None)
    with pytest.raises(InputError, match=r"no preset has a size for the visual embedder cells"):
        with_preset_sizes(spec, read_preset("tiny"), "tiny", vocabulary=100, answers=5)


def test_without_an_entry_in_the_registry_it_is_not_built(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(REGISTRY, "cells")
    with pytest.raises(InputError, match=r"no part of kind 'cells'; known: .*patch, .*"):
        build(spec)
