"""Patch embedding against its formula, and ViT against timm."""

from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F
from weights import affine, randomise, stack, timm_layer, under

from vlbench.architectures import heads, interaction, patch
from vlbench.architectures.interfaces import Images, Joint, Tokens
from vlbench.architectures.vl_model import VLModel
from vlbench.specs import PatchSpec, PooledFeatureSpec, SingleStreamSpec

WIDTH = 32


def embedder(grid: tuple[int, int], *, align_corners: bool = False) -> patch.PatchEmbedder:
    part = patch.PatchEmbedder(
        PatchSpec(
            kind="patch", patch_size=16, width=WIDTH, position_grid=grid, align_corners=align_corners, dropout=0.0
        )
    )
    return randomise(part)


def images(*size: int, batch: int = 2) -> Images:
    return Images(pixels=torch.randn(batch, 3, *size), sizes=(size,) * batch)


@torch.no_grad()
def test_patches_are_projected_row_by_row_after_the_class_token() -> None:
    part, pixels = embedder((2, 3)).double(), images(32, 48).pixels.double()
    flat = pixels.unfold(2, 16, 16).unfold(3, 16, 16)  # B, 3, rows, columns, 16, 16
    flat = flat.permute(0, 2, 3, 1, 4, 5).reshape(2, 6, -1)
    projected = flat @ part.patch.weight.reshape(WIDTH, -1).T + part.patch.bias
    expected = torch.cat((part.class_token.expand(2, -1, -1), projected), dim=1) + part.positions
    tokens = part(Images(pixels=pixels, sizes=((32, 48), (32, 48))))
    assert tokens.mask is None
    torch.testing.assert_close(tokens.values, expected)


@torch.no_grad()
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("learned", [(4, 4), (2, 5)])
def test_positions_are_interpolated_to_another_grid(learned: tuple[int, int], align_corners: bool) -> None:
    part = embedder(learned, align_corners=align_corners)
    part.patch.weight.zero_()
    part.patch.bias.zero_()
    table = part.positions[0, 1:].T.reshape(1, WIDTH, *learned)
    expected = F.interpolate(table, (3, 7), mode="bilinear", align_corners=align_corners).flatten(2).transpose(1, 2)
    torch.testing.assert_close(part(images(48, 112)).values[:, 1:], expected.expand(2, -1, -1), atol=1e-6, rtol=0)


@torch.no_grad()
def test_aligned_corners_keep_the_learned_corner_positions() -> None:
    part = embedder((4, 4), align_corners=True)
    part.patch.weight.zero_()
    part.patch.bias.zero_()
    grid = part(images(96, 160)).values[0, 1:].reshape(6, 10, WIDTH)
    learned = part.positions[0, 1:].reshape(4, 4, WIDTH)
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        torch.testing.assert_close(grid[row, column], learned[row, column])


@torch.no_grad()
def test_only_patches_that_hold_a_part_of_the_image_are_real() -> None:
    tokens = embedder((4, 4))(Images(pixels=torch.randn(2, 3, 48, 64), sizes=((48, 64), (17, 32))))
    class_token, patches = tokens.mask[:, 0], tokens.mask[:, 1:].reshape(2, 3, 4)
    assert class_token.all()
    assert patches[0].all()
    assert patches[1].tolist() == [[True, True, False, False], [True, True, False, False], [False] * 4]


@torch.no_grad()
@pytest.mark.parametrize(("pooling", "timm_pooling"), [("cls", "token"), ("mean", "avg")])
@pytest.mark.parametrize("size", [(64, 64), (32, 80)])
def test_vit_equals_timm(pooling: str, timm_pooling: str, size: tuple[int, int]) -> None:
    reference = VisionTransformer(
        img_size=size,
        patch_size=16,
        embed_dim=WIDTH,
        depth=3,
        num_heads=4,
        mlp_ratio=2.5,
        num_classes=0,
        global_pool=timm_pooling,
        fc_norm=False,
    )
    state = randomise(reference).state_dict()
    model = VLModel(
        text=None,
        visual=embedder((size[0] // 16, size[1] // 16)),
        interaction=interaction.SingleStream(
            SingleStreamSpec(
                kind="single_stream",
                layers=3,
                width=WIDTH,
                heads=4,
                mlp_width=80,
                norm="pre",
                modal_types=False,
                dropout=0.1,
                layer_norm_eps=1e-6,
            )
        ),
        head=heads.PooledFeature(PooledFeatureSpec(kind="pooled_feature", pooling=pooling)),
    ).eval()
    visual = {"class_token": state["cls_token"], "positions": state["pos_embed"]}
    visual |= affine(state, "patch_embed.proj", "patch")
    transformer = stack(state, "blocks", 3, timm_layer) | affine(state, "norm", "norm")
    model.load_state_dict(under("visual", visual) | under("interaction", transformer))
    batch = images(*size)
    torch.testing.assert_close(model(None, batch), reference(batch.pixels), atol=1e-5, rtol=0)


@torch.no_grad()
def test_mean_pooling_leaves_out_the_class_token_and_padding() -> None:
    model = VLModel(
        text=None,
        visual=embedder((2, 2)),
        interaction=Untouched(),
        head=heads.PooledFeature(PooledFeatureSpec(kind="pooled_feature", pooling="mean")),
    ).eval()
    batch = Images(pixels=torch.randn(2, 3, 32, 32), sizes=((32, 32), (16, 32)))
    tokens = model.visual(batch).values
    expected = torch.stack((tokens[0, 1:5].mean(0), tokens[1, 1:3].mean(0)))
    torch.testing.assert_close(model(None, batch), expected)


class Untouched(torch.nn.Module):
    """Hands the image's tokens on as they are."""

    def forward(self, text: None, image: Tokens) -> Joint:
        return Joint(text=text, image=image)
