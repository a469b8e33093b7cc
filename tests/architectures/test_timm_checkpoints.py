"""ImageNet weights of timm: its networks' features through our mapping, all catalogued sizes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from examples import images_of
from test_resnet import randomise_norms
from torch import Tensor, nn
from weights import Weights, randomise, saved

from vlbench import specs
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.rules import recognised
from vlbench.architectures.checkpoints.timm import RESNET, TIMM_FAMILIES, VIT, load_timm, map_timm
from vlbench.architectures.interfaces import Images
from vlbench.architectures.vl_model import VLModel
from vlbench.specs.catalog import catalog


def changed(name: str, **parts: object) -> VLModel:
    """A model of the catalog at its tiny size, in eval mode, some fields of some parts changed."""
    spec = catalog()[name].tiny()
    update = {part: getattr(spec, part).model_copy(update=fields) for part, fields in parts.items()}
    return build(spec.model_copy(update=update)).eval()


def with_backbone(name: str, blocks: tuple[int, ...], **changes: object) -> VLModel:
    backbone = {"blocks": blocks, "stride_in": "3x3", "groups": 1, "group_width": 64, **changes}
    return changed(name, visual={"backbone": specs.ResNetSpec(**backbone)})


def resnet(name: str = "resnet50", layers: tuple[int, ...] = (1, 2, 2, 1)) -> nn.Module:
    torch.manual_seed(1)
    return randomise_norms(timm.create_model(name, pretrained=False, layers=layers, num_classes=9)).eval()


def stage_features(network: nn.Module, stages: int, pixels: Tensor) -> Tensor:
    features = network.maxpool(network.act1(network.bn1(network.conv1(pixels))))
    for index in range(1, stages + 1):
        features = getattr(network, f"layer{index}")(features)
    return features


def of_other_parts(model: VLModel, filled: tuple[str, ...]) -> Weights:
    state = model.state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if not name.startswith(filled)}


NETWORKS = {
    "resnet50": {},
    "resnext101_32x8d": {"groups": 32, "group_width": 8},
    "resnext50_32x4d": {"groups": 32, "group_width": 4},
}


@torch.no_grad()
@pytest.mark.parametrize("norm", ["frozen", "trained"])
@pytest.mark.parametrize(("network", "groups"), NETWORKS.items(), ids=NETWORKS.keys())
def test_a_backbone_gives_timms_features(tmp_path: Path, network: str, groups: dict, norm: str) -> None:
    theirs, model = resnet(network), with_backbone("pixelbert-r50", (1, 2, 2, 1), norm=norm, **groups)
    others = of_other_parts(model, ("visual.backbone.",))
    state = saved(theirs.state_dict(), tmp_path)
    assert list(recognised(TIMM_FAMILIES, state)) == [RESNET]
    load_timm(model, state, "it")
    pixels = torch.randn(2, 3, 70, 101)
    expected = theirs.forward_features(pixels)
    assert expected.std() > 0.1
    torch.testing.assert_close(model.visual.backbone(pixels)[-1], expected, atol=1e-5, rtol=0)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in others.items())


def test_what_is_none_of_timms_is_left_to_others() -> None:
    model = with_backbone("pixelbert-r50", (1, 2, 2, 1))
    assert load_timm(model, {"bert.pooler.weight": torch.zeros(1)}, "it") is None
    assert load_timm(model, resnet().state_dict(), "it") == RESNET.title


@torch.no_grad()
def test_the_whole_resnet_50_gives_timms_features() -> None:
    theirs = resnet("resnet50", (3, 4, 6, 3))
    model = build(catalog()["vsepp"].tiny().model_copy(update={"visual": vsepp_of((3, 4, 6, 3))})).eval()
    load_timm(model, theirs.state_dict(), "it")
    pixels = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(model.visual.backbone(pixels)[-1], theirs.forward_features(pixels), atol=1e-5, rtol=0)


def vsepp_of(blocks: tuple[int, ...]) -> specs.Spec:
    visual = catalog()["vsepp"].tiny().visual
    return visual.model_copy(update={"backbone": visual.backbone.model_copy(update={"blocks": blocks})})


@torch.no_grad()
def test_every_tensor_that_batch_norm_applies_is_carried() -> None:
    theirs, model = resnet(), with_backbone("pixelbert-r50", (1, 2, 2, 1), norm="trained")
    state = theirs.state_dict()
    load_timm(model, state, "it")
    ours = model.state_dict()
    for part in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(ours[f"visual.backbone.stem.1.{part}"], state[f"bn1.{part}"])
        assert torch.equal(ours[f"visual.backbone.stages.2.1.bn3.{part}"], state[f"layer3.1.bn3.{part}"])
        assert torch.equal(
            ours[f"visual.backbone.stages.3.0.downsample.1.{part}"], state[f"layer4.0.downsample.1.{part}"]
        )
    state["bn1.num_batches_tracked"] += 7
    load_timm(model, state, "it")
    assert model.state_dict()["visual.backbone.stem.1.num_batches_tracked"] == 0


@torch.no_grad()
def test_a_c4_detector_takes_res5_from_the_last_stage() -> None:
    theirs = resnet()
    model = changed(
        "uniter-base",
        visual={
            "backbone": specs.ResNetSpec(blocks=(1, 2, 2)),
            "roi_head": catalog()["uniter-base"].visual.roi_head.tiny().model_copy(update={"stride": 2, "dilation": 1}),
        },
    )
    others = of_other_parts(model, ("visual.backbone.", "visual.roi_head.res5."))
    assert any(name.startswith("visual.roi_head.classifier.") for name in others)
    load_timm(model, theirs.state_dict(), "it")
    pixels = torch.randn(2, 3, 64, 96)
    features = model.visual.roi_head.res5(model.visual.backbone(pixels)[-1])
    torch.testing.assert_close(features, theirs.forward_features(pixels), atol=1e-5, rtol=0)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in others.items())


@torch.no_grad()
def test_a_backbone_that_ends_early_leaves_the_last_stage_out() -> None:
    theirs, model = resnet(), with_backbone("pixelbert-r50-table6", (1, 2, 2))
    load_timm(model, theirs.state_dict(), "it")
    pixels = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(model.visual.backbone(pixels)[-1], stage_features(theirs, 3, pixels), atol=1e-5, rtol=0)


def vit(**changes: int) -> nn.Module:
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2, "num_classes": 9} | changes
    return randomise(timm.create_model("vit_base_patch32_384", pretrained=False, **sizes))


def patches_of(name: str, grid: tuple[int, int] = (12, 12)) -> VLModel:
    return changed(name, visual={"position_grid": grid}, interaction={"layer_norm_eps": 1e-6})


@torch.no_grad()
def test_a_vit_gives_timms_features(tmp_path: Path) -> None:
    theirs, model = vit(), patches_of("vit-b32")
    state = saved(theirs.state_dict(), tmp_path)
    assert list(recognised(TIMM_FAMILIES, state)) == [VIT]
    load_timm(model, state, "it")
    images = Images(pixels=torch.randn(2, 3, 384, 384), sizes=((384, 384),) * 2)
    expected = theirs.forward_features(images.pixels)
    assert expected.std() > 0.1
    joint = model.interaction(None, model.visual(images))
    torch.testing.assert_close(joint.image.values, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(model(None, images), theirs.forward_head(expected, pre_logits=True), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_vit_starts_vilts_patches_and_layers_and_leaves_the_rest() -> None:
    theirs, model = vit(), patches_of("vilt-b32")
    filled = ("visual.", "interaction.blocks.", "interaction.norm.")
    others = of_other_parts(model, filled)
    assert {name.split(".")[0] for name in others} == {"text", "interaction", "head"}
    load_timm(model, theirs.state_dict(), "it")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in others.items())
    model.interaction.modal_types.weight.zero_()  # what ViLT adds to a patch, timm does not
    images = images_of((384, 384))
    joint = model.interaction(None, model.visual(images))
    torch.testing.assert_close(joint.image.values, theirs.forward_features(images.pixels), atol=1e-5, rtol=0)


FULL_SIZE = {
    "vsepp": "resnet152",
    "pixelbert-r50": "resnet50",
    "vit-b16": "vit_base_patch16_224",
    "vit-b32": "vit_base_patch32_224",
    "vit-l16": "vit_large_patch16_224",
    "vit-l32": "vit_large_patch32_224",
    "vit-h14": "vit_huge_patch14_224",
    "vilt-b32": "vit_base_patch32_384",
}


@pytest.mark.parametrize(("name", "network"), FULL_SIZE.items(), ids=FULL_SIZE.keys())
def test_every_name_of_timms_has_its_place_at_full_size(name: str, network: str) -> None:
    assert_nothing_is_left(catalog()[name], network)


BACKBONES = {
    "resnet101": ("grid-features-r101", (3, 4, 23, 3), {}),
    "resnext101_32x8d": ("pixelbert-x152", (3, 4, 23, 3), {"groups": 32, "group_width": 8}),
}


@pytest.mark.parametrize(("network", "case"), BACKBONES.items(), ids=BACKBONES.keys())
def test_other_backbones_have_their_place_at_full_size(network: str, case: tuple) -> None:
    name, blocks, groups = case
    spec = catalog()[name]
    backbone = spec.visual.backbone.model_copy(update={"blocks": blocks, "stride_in": "3x3", **groups})
    assert_nothing_is_left(
        spec.model_copy(update={"visual": spec.visual.model_copy(update={"backbone": backbone})}), network
    )


def test_a_detectors_trunk_and_res5_have_their_place_at_full_size() -> None:
    spec = catalog()["uniter-base"]
    backbone = spec.visual.backbone.model_copy(update={"stride_in": "3x3"})
    assert_nothing_is_left(
        spec.model_copy(update={"visual": spec.visual.model_copy(update={"backbone": backbone})}), "resnet101"
    )


def assert_nothing_is_left(spec: specs.ModelSpec, network: str) -> None:
    with torch.device("meta"):
        model, theirs = build(spec), timm.create_model(network, pretrained=False)
    state = theirs.state_dict()
    (family,) = recognised(TIMM_FAMILIES, state)
    found = map_timm(model, family, state, source="it")
    left_out = [name for name in state if name.startswith(("fc.", "head.")) or name.endswith("num_batches_tracked")]
    assert len(found) == len(state) - len(left_out)
    assert sum(map(Tensor.numel, found.values())) == sum(
        tensor.numel() for name, tensor in state.items() if name not in left_out
    )
