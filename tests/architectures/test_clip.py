"""CLIP's towers against transformers and timm with copied weights, and their sizes against OpenCLIP's profile."""

from __future__ import annotations

import pytest
import timm
import torch
from test_resnet import randomise_norms
from torch import nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel
from weights import Weights, randomise, under

from tests.helpers import counts_of
from vlbench.architectures.checkpoints.clip import CLIP_FAMILIES
from vlbench.architectures.checkpoints.rules import mapped
from vlbench.architectures.clip import TextTransformer, VisionTransformer
from vlbench.architectures.clip_resnet import ClipResNet
from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.interaction import DotProduct, score_matrix
from vlbench.architectures.interfaces import Images, Text
from vlbench.architectures.vl_model import VLModel
from vlbench.specs import ClipResNetSpec, DotProductSpec, TextTransformerSpec, VisionTransformerSpec

WIDTH, INNER, HEADS, LAYERS, MLP, PATCH, VOCABULARY, POSITIONS = 24, 32, 4, 3, 80, 16, 60, 12
TOWER = {"hidden_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": MLP}
END = VOCABULARY - 1  # the highest id, as the released code wants it


@pytest.fixture(scope="module")
def reference() -> CLIPModel:
    config = CLIPConfig(
        projection_dim=WIDTH,
        text_config=TOWER
        | {"vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "eos_token_id": END, "bos_token_id": 0},
        vision_config=TOWER | {"image_size": 64, "patch_size": PATCH},
    )
    return randomise(CLIPModel(config))


@pytest.fixture(scope="module")
def ours(reference: CLIPModel) -> VLModel:
    layers = {"layers": LAYERS, "inner_width": INNER, "heads": HEADS, "mlp_width": MLP}
    layers |= {"width": WIDTH, "layer_norm_eps": 1e-5}
    model = VLModel(
        text=TextTransformer(
            TextTransformerSpec(kind="text_transformer", vocabulary=VOCABULARY, positions=POSITIONS, **layers)
        ),
        visual=VisionTransformer(
            VisionTransformerSpec(kind="vision_transformer", patch_size=PATCH, position_grid=(4, 4), **layers)
        ),
        interaction=DotProduct(DotProductSpec(kind="dot_product", logit_scale=1 / 0.07)),
        head=None,
    )
    model.load_state_dict(mapped(CLIP_FAMILIES[0], reference.state_dict(), model.state_dict(), source="it"))
    return model.eval()


def texts(*lengths: int) -> Text:
    """Random words; the last real token is the end's, and what follows it is not empty."""
    ids = torch.randint(1, END, (len(lengths), max(lengths)))
    for row, length in zip(ids, lengths, strict=True):
        row[length - 1] = END
    mask = torch.tensor([[index < length for index in range(max(lengths))] for length in lengths])
    return Text(ids=ids, mask=None if mask.all() else mask)


def images(batch: int, *size: int) -> Images:
    return Images(pixels=torch.randn(batch, 3, *size), sizes=(size,) * batch)


LENGTHS = {"padded": (9, 4, 2), "unpadded": (7, 7, 7), "as long as the positions": (12, 12, 5)}


@torch.no_grad()
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_the_text_tower_equals_transformers(reference: CLIPModel, ours: VLModel, lengths: tuple[int, ...]) -> None:
    words = texts(*lengths)
    mask = None if words.mask is None else words.mask.long()
    pooled = reference.text_model(input_ids=words.ids, attention_mask=mask).pooler_output
    expected = reference.text_projection(pooled)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours.text(words).values[:, 0], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_vision_tower_equals_transformers(reference: CLIPModel, ours: VLModel) -> None:
    batch = images(3, 64, 64)
    expected = reference.visual_projection(reference.vision_model(pixel_values=batch.pixels).pooler_output)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours.visual(batch).values[:, 0], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_logits_equal_transformers(reference: CLIPModel, ours: VLModel) -> None:
    words, batch = texts(9, 4, 6), images(3, 64, 64)
    logits = reference(input_ids=words.ids, attention_mask=words.mask.long(), pixel_values=batch.pixels).logits_per_text
    torch.testing.assert_close(ours(words, batch)[:, 0], logits.diagonal(), atol=1e-5, rtol=0)
    matrix = score_matrix(ours.interaction, ours.text(words), ours.visual(batch))
    torch.testing.assert_close(matrix, logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_small_image_among_larger_ones_gives_what_it_gives_alone(ours: VLModel) -> None:
    pixels = torch.zeros(2, 3, 64, 96)
    pixels[0].normal_()
    pixels[1, :, :32, :48].normal_()
    together = ours.visual(Images(pixels=pixels, sizes=((64, 96), (32, 48)))).values[1]
    alone = ours.visual(Images(pixels=pixels[1:, :, :32, :48], sizes=((32, 48),))).values[0]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def copy_to_timm(tower: ClipResNet, network: nn.Module) -> None:
    """Under timm's names, strictly."""
    weights: Weights = {}
    for index, layer in enumerate(list(tower.backbone.stem)[:3], start=1):
        weights |= norm_and_convolution(f"stem.conv{index}", layer[0], layer[1])
    for index, stage in enumerate(tower.backbone.stages):
        for place, block in enumerate(stage):
            prefix = f"stages.{index}.{place}"
            for number, name in ((1, "conv1_1x1"), (2, "conv2_kxk"), (3, "conv3_1x1")):
                convolution, norm = getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
                weights |= norm_and_convolution(f"{prefix}.{name}", convolution, norm)
            if block.downsample is not None:
                weights |= norm_and_convolution(f"{prefix}.shortcut.conv", block.downsample[1], block.downsample[2])
    pool = tower.projection
    weights["head.pos_embed"] = pool.positions[0]
    for part in ("weight", "bias"):
        key_value = getattr(pool.attention.key_value, part)
        key, value = key_value.unflatten(0, (2, -1))
        weights[f"head.q.{part}"] = getattr(pool.attention.query, part)
        weights |= {f"head.k.{part}": key, f"head.v.{part}": value}
        weights[f"head.proj.{part}"] = getattr(pool.attention.out, part)
    network.load_state_dict(weights)


def norm_and_convolution(name: str, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Weights:
    return {f"{name}.conv.weight": convolution.weight, **under(f"{name}.bn", norm.state_dict())}


def clip_resnet() -> ClipResNet:
    tower = ClipResNet(
        ClipResNetSpec(kind="clip_resnet", blocks=(3, 4, 6, 3), position_grid=(7, 7), heads=32, width=1024)
    )
    initialise_random(tower, seed=0)
    for layer in (
        tower.projection.attention.query,
        tower.projection.attention.key_value,
        tower.projection.attention.out,
    ):
        nn.init.normal_(layer.bias, 0, 0.1)
    return randomise_norms(tower).eval()


@torch.no_grad()
def test_the_resnet_tower_equals_timm() -> None:
    tower = clip_resnet()
    network = timm.create_model("resnet50_clip", pretrained=False, num_classes=1024).eval()
    copy_to_timm(tower, network)
    batch = images(2, 224, 224)
    expected = network(batch.pixels)
    assert expected.std() > 0.1
    torch.testing.assert_close(tower(batch).values[:, 0], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_attention_pooling_leaves_out_what_is_padded() -> None:
    pool = clip_resnet().projection
    features = torch.randn(2, 2048, 4, 6)
    batch = Images(pixels=torch.zeros(2, 3, 128, 192), sizes=((128, 192), (64, 96)))
    alone = pool(features[1:, :, :2, :3], images(1, 64, 96)).values[0]
    torch.testing.assert_close(pool(features, batch).values[1], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_resnet_tower_keeps_unit_scale() -> None:
    tower = ClipResNet(
        ClipResNetSpec(kind="clip_resnet", blocks=(3, 4, 6, 3), position_grid=(7, 7), heads=32, width=1024)
    ).eval()
    initialise_random(tower, seed=0)
    features = tower.backbone(torch.randn(1, 3, 96, 128))
    assert 0.2 < features.square().mean().sqrt() < 5
    assert 0.02 < F.normalize(tower(images(1, 96, 128)).values, dim=2).std() < 0.04  # about 1,024 ** -0.5


PROFILE = {  # millions of parameters: all, image, text; gigaflops, 2 a MAC: image, text (OpenCLIP's model profile)
    "clip-vit-b32": (151.28, 87.85, 63.43, 8.82, 5.96),
    "clip-rn50": (102.01, 38.32, 63.69, 12.22, 5.96),
}


@pytest.mark.parametrize(("name", "row"), PROFILE.items(), ids=PROFILE.keys())
def test_parameters_and_flops_are_those_of_openclips_profile(name: str, row: tuple[float, ...]) -> None:
    counts = counts_of(name)
    total, image, text, image_gflops, text_gflops = row
    found = (counts.params_total, counts.params_by_stage["visual"], counts.params_by_stage["text"])
    assert [value / 1e6 for value in found] == pytest.approx([total, image, text], rel=1e-3)
    assert 2 * counts.macs_by_stage["text"] / 1e9 == pytest.approx(text_gflops, rel=0.01)
    visual = counts.macs_by_stage["visual"] + (dropped_answers() if name == "clip-rn50" else 0)
    assert 2 * visual / 1e9 == pytest.approx(image_gflops, rel=0.01)


def dropped_answers() -> int:
    """MACs that the profile's attention pooling spends on asking with all 49 cells, whose answers nothing reads."""
    cells, inner, width = 7 * 7, 2048, 1024
    return cells * (inner * inner + 2 * inner * (cells + 1) + inner * width)
