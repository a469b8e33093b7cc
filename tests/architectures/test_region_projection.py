"""How a region's feature and place become a token: each option against its formula; and boxes on a fixed grid."""

from __future__ import annotations

import pytest
import torch
from examples import blank, mask_of, region_projection, regions_of
from torch import Tensor
from weights import randomise

from vlbench.architectures.detector import GridBoxes
from vlbench.architectures.interfaces import Images
from vlbench.architectures.region import RegionProjection, keep_all, with_whole_image
from vlbench.architectures.roi_heads import C4RoIHead
from vlbench.specs import C4HeadSpec

WIDTH, CHANNELS = 32, 6
IMAGES = blank((60, 80), (40, 100))


def boxes_on(images: Images) -> Tensor:
    """Four boxes an image, in pixels."""
    shares = torch.rand(len(images.sizes), 4, 4)
    shares[..., 2:] = shares[..., :2] + shares[..., 2:] * (1 - shares[..., :2])
    return shares * torch.tensor([[width, height] * 2 for height, width in images.sizes])[:, None]


def place_of(box: Tensor, size: tuple[int, int], numbers: int) -> list[float]:
    (height, width), (x1, y1, x2, y2) = size, box.tolist()
    corners = [x1 / width, y1 / height, x2 / width, y2 / height]
    extent = [(x2 - x1) / width, (y2 - y1) / height]
    area = [extent[0] * extent[1]]
    return {0: [], 4: corners, 5: corners + area, 6: corners + extent, 7: corners + extent + area}[numbers]


def places_of(boxes: Tensor, images: Images, numbers: int) -> Tensor:
    return torch.tensor(
        [[place_of(box, size, numbers) for box in some] for some, size in zip(boxes, images.sizes, strict=True)]
    )


def norm(part: torch.nn.LayerNorm, values: Tensor) -> Tensor:
    centred = values - values.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt() * part.weight + part.bias


def expected_tokens(part: RegionProjection, combine: str, features: Tensor, places: Tensor) -> Tensor:
    """Up to segment and LayerNorm."""
    if combine == "concatenation":
        return torch.cat((features, places), dim=2) @ part.feature.weight.T + part.feature.bias
    feature, place = features @ part.feature.weight.T + part.feature.bias, torch.zeros(())
    if part.geometry is not None:
        place = places @ part.geometry.weight.T + part.geometry.bias
    if combine == "sum":
        return feature + place
    place = place if part.geometry is None else norm(part.geometry_norm, place)
    if part.geometry is None:
        return norm(part.feature_norm, feature)
    together = norm(part.feature_norm, feature) + place
    return together if combine == "sum_of_norms" else together / 2


@torch.no_grad()
@pytest.mark.parametrize("numbers", [0, 4, 5, 6, 7])
@pytest.mark.parametrize("combine", ["sum_of_norms", "mean_of_norms", "sum", "concatenation"])
def test_a_token_is_what_the_papers_formula_says(combine: str, numbers: int) -> None:
    part = randomise(region_projection(combine=combine, geometry=numbers))
    features, boxes = torch.randn(2, 4, CHANNELS), boxes_on(IMAGES)
    values = expected_tokens(part, combine, features, places_of(boxes, IMAGES, numbers)) + part.segment
    tokens = part(regions_of(features, boxes), IMAGES)
    torch.testing.assert_close(tokens.values, norm(part.norm, values), atol=1e-5, rtol=0)
    assert tokens.mask is None


