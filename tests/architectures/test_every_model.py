"""What every file of `models/` of vlbench's own parts must do, at its tiny size: build, run, repeat, train, carry its
declared load. test_every_huggingface_model.py has those that name a class of transformers."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from tests.helpers import each_model, tiny
from vlbench import specs
from vlbench.architectures import detector, dual_stream, region
from vlbench.architectures.build import build
from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.interfaces import Images, Text
from vlbench.architectures.nms import per_class_batched
from vlbench.architectures.vl_model import VLModel
from vlbench.specs.catalog import catalog

OWN = {name: spec for name, spec in catalog().items() if isinstance(spec, specs.ModelSpec)}

every_model = pytest.mark.parametrize("name", each_model(OWN))
detectors = pytest.mark.parametrize(
    "name", each_model(name for name, spec in OWN.items() if spec.family == "region" and spec.visual.rpn)
)
fixed_boxes = pytest.mark.parametrize(
    "name", [name for name, spec in OWN.items() if spec.family == "region" and spec.visual.grid_boxes]
)


def batch_of(spec: specs.ModelSpec) -> tuple[Text | None, Images]:
    """Two examples: a whole image with a whole text, and a smaller image with a shorter text."""
    height, width = spec.input.image_size
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, height, width, generator=generator)
    small = (height // 2, width // 2)
    pixels[1, :, small[0] :], pixels[1, :, :, small[1] :] = 0, 0
    images = Images(pixels=pixels, sizes=((height, width), small))
    if spec.text is None:
        return None, images
    length = spec.input.text_tokens
    ids = torch.randint(1, spec.text.vocabulary, (2, length), generator=generator)
    mask = torch.tensor([[True] * length, [True] * (length - 3) + [False] * 3])
    return Text(ids=ids, mask=mask), images


@cache
def built(name: str) -> VLModel:
    """In eval mode, for tests that change none of its weights."""
    return build(tiny(name)).eval()


@every_model
def test_no_weight_keeps_what_the_memory_held(name: str) -> None:
    """PyTorch can fill memory with NaN before it gives it out."""
    reset = torch.nn.Linear.reset_parameters
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(1).isnan()
        weights = build(tiny(name)).state_dict()
    finally:
        torch.use_deterministic_algorithms(False)
    assert [key for key, values in weights.items() if not values.isfinite().all()] == []
    assert torch.nn.Linear.reset_parameters is reset


@cache
@torch.no_grad()
def output_of(name: str) -> Tensor:
    return built(name)(*batch_of(tiny(name)))


@every_model
def test_output_is_finite_and_of_the_shape_of_the_head_or_a_score(name: str) -> None:
    spec, output = tiny(name), output_of(name)
    answers = getattr(spec.head, "answers", None)
    widths = {"pooled_feature": spec.visual.width, "itm": 2, "itm_product": 2, "vqa": answers}
    assert output.shape == (2, widths[spec.head.kind] if spec.head else 1)
    assert output.isfinite().all()
    assert not torch.equal(output[0], output[1])


@torch.no_grad()
@every_model
def test_two_builds_of_one_seed_are_equal_whatever_the_global_generator_did(name: str) -> None:
    first = built(name).state_dict()
    torch.manual_seed(2)
    again = build(tiny(name)).eval()
    assert [key for key, value in again.state_dict().items() if not torch.equal(first[key], value)] == []
    assert torch.equal(again(*batch_of(tiny(name))), output_of(name))


@every_model
def test_another_seed_gives_other_weights(name: str) -> None:
    first, other = built(name), build(tiny(name).model_copy(update={"seed": 1}))
    for (key, value), changed in zip(first.named_parameters(), other.parameters(), strict=True):
        assert value.dim() == 1 or not torch.equal(value, changed) or not value.any(), key


@torch.no_grad()
@every_model
def test_image_and_text_both_change_the_output(name: str) -> None:
    model, (words, images) = built(name), batch_of(tiny(name))
    assert not torch.equal(model(words, replace(images, pixels=-images.pixels)), output_of(name))
    if words is not None:
        assert not torch.equal(model(replace(words, ids=words.ids.flip(1)), images), output_of(name))


@torch.no_grad()
@every_model
def test_padding_does_not_reach_the_output(name: str) -> None:
    """What lies under the padding of text and image may not matter, but for what a convolution sees at its border."""
    spec, output = tiny(name), output_of(name)
    model, (words, images) = built(name), batch_of(spec)
    if words is not None:
        changed = replace(words, ids=torch.where(words.mask, words.ids, 7))
        torch.testing.assert_close(model(changed, images), output, atol=1e-6, rtol=0)
    if spec.family == "patch":
        height, width = images.sizes[1]
        pixels = images.pixels.clone()
        pixels[1, :, height:], pixels[1, :, :, width:] = 9, 9
        torch.testing.assert_close(model(words, replace(images, pixels=pixels)), output, atol=1e-6, rtol=0)


def unreached(model: VLModel) -> set[str]:
    """Weights that a head's loss cannot train.

    A detector's proposals and box outputs lie behind a choice of boxes. LXMERT's head reads the text, so that its last
    image layer has no reader, but for keys and values where the text attends to them.
    """
    behind: tuple[str, ...] = ()
    if isinstance(model.visual, region.RegionEmbedder):
        behind += ("visual.rpn.", "visual.roi_head.box_", "visual.roi_head.class")
    if isinstance(model.interaction, dual_stream.CrossModality):
        last = f"interaction.cross.{len(model.interaction.cross) - 1}.image."
        joint = isinstance(model.interaction.cross[-1], dual_stream.JointLayer)
        behind += (f"{last}attention.out", f"{last}attention_norm", f"{last}mlp") if joint else (last,)
    return {name for name, _ in model.named_parameters() if name.startswith(behind)}


@every_model
def test_one_training_step_reaches_every_trainable_weight_and_no_frozen_one(name: str) -> None:
    spec = tiny(name)
    model, (words, images) = build(spec).train(), batch_of(spec)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=1e-3)
    output = model(words, images)
    (output - torch.linspace(-1, 1, output.shape[1])).square().mean().backward()
    optimizer.step()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad and key not in unreached(model):
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
        else:
            assert parameter.grad is None, key
            assert torch.equal(parameter, before[key]), key
    with torch.no_grad():
        assert model(words, images).isfinite().all()


@torch.no_grad()
@every_model
def test_a_pass_carries_at_least_the_declared_load(name: str) -> None:
    model, (words, images) = built(name), batch_of(tiny(name))
    model(words, images)
    declared = model.declared_load(images)
    assert set(model.load) == set(declared)
    assert all(model.load[key] >= declared[key] for key in declared)
    assert bool(declared) == (tiny(name).family == "region")


@detectors
def test_the_declared_load_is_what_the_file_says(name: str) -> None:
    visual, (_, images) = tiny(name).visual, batch_of(tiny(name))
    candidates = candidates_of(visual, *images.pixels.shape[-2:])
    declared = built(name).declared_load(images)
    assert 0.95 * candidates - 1 < declared.pop("rpn_candidates") <= candidates
    assert declared == {
        "proposals": visual.rpn.proposals,
        "nms_pairs": visual.rpn.proposals * visual.roi_head.classes,
        "regions": visual.nms.regions,
    }


def candidates_of(visual: specs.RegionSpec, height: int, width: int) -> int:
    """The best anchors of each level; a pyramid halves from stride 4 to 64 and has one anchor size a level."""
    strides, sizes = ((4, 8, 16, 32, 64), 1) if visual.fpn else ((16,), len(visual.rpn.anchor_sizes))
    cells = [math.ceil(height / stride) * math.ceil(width / stride) for stride in strides]
    shapes = sizes * len(visual.rpn.aspect_ratios)
    return sum(min(visual.rpn.candidates, some * shapes) for some in cells)


@fixed_boxes
def test_fixed_boxes_are_the_whole_declared_load(name: str) -> None:
    (rows, columns), (_, images) = tiny(name).visual.grid_boxes, batch_of(tiny(name))
    assert built(name).declared_load(images) == {"regions": rows * columns}


@torch.no_grad()
@pytest.mark.parametrize("name", ["uniter-base", "uniter-base-table6"])
def test_at_full_size_the_rpn_has_the_declared_candidates_and_proposals(name: str) -> None:
    """Fewer boxes than anchors survive a smallest size of 16 pixels at the border, but no more than 5% fewer."""
    spec = catalog()[name].visual.rpn
    rpn = detector.RegionProposalNetwork(spec.model_copy(update={"channels": 64}), inputs=64, strides=[16])
    initialise_random(rpn, seed=0)
    size = catalog()[name].input.image_size
    images = Images(pixels=torch.zeros(1, 3, *size), sizes=(size,))
    height, width = (math.ceil(side / 16) for side in size)
    proposals = rpn.eval()([torch.randn(1, 64, height, width).relu()], images)
    assert 0.95 * spec.candidates <= proposals.candidates <= spec.candidates
    assert [len(boxes) for boxes in proposals.boxes] == [spec.proposals]


@torch.no_grad()
@detectors
def test_features_that_are_no_numbers_carry_less_than_the_declared_load(name: str) -> None:
    model, (words, images) = built(name), batch_of(tiny(name))
    model(words, replace(images, pixels=torch.full_like(images.pixels, math.nan)))
    assert model.load["rpn_candidates"] == 0
    assert model.declared_load(images)["rpn_candidates"] > 0


@torch.no_grad()
@detectors
def test_batched_suppression_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if tiny(name).visual.nms.method != "per_class_loop":
        pytest.skip("suppresses all classes at once")
    monkeypatch.setattr(built(name).visual.nms, "suppress", per_class_batched)
    assert torch.equal(built(name)(*batch_of(tiny(name))), output_of(name))


@every_model
def test_stages_are_modules_in_the_order_of_the_forward_pass(name: str) -> None:
    model, begun = built(name), []
    hooks = [
        module.register_forward_pre_hook(lambda *_, stage=stage: begun.append(stage))
        for stage, module in model.stages().items()
    ]
    with torch.no_grad():
        model(*batch_of(tiny(name)))
    for hook in hooks:
        hook.remove()
    assert begun == list(model.stages())
