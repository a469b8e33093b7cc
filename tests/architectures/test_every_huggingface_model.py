"""What every file of `models/` that names a class of transformers must do, at its tiny size."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers import counts_of, each_model, tiny
from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.architectures.huggingface import HuggingFaceModel
from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.measuring.macs import count_macs
from vlbench.specs import HuggingFaceSpec, schema_of
from vlbench.specs.catalog import catalog

NAMES = [name for name, spec in catalog().items() if isinstance(spec, HuggingFaceSpec)]
SCORING = [name for name in NAMES if catalog()[name].gives != "words"]
every_model = pytest.mark.parametrize("name", each_model(NAMES))
every_scoring_model = pytest.mark.parametrize("name", each_model(SCORING))

WIDTHS = {"answers": 11, "words": 3, "matching": 2, "ranking": 1, "similarity": 1}
ATOL = 1e-5  # ViLT's patches come in another order each time


def batch_of(spec: HuggingFaceSpec) -> tuple[Text, Images | RegionFeatures]:
    """Two examples, the second with a shorter text where the model knows padding."""
    generator = torch.Generator().manual_seed(0)
    length = spec.input.text_tokens
    ids = torch.randint(5, spec.text.vocabulary - 3, (2, length), generator=generator)
    ids[:, -1] = min(spec.text.end, spec.text.vocabulary - 1)
    mask = torch.tensor([[True] * length, [True] * (length - 3) + [False] * 3]) if spec.inputs.mask else None
    if mask is not None:
        ids[1, -4] = ids[0, -1]
    return Text(ids=ids, mask=mask), images_of(spec, 2, generator)


def images_of(spec: HuggingFaceSpec, count: int, generator: torch.Generator) -> Images | RegionFeatures:
    height, width = spec.input.image_size
    if spec.features is None:
        pixels = torch.randn(count, 3, height, width, generator=generator)
        return Images(pixels=pixels, sizes=((height, width),) * count)
    boxes = torch.rand(count, spec.features.regions, 2, 2, generator=generator).sort(dim=2).values
    boxes = (boxes * torch.tensor([width, height])).flatten(2)
    features = torch.rand(count, spec.features.regions, spec.features.channels, generator=generator)
    return RegionFeatures(features=features, boxes=boxes, sizes=((height, width),) * count, mask=None)


@cache
def built(name: str) -> HuggingFaceModel:
    return build(tiny(name)).eval()


@cache
@torch.no_grad()
def output_of(name: str) -> Tensor:
    return built(name)(*batch_of(tiny(name)))


@every_model
def test_output_is_finite_and_of_the_shape_of_what_the_model_gives(name: str) -> None:
    output = output_of(name)
    assert output.shape == (2, WIDTHS[tiny(name).gives])
    assert output.isfinite().all()


@every_model
def test_no_weight_keeps_what_the_memory_held(name: str) -> None:
    """PyTorch can fill memory with NaN before it gives it out."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(1).isnan()
        weights = build(tiny(name)).state_dict()
    finally:
        torch.use_deterministic_algorithms(False)
    assert [key for key, values in weights.items() if not values.isfinite().all()] == []


@every_model
def test_two_builds_of_one_seed_are_equal_and_leave_the_global_generator_alone(name: str) -> None:
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = build(tiny(name)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    first = built(name).state_dict()
    assert [key for key, value in again.items() if not torch.equal(first[key], value)] == []


@every_model
def test_another_seed_gives_other_weights(name: str) -> None:
    first, other = built(name), build(tiny(name).model_copy(update={"seed": 1}))
    same = [
        key
        for (key, value), changed in zip(first.named_parameters(), other.parameters(), strict=True)
        if value.dim() > 1 and value.any() and torch.equal(value, changed)
    ]
    assert same == []


@torch.no_grad()
@every_scoring_model
def test_image_and_text_both_change_the_output(name: str) -> None:
    model, (text, images) = built(name), batch_of(tiny(name))
    if isinstance(images, Images):
        other: Images | RegionFeatures = replace(images, pixels=-images.pixels)
    else:
        other = replace(images, features=images.features.flip(1) * 2)
    assert (model(text, other) - output_of(name)).abs().max() > ATOL
    flipped = replace(text, ids=torch.cat((text.ids[:, :-4].flip(1), text.ids[:, -4:]), dim=1))
    assert (model(flipped, images) - output_of(name)).abs().max() > ATOL


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in SCORING if catalog()[name].inputs.mask])
def test_a_texts_padding_does_not_reach_the_output(name: str) -> None:
    spec = tiny(name)
    model, (text, images) = built(name), batch_of(spec)
    assert text.mask is not None
    changed = replace(text, ids=torch.where(text.mask, text.ids, 7))
    torch.testing.assert_close(model(changed, images), output_of(name), atol=ATOL, rtol=0)


@torch.no_grad()
@every_scoring_model
def test_an_example_gives_alone_what_it_gives_in_a_batch(name: str) -> None:
    model, (text, images) = built(name), batch_of(tiny(name))
    first = Text(ids=text.ids[:1], mask=None)
    if isinstance(images, Images):
        alone: Images | RegionFeatures = Images(pixels=images.pixels[:1], sizes=images.sizes[:1])
    else:
        alone = RegionFeatures(features=images.features[:1], boxes=images.boxes[:1], sizes=images.sizes[:1], mask=None)
    torch.testing.assert_close(model(first, alone), output_of(name)[:1], atol=ATOL, rtol=0)


