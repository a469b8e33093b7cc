"""Which image a text is shown with: half of the time another's, never by another name its own."""

from __future__ import annotations

import math

import pytest
import torch

from vlbench.architectures.interfaces import Images, RegionFeatures
from vlbench.training.pairing import Pairing, reordered_images, reordered_regions, replace_images


def pairing(identity: list[int], seed: int = 0, share: float = 0.5) -> Pairing:
    return replace_images(torch.tensor(identity), generator=torch.Generator().manual_seed(seed), share=share)


def test_half_of_the_texts_are_shown_another_image_and_none_its_own_as_such() -> None:
    pairings = [pairing(list(range(100)), seed) for seed in range(100)]
    for result in pairings:
        assert torch.equal(result.matches, result.order == torch.arange(100))
    matches = sum(int(result.matches.sum()) for result in pairings)
    assert abs(matches - 5000) < 5 * math.sqrt(10000 / 4)


@pytest.mark.parametrize("texts", [1, 2, 5, 64])
def test_an_exact_half_of_a_batch_does_not_match(texts: int) -> None:
    """Of an odd batch one more: ViLT's code has `len // 2` pairs that match."""
    counts = torch.zeros(texts)
    for seed in range(400):
        result = replace_images(torch.arange(texts), generator=torch.Generator().manual_seed(seed), exact=True)
        assert torch.equal(result.matches, result.order == torch.arange(texts))
        assert int(result.matches.sum()) == (texts // 2 if texts > 1 else 1)
        counts += result.matches
    if texts > 1:  # each text is as likely to match as every other
        share = texts // 2 / texts
        assert (counts - 400 * share).abs().max() < 5 * math.sqrt(400 * share * (1 - share))


def test_an_exact_half_leaves_texts_alone_that_have_no_other_image() -> None:
    result = replace_images(torch.tensor([4, 4, 4]), generator=torch.Generator().manual_seed(0), exact=True)
    assert result.matches.all()


def test_every_other_image_is_as_likely() -> None:
    counts = torch.zeros(5, 5)
    for seed in range(4000):
        counts[torch.arange(5), pairing(list(range(5)), seed, share=1.0).order] += 1
    assert counts.diagonal().tolist() == [0] * 5
    others = counts[~torch.eye(5, dtype=torch.bool)]
    assert (others - 1000).abs().max() < 5 * math.sqrt(4000 * 0.25 * 0.75)


def test_the_same_image_elsewhere_in_the_batch_is_no_other() -> None:
    identity = [7, 7, 3, 7, 3, 9]
    for seed in range(200):
        result = pairing(identity, seed)
        for text, (shown, matches) in enumerate(zip(result.order.tolist(), result.matches.tolist(), strict=True)):
            assert (identity[shown] == identity[text]) is matches
            assert not matches or shown == text


@pytest.mark.parametrize("identity", [[4], [4, 4, 4]])
def test_a_text_keeps_its_image_where_there_is_no_other(identity: list[int]) -> None:
    result = pairing(identity, share=1.0)
    assert result.order.tolist() == list(range(len(identity)))
    assert result.matches.all()


def test_nothing_is_replaced_with_probability_0_and_all_with_1() -> None:
    assert pairing(list(range(50)), share=0.0).matches.all()
    assert not pairing(list(range(50)), share=1.0).matches.any()


def test_one_seed_gives_one_pairing_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    first = pairing(list(range(30)), seed=5)
    state = torch.manual_seed(2).get_state()
    second = pairing(list(range(30)), seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.order, second.order)
    assert not torch.equal(first.order, pairing(list(range(30)), seed=6).order)


def test_images_move_with_their_sizes() -> None:
    images = Images(pixels=torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 3, 4, 4), sizes=((4, 4), (3, 4), (2, 1)))
    moved = reordered_images(images, torch.tensor([2, 0, 2]))
    assert moved.pixels[:, 0, 0, 0].tolist() == [2, 0, 2]
    assert moved.sizes == ((2, 1), (4, 4), (2, 1))


@pytest.mark.parametrize("masked", [False, True])
def test_regions_move_with_their_boxes_sizes_and_masks(masked: bool) -> None:
    number = torch.arange(3.0)[:, None, None]
    mask = torch.tensor([[True, True], [True, False], [False, False]]) if masked else None
    regions = RegionFeatures(
        features=number.expand(3, 2, 5), boxes=number.expand(3, 2, 4) + 10, sizes=((4, 4), (3, 4), (2, 1)), mask=mask
    )
    moved = reordered_regions(regions, torch.tensor([1, 1, 0]))
    assert moved.features[:, 1, 2].tolist() == [1, 1, 0]
    assert moved.boxes[:, 0, 3].tolist() == [11, 11, 10]
    assert moved.sizes == ((3, 4), (3, 4), (4, 4))
    assert (moved.mask is None) is not masked
    if moved.mask is not None:
        assert moved.mask.tolist() == [[True, False], [True, False], [True, True]]
