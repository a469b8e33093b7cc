"""timm's models as visual embedders: what they give is what timm gives, and what does not fit is one line."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from tests.architectures.examples import images_of
from tests.helpers import tiny
from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.architectures.interfaces import Images
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.specs import ModelSpec, TimmSpec

CONVNEXT = {"model": "convnext_atto", "model_args": {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}}
VIT = {
    "model": "vit_tiny_patch16_224",
    "features": "tokens",
    "patch_size": 16,
    "model_args": {"depth": 3, "embed_dim": 24, "num_heads": 2, "img_size": [64, 96]},
}
DINO = VIT | {"model": "vit_small_patch16_dinov3", "model_args": {"depth": 2, "embed_dim": 48, "num_heads": 2}}
SIZE = (64, 96)


def spec_of(**visual: Any) -> ModelSpec:
    """ViLT's text, interaction and head behind a timm model, all tiny."""
    part = TimmSpec.model_validate({"kind": "timm", "width": 32} | visual)
    content = tiny("vilt-b32").model_dump(exclude={"visual"}) | {"visual": part.model_dump(), "family": part.family}
    content["input"] |= {"image_size": SIZE}
    return ModelSpec.model_validate(content)


def model_of(**visual: Any) -> VLModel:
    return build(spec_of(**visual)).eval()


def of_timm(visual: dict[str, Any], model: VLModel, **options: Any) -> Any:
    """timm's model with the same weights, as far as ours has them."""
    reference = timm.create_model(visual["model"], num_classes=0, **visual["model_args"], **options).eval()
    missing, unexpected = reference.load_state_dict(model.visual.backbone.model.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith(("blocks", "norm", "head", "stages")) for name in missing)
    return reference


@torch.no_grad()
@pytest.mark.parametrize("stage", [0, 2, None])
def test_a_map_is_timms(stage: int | None) -> None:
    visual = CONVNEXT | ({} if stage is None else {"stage": stage})
    model, images = model_of(**visual), images_of(SIZE, SIZE)
    maps = of_timm(visual, model).forward_intermediates(images.pixels, intermediates_only=True)
    expected = maps[-1 if stage is None else stage]
    torch.testing.assert_close(model.visual.backbone(images.pixels), expected)
    pooled = torch.nn.functional.max_pool2d(expected, 2)
    projection = model.visual.projection
    tokens = projection.linear(pooled.flatten(2).transpose(1, 2)) + projection.semantic
    torch.testing.assert_close(model.visual(images).values, tokens)


def test_a_map_has_the_parameters_of_timms_features() -> None:
    features = timm.create_model("resnet18", features_only=True, out_indices=(3,))
    model = model_of(model="resnet18", stage=3)
    assert sum(each.numel() for each in model.visual.backbone.parameters()) == sum(
        each.numel() for each in features.parameters()
    )


@torch.no_grad()
@pytest.mark.parametrize("visual", [VIT, DINO], ids=["class token", "class and register tokens"])
def test_tokens_are_timms(visual: dict[str, Any]) -> None:
    model, images = model_of(**visual), images_of(SIZE, SIZE)
    reference = of_timm(visual, model, dynamic_img_size=True)
    expected = reference.forward_features(images.pixels)
    tokens = model.visual(images)
    torch.testing.assert_close(tokens.values, model.visual.projection(expected))
    assert tokens.mask is None
    assert model.visual.special_tokens == reference.num_prefix_tokens


@torch.no_grad()
@pytest.mark.parametrize("stage", [0, 1, 3])
def test_tokens_of_a_stage_are_those_after_so_many_blocks(stage: int) -> None:
    visual = VIT | {"stage": stage}
    model, images = model_of(**visual), images_of(SIZE)
    reference = of_timm(visual, model)
    values = reference.norm_pre(reference._pos_embed(reference.patch_embed(images.pixels)))
    for block in reference.blocks[:stage]:
        values = block(values)
    torch.testing.assert_close(model.visual.backbone(images).values, values)


def test_tokens_of_the_streams_width_need_no_projection() -> None:
    wide = VIT | {"model_args": VIT["model_args"] | {"embed_dim": 32}}
    assert list(model_of(**wide).visual.timed_steps()) == ["backbone"]
    assert list(model_of(**VIT).visual.timed_steps()) == ["backbone", "projection"]


@torch.no_grad()
@pytest.mark.parametrize(
    "visual", [CONVNEXT, VIT, {"model": "mobilenetv3_small_050", "model_args": {}}], ids=lambda visual: visual["model"]
)
def test_a_pooled_feature_is_timms(visual: dict[str, Any]) -> None:
    visual = visual | {"features": "pooled"}
    model, images = model_of(**visual), images_of(SIZE, SIZE)
    expected = of_timm(visual, model)(images.pixels)
    torch.testing.assert_close(model.visual(images).values[:, 0], expected @ model.visual.projection.weight.T)


@torch.no_grad()
@pytest.mark.parametrize("visual", [CONVNEXT | {"features": "pooled"}, VIT, VIT | {"features": "pooled"}])
def test_of_a_padded_batch_each_image_is_embedded_alone(visual: dict[str, Any]) -> None:
    model, images = model_of(**visual), images_of(SIZE, (32, 64))
    tokens = model.visual(images)
    assert model.visual.ignores_padding
    for row, (height, width) in enumerate(images.sizes):
        pixels = images.pixels[row : row + 1, :, :height, :width]
        alone = model.visual(Images(pixels=pixels, sizes=((height, width),))).values
        real = tokens.values[row] if tokens.mask is None else tokens.values[row][tokens.mask[row]]
        torch.testing.assert_close(real, alone[0])


