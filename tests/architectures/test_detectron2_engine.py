"""The detector through Detectron2 against the one of torchvision's parts: other layers, same weights, same features."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from examples import images_of
from torch import nn
from torch.nn import functional as F

from vlbench import specs
from vlbench.architectures import roi_heads
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.detectron2_names import C4_NAMES, COUNTER, FPN_NAMES, Renaming
from vlbench.architectures.interfaces import Images
from vlbench.architectures.region import RegionEmbedder, Regions
from vlbench.architectures.vl_model import VLModel
from vlbench.specs.catalog import catalog

pytest.importorskip("detectron2.modeling", reason="Detectron2 is not installed")

DETECTORS = {  # of each detector that the catalogue knows, one model
    spec.tiny().visual.model_dump_json(exclude={"projection"}): name
    for name, spec in catalog().items()
    if isinstance(spec.visual, specs.RegionSpec)
}
REGION_MODELS = sorted(DETECTORS.values())
WITH_RPN = [name for name in REGION_MODELS if catalog()[name].visual.rpn]
WITH_PYRAMID = [name for name in WITH_RPN if catalog()[name].visual.fpn]
ATOL = 1e-4


def both(name: str) -> tuple[RegionEmbedder, RegionEmbedder]:
    """Torchvision's and Detectron2's, with weights on which every norm tells."""
    spec = catalog()[name].tiny()
    ours, theirs = (build(spec.with_engine(engine)).eval() for engine in ("torchvision", "detectron2"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in ours.visual.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.bias, module.running_mean):
                    values.add_(0.05 * torch.randn(values.shape, generator=generator))
                module.running_var.mul_(1 + 0.1 * torch.rand(module.bias.shape, generator=generator))
    theirs.load_state_dict(ours.state_dict())
    return ours.visual, theirs.visual


@torch.inference_mode()
def regions(embedder: RegionEmbedder, images: Images) -> Regions:
    features = embedder.backbone(images.pixels)
    features = features if embedder.fpn is None else embedder.fpn(features)
    return embedder.nms(embedder.roi_head(features, embedder.rpn(features, images).boxes))


def assert_same(ours: Regions, theirs: Regions) -> None:
    for name in ("features", "boxes", "confidence"):
        torch.testing.assert_close(getattr(theirs, name), getattr(ours, name), atol=ATOL, rtol=0)
    assert (ours.mask is None) == (theirs.mask is None)
    assert ours.mask is None or torch.equal(ours.mask, theirs.mask)


@pytest.mark.parametrize("name", WITH_RPN)
@pytest.mark.parametrize("inject_load", [True, False])
def test_the_kept_boxes_have_the_same_features(name: str, inject_load: bool) -> None:
    ours, theirs = both(name)
    ours.rpn.inject_load = theirs.rpn.inject_load = inject_load
    images = images_of((128, 192), (100, 150))
    found = regions(ours, images)
    assert found.features.abs().max() > 0.1
    assert_same(found, regions(theirs, images))


@pytest.mark.parametrize("name", REGION_MODELS)
def test_the_tokens_and_the_load_are_the_same(name: str) -> None:
    ours, theirs = both(name)
    images = images_of((128, 192))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(images).values, ours(images).values, atol=ATOL, rtol=0)
    declared = theirs.declared_load(images)
    assert declared == ours.declared_load(images)
    assert all(theirs.load[key] >= least for key, least in declared.items())
    assert {key: theirs.load[key] for key in theirs.load if key != "rpn_candidates"} == {
        key: ours.load[key] for key in ours.load if key != "rpn_candidates"
    }


@pytest.mark.parametrize("wrong", ["backbone.stages.2.0.bn2.bias", "rpn.deltas.bias", "roi_head.res5.0.bn1.bias"])
def test_a_wrong_weight_anywhere_would_show(wrong: str) -> None:
    ours, theirs = both("uniter-base")
    ours.rpn.inject_load = theirs.rpn.inject_load = False
    theirs.load_state_dict({name: values + 0.3 * (name == wrong) for name, values in ours.state_dict().items()})
    images = images_of((128, 192))
    with pytest.raises(AssertionError):
        assert_same(regions(ours, images), regions(theirs, images))


@pytest.mark.parametrize("name", WITH_PYRAMID)
def test_in_front_of_a_pyramid_images_are_padded_as_detectron2_pads_them(name: str) -> None:
    ours, theirs = both(name)
    images = images_of((100, 150))
    padded = Images(pixels=F.pad(images.pixels, (0, 10, 0, 28)), sizes=images.sizes)
    assert_same(regions(ours, padded), regions(theirs, images))


@pytest.mark.parametrize("name", ["uniter-base", "visualbert", "xlxmert"])
def test_the_stages_and_the_names_of_weights_are_the_same(name: str) -> None:
    spec = catalog()[name].tiny()
    ours, theirs = build(spec), build(spec.with_engine("detectron2"))
    assert list(theirs.stages()) == list(ours.stages())
    kept = {key: values for key, values in ours.state_dict().items() if not key.endswith(COUNTER)}
    saved = {key: values for key, values in theirs.state_dict().items() if not key.endswith(COUNTER)}
    assert saved.keys() == kept.keys()
    assert all(torch.equal(saved[key], values) for key, values in kept.items())
    other = build(spec.model_copy(update={"seed": 1}))
    other.load_state_dict(dict(saved))
    assert all(torch.equal(other.state_dict()[key], values) for key, values in kept.items())


def test_its_layers_are_detectron2s() -> None:
    _, theirs = both("uniter-base")
    used = {type(part).__mro__[1].__module__ for part in (theirs.backbone, theirs.rpn)}
    assert used == {"detectron2.modeling.backbone.resnet", "detectron2.modeling.proposal_generator.rpn"}
    assert not any(type(module).__module__.startswith("torchvision.models") for module in theirs.modules())


@pytest.mark.parametrize("names", [C4_NAMES, FPN_NAMES], ids=["C4", "FPN"])
def test_the_table_of_names_is_that_of_a_detector_that_detectron2_builds_from_its_config(
    names: tuple[tuple[str, str], ...],
) -> None:
    visual = catalog()["visualbert" if names is FPN_NAMES else "uniter-base"].visual
    expected = {name for name in from_config(visual) if not name.startswith("pixel_")}
    renamed, back = Renaming(names), Renaming([(theirs, ours) for ours, theirs in names])
    assert {back(name) for name in expected}.isdisjoint(expected), "some name has no place in the table"
    assert {renamed(back(name)) for name in expected} == expected


def from_config(visual: specs.RegionSpec) -> list[str]:
    """Names of the tensors of Detectron2's own R101-C4 or X152-FPN."""
    from detectron2.config import get_cfg  # noqa: PLC0415
    from detectron2.modeling import build_model  # noqa: PLC0415

    settings = get_cfg()
    settings.MODEL.DEVICE = "meta"
    settings.MODEL.MASK_ON = False
    settings.MODEL.RESNETS.NORM = "FrozenBN"
    settings.MODEL.ROI_HEADS.NUM_CLASSES = visual.roi_head.classes
    settings.MODEL.RESNETS.DEPTH = {23: 101, 36: 152}[visual.backbone.blocks[2]]
    if visual.fpn:
        settings.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
        settings.MODEL.RESNETS.OUT_FEATURES = settings.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
        settings.MODEL.ANCHOR_GENERATOR.SIZES = [[size] for size in visual.rpn.anchor_sizes]
        settings.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
        settings.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
        settings.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
        settings.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
        settings.MODEL.ROI_BOX_HEAD.NUM_FC = 2
    with torch.device("meta"):
        return list(build_model(settings).state_dict())


def test_its_model_zoo_is_never_imported() -> None:
    code = (
        "import sys; from vlbench.specs.catalog import catalog; from vlbench.architectures.build import build; "
        "build(catalog()['uniter-base'].tiny().with_engine('detectron2')); "
        "print(sorted(name for name in sys.modules if name.startswith('detectron2.model_zoo')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_rpn_stays_in_evaluation_mode_while_the_model_is_trained() -> None:
    model: VLModel = build(catalog()["uniter-base"].tiny().with_engine("detectron2")).train()
    tokens = model.visual(images_of((128, 192)))
    tokens.values.sum().backward()
    assert model.visual.projection.feature.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", WITH_RPN)
def test_boxes_are_pooled_alike_in_parts_and_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, embedder = both(name)
    images = images_of((128, 192), (128, 192), (128, 192))
    at_once = regions(embedder, images)
    monkeypatch.setattr(roi_heads, "MOST_VALUES", 1)  # a box, and an image, at a time
    assert_same(at_once, regions(embedder, images))