@torch.no_grad()
@pytest.mark.parametrize(("segment", "normed"), [(True, False), (False, True), (False, False)])
def test_segment_and_norm_can_each_be_left_out(segment: bool, normed: bool) -> None:
    part = randomise(region_projection(combine="sum", geometry=5, segment=segment, norm=normed))
    features, boxes = torch.randn(2, 4, CHANNELS), boxes_on(IMAGES)
    expected = expected_tokens(part, "sum", features, places_of(boxes, IMAGES, 5))
    expected = expected + part.segment if segment else expected
    expected = norm(part.norm, expected) if normed else expected
    torch.testing.assert_close(part(regions_of(features, boxes), IMAGES).values, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_token_can_have_length_1() -> None:
    part = randomise(region_projection(combine="sum", geometry=0, segment=False, norm=False, unit_length=True))
    features = torch.randn(2, 4, CHANNELS)
    expected = expected_tokens(part, "sum", features, torch.zeros(0))
    expected = expected / expected.square().sum(-1, keepdim=True).sqrt()
    torch.testing.assert_close(part(regions_of(features, boxes_on(IMAGES)), IMAGES).values, expected)


@torch.no_grad()
@pytest.mark.parametrize("combine", ["sum_of_norms", "concatenation"])
def test_channels_that_a_feature_lacks_are_zero_and_stand_before_the_place(combine: str) -> None:
    part = randomise(region_projection(inputs=CHANNELS + 3, combine=combine, geometry=6))
    features, boxes = torch.randn(2, 4, CHANNELS), boxes_on(IMAGES)
    whole = torch.cat((features, torch.zeros(2, 4, 3)), dim=2)
    expected = expected_tokens(part, combine, whole, places_of(boxes, IMAGES, 6)) + part.segment
    ours = part(regions_of(features, boxes), IMAGES).values
    torch.testing.assert_close(ours, norm(part.norm, expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("counts", [None, (4, 2), (1, 4)])
def test_the_whole_image_comes_first_with_the_mean_of_the_real_regions(counts: tuple[int, int] | None) -> None:
    features, boxes = torch.randn(2, 4, CHANNELS), boxes_on(IMAGES)
    regions = with_whole_image(regions_of(features, boxes, mask_of(*counts) if counts else None), IMAGES)
    for index, count in enumerate(counts or (4, 4)):
        height, width = IMAGES.sizes[index]
        assert regions.boxes[index, 0].tolist() == [0, 0, width, height]
        torch.testing.assert_close(regions.features[index, 0], features[index, :count].sum(0) / count)
    assert torch.equal(regions.features[:, 1:], features)
    assert torch.equal(regions.boxes[:, 1:], boxes)
    real = None if regions.mask is None else regions.mask.sum(1).tolist()
    assert real == (None if counts is None else [1 + count for count in counts])


@torch.no_grad()
def test_a_projection_with_the_whole_image_gives_a_token_more() -> None:
    part = randomise(region_projection(whole_image=True))
    regions = regions_of(torch.randn(2, 4, CHANNELS), boxes_on(IMAGES), mask_of(4, 2))
    tokens = part(regions, IMAGES)
    assert tokens.values.shape == (2, 5, WIDTH)
    assert tokens.mask.tolist() == [[True] * 5, [True, True, True, False, False]]
    features, boxes = (getattr(with_whole_image(regions, IMAGES), name) for name in ("features", "boxes"))
    expected = expected_tokens(part, "sum_of_norms", features, places_of(boxes, IMAGES, 7)) + part.segment
    torch.testing.assert_close(tokens.values, norm(part.norm, expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (8, 8), (7, 5)])
def test_grid_boxes_tile_each_image_exactly(rows: int, columns: int) -> None:
    images = blank((61, 80), (40, 101))
    for boxes, (height, width) in zip(GridBoxes(rows=rows, columns=columns)(images), images.sizes, strict=True):
        cells = boxes.reshape(rows, columns, 4)
        assert (cells[..., 2:] > cells[..., :2]).all()
        assert torch.equal(cells[:, 1:, 0], cells[:, :-1, 2])
        assert torch.equal(cells[1:, :, 1], cells[:-1, :, 3])
        assert cells[:, 0, 0].unique().tolist() == cells[0, :, 1].unique().tolist() == [0]
        assert cells[:, -1, 2].unique().tolist() == [width]
        assert cells[-1, :, 3].unique().tolist() == [height]
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        torch.testing.assert_close(areas, torch.full_like(areas, height * width / (rows * columns)), atol=1e-3, rtol=0)


def test_grid_boxes_follow_the_image_from_one_pass_to_the_next() -> None:
    part, once = GridBoxes(rows=2, columns=3), GridBoxes(rows=2, columns=3)
    part(blank((60, 80)))
    assert torch.equal(part(blank((40, 100)))[0], once(blank((40, 100)))[0])


@torch.no_grad()
def test_a_head_without_classes_gives_the_features_of_every_fixed_box() -> None:
    head = C4RoIHead(
        C4HeadSpec(
            kind="c4",
            pooling="roi_align",
            pool_size=4,
            blocks=1,
            groups=1,
            group_width=64,
            stride=2,
            dilation=1,
            classes=None,
            box_regression="per_class",
        ),
        inputs=1024,
        feature_stride=16,
        stride_in="1x1",
    ).eval()
    boxes = GridBoxes(rows=2, columns=3)(blank((64, 96), (48, 50)))
    found = head([torch.randn(2, 1024, 4, 6)], boxes)
    assert (found.scores, found.deltas, head.classes) == ([], [], 0)
    regions = keep_all(found)
    assert regions.features.shape == (2, 6, 2048)
    assert torch.equal(regions.boxes, torch.stack(boxes))
    assert regions.mask is None