@every_model
def test_counts_are_those_of_a_real_pass_and_stages_hold_almost_all_of_it(name: str) -> None:
    spec = tiny(name)
    counts, model = count(spec, batch=2), built(name)
    text, images = batch_of(spec)
    macs = count_macs(lambda: model(replace(text, mask=None), images), model.stages())
    assert (counts.macs, counts.macs_by_stage) == (macs.total, macs.by_stage)
    assert counts.bytes_moved == pytest.approx(macs.traffic.bytes(4), rel=0.01)
    assert counts.params_total == sum(value.numel() for value in model.parameters())
    parts = [stage for stage in counts.macs_by_stage if "." not in stage]
    assert sum(counts.macs_by_stage[stage] for stage in parts) > 0.99 * counts.macs
    assert sum(counts.params_by_stage[stage] for stage in parts) > 0.97 * counts.params_total
    assert sum(counts.params_by_stage[stage] for stage in parts) <= counts.params_total


@every_model
def test_another_counter_agrees(name: str) -> None:
    model, (text, images) = built(name), batch_of(tiny(name))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(text, images)
    assert count_macs(lambda: model(text, images), {}).total == counter.get_total_flops() / 2


@torch.no_grad()
@every_model
def test_every_stage_runs_and_steps_run_within_the_visual_stage(name: str) -> None:
    model = built(name)
    running: list[str] = []
    runs: dict[str, list[str]] = {}

    def enter(stage: str) -> None:
        running.append(stage)
        runs.setdefault(stage, list(running))

    def leave(stage: str) -> None:
        running.remove(stage)  # a module that is a stage and a step of it leaves both at once

    handles = []
    for stage, group in model.stages().items():
        handles.append(group.register_forward_pre_hook(lambda *_, stage=stage: enter(stage)))
        handles.append(group.register_forward_hook(lambda *_, stage=stage: leave(stage)))
    model(*batch_of(tiny(name)))
    for handle in handles:
        handle.remove()
    assert set(runs) == set(model.stages())
    for stage, active in runs.items():
        assert active == (["visual", stage] if stage.startswith("visual.") else [stage])


@every_model
def test_a_tiny_spec_is_valid_itself_and_survives_json(name: str) -> None:
    spec = tiny(name)
    content = spec.model_dump(mode="json")
    assert schema_of(content).model_validate(content) == spec
    assert spec.name == f"{name}-tiny"
    assert spec.hash() != catalog()[name].hash()


@every_model
def test_another_input_size_can_be_measured(name: str) -> None:
    spec = tiny(name)
    height, width = spec.input.image_size
    larger = spec.with_input(image_size=(height + spec.patch_size, 2 * width), text_tokens=20)
    counts = count(larger)
    assert counts.text_tokens == 20
    if spec.features:
        assert counts.image_tokens == spec.features.regions
    elif spec.gives == "similarity":
        assert counts.image_tokens == 1
    else:
        rows, columns = (side // spec.patch_size for side in larger.input.image_size)
        assert counts.image_tokens == rows * columns + 1


def reference(name: str) -> transformers.PreTrainedModel:
    """The class with its own defaults, which are the published sizes, but for what the checkpoint's config says."""
    settings = {
        "hf-visualbert-vqa": {"visual_embedding_dim": 2048, "num_labels": 3129},
        "hf-lxmert-vqa": {"num_qa_labels": 3129},
        "hf-blip-vqa": {"vision_config": {"image_size": 480}},
    }
    model_class = getattr(transformers, catalog()[name].transformers)
    with torch.device("meta"):
        return model_class(model_class.config_class(**settings.get(name, {})))


@every_model
def test_the_full_size_has_transformers_own_parameters(name: str) -> None:
    with torch.device("meta"):
        model = build(catalog()[name])
    assert sum(value.numel() for value in model.parameters()) == reference(name).num_parameters()


PUBLISHED_MILLIONS = {"hf-clip-vit-b32": 151.3, "hf-siglip-b16": 203.2, "hf-vilt-b32": 111.6}


@pytest.mark.parametrize(("name", "millions"), PUBLISHED_MILLIONS.items(), ids=PUBLISHED_MILLIONS.keys())
def test_the_full_size_has_the_published_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        model = build(catalog()[name])
    assert sum(value.numel() for value in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_vilt_has_our_vilts_macs_stage_by_stage() -> None:
    """Its head has one class where ours has two."""
    ours, theirs = counts_of("vilt-b32"), counts_of("hf-vilt-b32")
    assert theirs.image_tokens == ours.image_tokens == 241
    assert ours.macs - theirs.macs == 768
    assert {**theirs.macs_by_stage, "head": theirs.macs_by_stage["head"] + 768} == ours.macs_by_stage
    assert ours.params_total - theirs.params_total == 768 + 1


def test_clip_has_our_clips_macs_in_both_towers() -> None:
    ours, theirs = counts_of("clip-vit-b32"), counts_of("hf-clip-vit-b32")
    shared = ("text", "visual", "visual.patch", "visual.transformer")
    assert [theirs.macs_by_stage[stage] for stage in shared] == [ours.macs_by_stage[stage] for stage in shared]
    assert theirs.macs == ours.macs
    assert theirs.params_total == ours.params_total


def test_lxmerts_interaction_has_our_lxmerts_macs() -> None:
    ours, theirs = counts_of("lxmert"), counts_of("hf-lxmert-vqa")
    assert theirs.macs_by_stage["interaction"] == ours.macs_by_stage["interaction"]
    assert theirs.params_by_stage["interaction"] == ours.params_by_stage["interaction"]