@torch.no_grad()
def test_random_weights_are_those_that_timm_draws() -> None:
    drawn = model_of(**CONVNEXT).visual.backbone.model.state_dict()
    weight: Tensor = drawn["stages.0.blocks.0.conv_dw.weight"]
    assert weight.std() == pytest.approx(0.02, rel=0.2)
    assert drawn["stages.0.blocks.0.gamma"].tolist() == pytest.approx([1e-6] * 8)


@pytest.mark.parametrize(
    ("visual", "grid", "step"),
    [(CONVNEXT, (1, 1), 64), (CONVNEXT | {"stage": 1}, (4, 6), 16), (VIT, (4, 6), 16), (DINO, (4, 6), 16)],
)
def test_the_boxes_of_tokens(visual: dict[str, Any], grid: tuple[int, int], step: int) -> None:
    model, images = model_of(**visual), images_of(SIZE)
    with torch.no_grad(), model.visual.record_boxes() as recorded:
        tokens = model.visual(images)
    (boxes,) = recorded
    assert boxes.grid == grid
    assert tokens.values.shape[1] - model.visual.special_tokens == grid[0] * grid[1] == len(boxes.boxes)
    expected = [min(step / SIZE[1], 1), min(step / SIZE[0], 1)]
    assert boxes.boxes[0].tolist() == pytest.approx([0, 0, *expected])


def test_a_pooled_feature_has_no_boxes() -> None:
    with (
        pytest.raises(InputError, match="stand for no part of the image"),
        model_of(**CONVNEXT, features="pooled").visual.record_boxes(),
    ):
        pass


def test_bfloat16_is_finite() -> None:
    for visual in (CONVNEXT, VIT):
        model = model_of(**visual).to(torch.bfloat16)
        images = images_of(SIZE)
        with torch.no_grad():
            values = model.visual(Images(pixels=images.pixels.bfloat16(), sizes=images.sizes)).values
        assert values.dtype == torch.bfloat16
        assert values.isfinite().all()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown model": (
        {"model": "convnext_attoo"},
        f"timm {timm.__version__} has no model 'convnext_attoo'; did you mean convnext_atto or ",
    ),
    "an unknown tag": ({"model": "convnext_atto.nowhere"}, r"timm cannot build convnext_atto\.nowhere with them"),
    "a stage of a map": (CONVNEXT | {"stage": 4}, "timm's convnext_atto has no stage 4; 0 to 3 work"),
    "a stage of tokens": (VIT | {"stage": 4}, "timm's vit_tiny_patch16_224 has no stage 4; 0 to 3 work"),
    "tokens of a CNN": (
        CONVNEXT | {"features": "tokens", "patch_size": 16},
        "convnext_atto is no transformer over patches; features: map works",
    ),
    "tokens of a mixer": (
        {"model": "mixer_s32_224", "features": "tokens", "patch_size": 32},
        "mixer_s32_224 is no transformer over patches; features: map works",
    ),
    "another patch": (VIT | {"patch_size": 32}, "visual.patch_size: 32 does not fit .*; its patch_size is 16"),
    "a patch of a CNN": (
        CONVNEXT | {"features": "pooled", "patch_size": 16},
        "it has no patches; leave patch_size out",
    ),
    "no patch": ({**VIT, "features": "pooled", "patch_size": None}, "its patch_size is 16"),
    "an argument": (
        CONVNEXT | {"model_args": {"depth": 3}},
        "visual.model_args: timm cannot build convnext_atto with them .*unexpected keyword argument 'depth'",
    ),
    "a value": (CONVNEXT | {"model_args": {"dims": "wide"}}, "visual.model_args: timm cannot build convnext_atto"),
}


@pytest.mark.parametrize(("visual", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_timm_cannot_build_is_one_line(visual: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        model_of(**visual)
    assert "\n" not in str(refusal.value)


def test_an_old_timm_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "__version__", "1.0.9")
    with pytest.raises(InputError, match=r"timm 1\.0\.9 is too old; pip install 'timm>=1\.0\.22' brings one"):
        model_of(**CONVNEXT)


SIZES_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a fixed size": (
        {"model": "cait_xxs24_224", "model_args": {"depth": 1}, "features": "tokens", "patch_size": 16},
        r"image size 64x96 does not fit timm's cait_xxs24_224 .*visual.model_args: \{img_size: \[64, 96\]\} may",
    ),
    "pooled away": (CONVNEXT | {"pool_size": 3}, "image size 64x96 leaves no pixel; each side needs 96 at least"),
}


@pytest.mark.parametrize(("visual", "message"), SIZES_REFUSED.values(), ids=SIZES_REFUSED.keys())
def test_an_image_that_does_not_fit_is_one_line(visual: dict[str, Any], message: str) -> None:
    spec = spec_of(**visual)
    for read in (lambda: count(spec), lambda: build(spec).eval().visual(images_of(SIZE))):
        with torch.no_grad(), pytest.raises(InputError, match=message) as refusal:
            read()
        assert "\n" not in str(refusal.value)


def test_an_error_that_is_none_of_the_size_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, norm = model_of(**CONVNEXT), torch.nn.functional.layer_norm

    def fails(values: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if values.is_meta:
            return norm(values, *arguments, **options)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch.nn.functional, "layer_norm", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.visual.backbone(images_of(SIZE).pixels)
