"""Masked regions and patches as inputs of the projections."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vlbench.architectures.interfaces import Images, RegionFeatures
from vlbench.architectures.patch import PatchEmbedder
from vlbench.architectures.region import RegionProjection, Regions
from vlbench.specs import PatchSpec, RegionProjectionSpec
from vlbench.training.losses import patch_levels
from vlbench.training.masking import real_patches, with_masked_patches, with_masked_regions


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(*sizes: tuple[int, int]) -> Images:
    height, width = (max(side) for side in zip(*sizes, strict=True))
    pixels = normal(len(sizes), 3, height, width)
    for image, (rows, columns) in zip(pixels, sizes, strict=True):
        image[:, rows:], image[:, :, columns:] = 0, 0
    return Images(pixels=pixels, sizes=sizes)


def example_regions(kind: type) -> Regions | RegionFeatures:
    features, boxes = normal(2, 4, 6), torch.tensor([1.0, 2.0, 5.0, 6.0]).expand(2, 4, 4)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    if kind is Regions:
        return Regions(features=features, boxes=boxes, confidence=torch.ones(2, 4), mask=mask)
    return RegionFeatures(features=features, boxes=boxes, sizes=((8, 8), (8, 8)), mask=mask)


CHOSEN = torch.tensor([[True, False, False, True], [False, True, False, False]])


@pytest.mark.parametrize("kind", [Regions, RegionFeatures])
def test_features_of_hidden_regions_are_zero_and_all_else_stays(kind: type) -> None:
    before = example_regions(kind)
    after = with_masked_regions(before, CHOSEN)
    assert type(after) is kind
    assert after.features[CHOSEN].count_nonzero() == 0
    assert torch.equal(after.features[~CHOSEN], before.features[~CHOSEN])
    assert before.features[CHOSEN].count_nonzero() > 0
    assert after.boxes is before.boxes
    assert after.mask is before.mask


def test_a_learned_feature_takes_their_place_and_learns() -> None:
    embedding = normal(6, seed=1).requires_grad_()
    features = normal(2, 4, 6).requires_grad_()
    before = example_regions(RegionFeatures)
    assert isinstance(before, RegionFeatures)
    before = RegionFeatures(features=features, boxes=before.boxes, sizes=before.sizes, mask=before.mask)
    after = with_masked_regions(before, CHOSEN, embedding)
    assert torch.equal(after.features[CHOSEN], embedding.expand(3, 6))
    after.features.sum().backward()
    assert embedding.grad is not None
    assert embedding.grad.tolist() == [3] * 6
    assert features.grad is not None
    assert torch.equal(features.grad, (~CHOSEN).float()[:, :, None].expand(2, 4, 6))


def test_no_trace_of_a_hidden_region_reaches_the_tokens() -> None:
    part = RegionProjection(
        RegionProjectionSpec(
            width=8,
            geometry=7,
            combine="sum_of_norms",
            segment=True,
            norm=True,
            whole_image=False,
            unit_length=False,
            dropout=0.0,
            layer_norm_eps=1e-12,
        ),
        inputs=6,
    )
    first, other = example_regions(RegionFeatures), example_regions(RegionFeatures)
    assert isinstance(first, RegionFeatures)
    assert isinstance(other, RegionFeatures)
    other.features[CHOSEN] = 100.0
    images = Images(pixels=torch.zeros(2, 3, 8, 8), sizes=((8, 8), (8, 8)))

    def tokens(regions: RegionFeatures) -> Tensor:
        hidden = with_masked_regions(regions, CHOSEN)
        confidence = torch.ones(2, 4)
        return part(
            Regions(features=hidden.features, boxes=hidden.boxes, confidence=confidence, mask=hidden.mask), images
        ).values

    assert torch.equal(tokens(first), tokens(other))


def test_pixels_of_hidden_patches_are_zero_and_all_others_stay() -> None:
    images = pictures((8, 12), (8, 12))
    hidden = torch.tensor([[True, False, False, False, False, True], [False] * 6])
    after = with_masked_patches(images, hidden, 4).pixels
    assert after[0, :, :4, :4].count_nonzero() == 0
    assert after[0, :, 4:, 8:].count_nonzero() == 0
    assert torch.equal(after[0, :, :4, 4:], images.pixels[0, :, :4, 4:])
    assert torch.equal(after[0, :, 4:, :8], images.pixels[0, :, 4:, :8])
    assert torch.equal(after[1], images.pixels[1])
    assert images.pixels[0, :, :4, :4].count_nonzero() == 48


def test_hidden_patches_project_to_the_bias_and_others_as_before() -> None:
    part = PatchEmbedder(
        PatchSpec(kind="patch", patch_size=4, width=8, position_grid=(2, 3), align_corners=True, dropout=0.0)
    )
    images = pictures((8, 12), (8, 12))
    hidden = torch.tensor([[True, False, False, True, False, False], [False, False, True, False, False, False]])
    before, after = part(images).values[:, 1:], part(with_masked_patches(images, hidden, 4)).values[:, 1:]
    assert part.patch.bias is not None
    torch.testing.assert_close(after[hidden], part.patch.bias.expand(3, 8))
    assert torch.equal(after[~hidden], before[~hidden])


def test_pixels_beyond_the_last_whole_patch_stay() -> None:
    images = pictures((9, 14))
    after = with_masked_patches(images, torch.ones(1, 6, dtype=torch.bool), 4).pixels
    assert after[:, :, :8, :12].count_nonzero() == 0
    assert torch.equal(after[:, :, 8:], images.pixels[:, :, 8:])
    assert torch.equal(after[:, :, :, 12:], images.pixels[:, :, :, 12:])


def test_levels_are_those_of_the_mean_of_each_patch_in_the_order_of_the_tokens() -> None:
    bytes_HW3 = torch.randint(0, 256, (8, 12, 3), generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.5, 0.2, 0.3])
    pixels = ((bytes_HW3 / 255 - mean) / std).permute(2, 0, 1)[None]
    levels = patch_levels(Images(pixels=pixels, sizes=((8, 12),)), 4, mean=mean, std=std)
    assert levels.shape == (1, 6, 3)
    for row in range(2):
        for column in range(3):
            patch = bytes_HW3[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert levels[0, 3 * row + column].tolist() == (patch.sum(dim=(0, 1)) // 16).tolist()


def test_a_patch_of_one_level_has_that_level() -> None:
    """Rounding of the normalised pixels moves it to no other."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    every = torch.arange(256)[:, None].expand(256, 3)
    pixels = ((every / 255 - mean) / std)[:, :, None, None].expand(256, 3, 4, 4)
    levels = patch_levels(Images(pixels=pixels, sizes=((4, 4),) * 256), 4, mean=mean, std=std)
    assert torch.equal(levels[:, 0], every)


@pytest.mark.parametrize("sizes", [((8, 12), (8, 12)), ((8, 12), (4, 5)), ((8, 12), (8, 4))])
def test_real_patches_are_those_that_the_embedder_calls_real(sizes: tuple[tuple[int, int], ...]) -> None:
    part = PatchEmbedder(
        PatchSpec(kind="patch", patch_size=4, width=8, position_grid=(2, 3), align_corners=True, dropout=0.0)
    )
    tokens = part(pictures(*sizes))
    real = real_patches(pictures(*sizes), 4)
    expected = torch.ones(2, 6, dtype=torch.bool) if tokens.mask is None else tokens.mask[:, 1:]
    assert torch.equal(real, expected)
