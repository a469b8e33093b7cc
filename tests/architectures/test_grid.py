"""Grid features: pooling, projection, padding and the sampling of pixels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vlbench.architectures.grid import PixelProjection
from vlbench.architectures.interfaces import Images
from vlbench.specs import GridSpec, ResNetSpec


def projection(*, inputs: int = 6, sampled_pixels: int = 100, pool_size: int = 2) -> PixelProjection:
    part = PixelProjection(
        GridSpec(
            kind="grid",
            backbone=ResNetSpec(blocks=(1, 1)),
            pool_size=pool_size,
            width=4,
            sampled_pixels=sampled_pixels,
            sample="training",
        ),
        inputs=inputs,
    )
    torch.nn.init.normal_(part.semantic)
    return part


def numbering_pixels(sampled_pixels: int, sample: str = "training") -> PixelProjection:
    """A projection whose tokens say which pixel of `numbered` they are."""
    part = PixelProjection(
        GridSpec(
            kind="grid",
            backbone=ResNetSpec(blocks=(1, 1)),
            pool_size=1,
            width=1,
            sampled_pixels=sampled_pixels,
            sample=sample,
        ),
        inputs=1,
    )
    torch.nn.init.ones_(part.linear.weight)
    torch.nn.init.zeros_(part.linear.bias)
    return part


def numbered(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.arange(1.0, height * width + 1).reshape(1, 1, height, width).expand(batch, -1, -1, -1)


def images(*sizes: tuple[int, int]) -> Images:
    height, width = (max(side) for side in zip(*sizes, strict=True))
    return Images(pixels=torch.zeros(len(sizes), 3, height, width), sizes=sizes)


@torch.no_grad()
def test_pooled_pixels_are_projected_and_share_one_semantic_embedding() -> None:
    part, features = projection().eval(), torch.randn(2, 6, 4, 6)
    pixels = features.reshape(2, 6, 2, 2, 3, 2).amax(dim=(3, 5)).flatten(2).transpose(1, 2)
    tokens = part(features, images((128, 192), (128, 192)))
    assert tokens.mask is None
    torch.testing.assert_close(tokens.values, F.linear(pixels, part.linear.weight, part.linear.bias) + part.semantic)


@torch.no_grad()
def test_missing_channels_are_zero() -> None:
    part, features = projection(inputs=6).eval(), torch.randn(1, 4, 4, 4)
    whole = torch.cat((features - features.amin(), torch.zeros(1, 2, 4, 4)), dim=1)
    batch = images((64, 64))
    torch.testing.assert_close(part(features - features.amin(), batch).values, part(whole, batch).values)


@torch.no_grad()
def test_evaluation_keeps_all_pixels_in_order() -> None:
    part = numbering_pixels(100).eval()
    tokens = part(numbered(2, 12, 20), images((12, 20), (12, 20)))
    assert tokens.values[..., 0].tolist() == [list(map(float, range(1, 241)))] * 2


@torch.no_grad()
@pytest.mark.parametrize("sampled_pixels", [1, 100, 239])
def test_training_samples_pixels_without_repetition_in_the_grids_order(sampled_pixels: int) -> None:
    part = numbering_pixels(sampled_pixels).train()
    values = part(numbered(4, 12, 20), images(*[(12, 20)] * 4)).values[..., 0]
    assert values.shape == (4, sampled_pixels)
    for row in values.tolist():
        assert row == sorted(set(row))
        assert set(row) <= set(range(1, 241))
    assert len({tuple(row) for row in values.tolist()}) > 1


@torch.no_grad()
def test_training_samples_every_pixel_equally_often() -> None:
    part, counts = numbering_pixels(10).train(), torch.zeros(40)
    for _ in range(50):
        values = part(numbered(20, 5, 8), images(*[(5, 8)] * 20)).values[..., 0].long() - 1
        counts += values.flatten().bincount(minlength=40)
    expected = 50 * 20 * 10 / 40  # 250, standard deviation 13.7
    assert (counts - expected).abs().max() < 5 * 13.7


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[(12, 20)] * 3, [(12, 20), (6, 20), (12, 10)]])
def test_evaluation_samples_as_many_real_pixels_where_it_always_does(sizes: list[tuple[int, int]]) -> None:
    tokens = numbering_pixels(100, "always").eval()(numbered(3, 12, 20), images(*sizes))
    assert tokens.values.shape == (3, 100, 1)
    assert tokens.mask is None or tokens.mask.all()
    for row, (rows, columns) in zip(tokens.values[..., 0].tolist(), sizes, strict=True):
        assert row == sorted(set(row))
        assert set(row) <= {20 * y + x + 1 for y in range(rows) for x in range(columns)}


@torch.no_grad()
@pytest.mark.parametrize("sampled_pixels", [240, 1000])
def test_training_keeps_all_pixels_where_there_are_no_more(sampled_pixels: int) -> None:
    tokens = numbering_pixels(sampled_pixels).train()(numbered(1, 12, 20), images((12, 20)))
    assert tokens.values.flatten().tolist() == list(map(float, range(1, 241)))


@torch.no_grad()
def test_training_samples_real_pixels_before_padding() -> None:
    part = numbering_pixels(10).train()
    sizes = ((6, 6), (2, 3), (4, 3))  # 36, 6 and 12 real pixels
    tokens = part(numbered(3, 6, 6), images(*sizes))
    assert tokens.mask.sum(1).tolist() == [10, 6, 10]
    for index, (rows, columns) in enumerate(sizes):
        real = {6 * row + column + 1 for row in range(rows) for column in range(columns)}
        chosen = tokens.values[index, :, 0]
        assert set(chosen[tokens.mask[index]].tolist()) <= real
        assert set(chosen[~tokens.mask[index]].tolist()).isdisjoint(real)


@torch.no_grad()
def test_pixels_over_padding_are_masked() -> None:
    tokens = projection().eval()(torch.randn(2, 6, 4, 6), images((128, 192), (64, 65)))
    assert tokens.mask.reshape(2, 2, 3).tolist() == [[[True] * 3] * 2, [[True, True, False], [False] * 3]]


@torch.no_grad()
def test_one_seed_samples_the_same_pixels_so_that_a_step_can_be_repeated() -> None:
    part, features = numbering_pixels(100).train(), numbered(4, 12, 20)

    def sampled(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return part(features, images(*[(12, 20)] * 4)).values

    first, other = sampled(5), sampled(6)
    torch.rand(17)
    assert torch.equal(sampled(5), first)
    assert not torch.equal(first, other)


@torch.no_grad()
def test_every_set_of_pixels_is_as_likely() -> None:
    part, counts = numbering_pixels(2).train(), torch.zeros(4, 4)
    for _ in range(30):
        pairs = part(numbered(200, 2, 2), images(*[(2, 2)] * 200)).values[..., 0].long() - 1
        counts.index_put_(tuple(pairs.t()), torch.ones(200), accumulate=True)
    above = counts[torch.ones(4, 4, dtype=torch.bool).triu(1)]  # 6 sets of two
    assert above.sum() == 6000
    assert (above - 1000).abs().max() < 5 * 28.9


@torch.no_grad()
def test_gradient_reaches_the_sampled_pixels_alone() -> None:
    part, features = numbering_pixels(10).train(), numbered(2, 5, 8).clone().requires_grad_()
    with torch.enable_grad():
        tokens = part(features, images((5, 8), (5, 8)))
        tokens.values.sum().backward()
    assert features.grad is not None
    assert features.grad.flatten(1).count_nonzero(dim=1).tolist() == [10, 10]
    chosen = tokens.values[..., 0].long() - 1
    assert torch.equal(features.grad.flatten(1).gather(1, chosen), torch.ones(2, 10))
