"""Every head that a model file declares for a task: it builds, runs, reads all of its example, and counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.helpers import tiny
from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.architectures.interfaces import Images, Text
from vlbench.architectures.vl_model import VLModel
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog

OWN = {name: spec for name, spec in catalog().items() if isinstance(spec, ModelSpec)}
DECLARED = [(name, kind) for name, spec in OWN.items() for kind in spec.heads.declared()]
DECLARED.sort(key=lambda one: ("region", "grid", "patch").index(catalog()[one[0]].family))
# One model of each kind of head, without a detector where there is such a one.
OF_EACH_KIND = list({catalog()[name].for_task(kind).head.kind: (name, kind) for name, kind in DECLARED}.values())
WIDTHS = {"answers": 5, "pairs": 2, "statement": 2, "ranking": 1}
each_kind = pytest.mark.parametrize(("name", "kind"), OF_EACH_KIND)


def tiny_for(name: str, kind: str) -> ModelSpec:
    return tiny(name).with_input(image_size=(64, 64)).for_task(kind, 5)


def batch_of(spec: ModelSpec) -> tuple[Text, Images]:
    height, width = spec.input.image_size
    images = Images(pixels=torch.randn(2 * spec.images, 3, height, width), sizes=((height, width),) * 2 * spec.images)
    ids = torch.randint(1, spec.text.vocabulary, (2, 9))
    return Text(ids=ids, mask=torch.tensor([[True] * 9, [True] * 6 + [False] * 3])), images


@torch.no_grad()
def scores(model: VLModel, words: Text, images: Images) -> Tensor:
    return model(words, images)


@each_kind
def test_a_head_gives_scores_that_both_text_and_images_change(name: str, kind: str) -> None:
    spec = tiny_for(name, kind)
    model, (words, images) = build(spec).eval(), batch_of(spec)
    output = scores(model, words, images)
    assert output.shape == (2, WIDTHS[kind])
    assert output.isfinite().all()
    assert not torch.equal(scores(model, replace(words, ids=words.ids.flip(0)), images), output)
    for place in range(spec.images):
        pixels = images.pixels.clone()
        pixels[place] = -pixels[place]
        other = scores(model, words, replace(images, pixels=pixels))
        assert not torch.allclose(other[0], output[0], rtol=0, atol=1e-9), place
        torch.testing.assert_close(other[1], output[1], rtol=0, atol=1e-5)


@each_kind
def test_a_head_trains(name: str, kind: str) -> None:
    spec = tiny_for(name, kind)
    model = build(spec).train()
    model(*batch_of(spec)).square().mean().backward()
    untrained = [key for key, weight in model.head.named_parameters() if weight.grad is None]
    assert untrained == []


@pytest.mark.parametrize(("name", "kind"), DECLARED)
def test_every_declared_head_fits_its_model(name: str, kind: str) -> None:
    counts = count(tiny_for(name, kind), batch=2)
    assert counts.macs_by_stage["head"] > 0
    assert counts.params_by_stage["head"] > 0


@pytest.mark.parametrize("name", ["vilt-b32", "uniter-base", "visualbert"])
def test_a_pair_costs_two_images_and_its_parts_twice(name: str) -> None:
    one, pair = count(tiny_for(name, "answers")), count(tiny_for(name, "pairs"))
    assert pair.macs_by_stage["visual"] == 2 * one.macs_by_stage["visual"]
    assert pair.image_tokens == one.image_tokens
    assert pair.flops_table6 is None
    if name != "visualbert":  # which has one sequence, of both
        assert pair.macs_by_stage["interaction"] == 2 * one.macs_by_stage["interaction"]


def test_images_of_pairs_alternate() -> None:
    """Each example's two images are its own rows, whatever else is in the batch."""
    spec = tiny_for("vilt-b32", "pairs")
    model, (words, images) = build(spec).eval(), batch_of(spec)
    together = scores(model, words, images)
    for row in range(2):
        one = Images(pixels=images.pixels[2 * row : 2 * row + 2], sizes=images.sizes[:2])
        alone = scores(model, Text(ids=words.ids[row : row + 1], mask=words.mask[row : row + 1]), one)
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-5)
