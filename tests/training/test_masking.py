"""Which words, regions and patches are hidden: counts within binomial bounds, and what must never be."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vlbench.architectures.interfaces import Text
from vlbench.errors import InputError
from vlbench.training.masking import MaskedText, Vocabulary, mask_image_tokens, mask_pair, mask_words

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "square", "left", "of", "gi", "##raf", "##fe", "##s"]
PAD, UNK, CLS, SEP, MASK = range(5)
GI, RAF, FE = 9, 10, 11
VOCABULARY = Vocabulary.of({piece: number for number, piece in enumerate(PIECES)})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def within(count: int, trials: int, probability: float) -> bool:
    """Within 5 standard deviations of a binomial count."""
    deviation = math.sqrt(trials * probability * (1 - probability))
    return abs(count - trials * probability) < 5 * deviation


def sentences(rows: int) -> Text:
    """[CLS] red gi ##raf ##fe of square [UNK] [SEP] [PAD] [PAD]"""
    ids = torch.tensor([CLS, 5, GI, RAF, FE, 8, 6, UNK, SEP, PAD, PAD]).repeat(rows, 1)
    return Text(ids=ids, mask=ids != PAD)


def masked(rows: int = 20000, seed: int = 0, **options: object) -> MaskedText:
    return mask_words(sentences(rows), VOCABULARY, generator=seeded(seed), **options)  # type: ignore[arg-type]


def test_vocabulary_knows_special_pieces_and_those_that_continue_a_word() -> None:
    assert VOCABULARY.special.nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    assert VOCABULARY.continues.nonzero().flatten().tolist() == [10, 11, 12]
    assert VOCABULARY.mask_id == MASK


def test_vocabulary_without_mask_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[MASK\]"):
        Vocabulary.of({"[PAD]": 0, "red": 1})


@pytest.mark.parametrize("whole_words", [False, True])
def test_special_pieces_and_padding_are_never_chosen(whole_words: bool) -> None:
    chosen = masked(share=1.0, whole_words=whole_words).chosen
    assert chosen.all(dim=0).tolist() == [False, *[True] * 6, False, False, False, False]
    assert not chosen[:, [0, 7, 8, 9, 10]].any()


def test_what_the_mask_calls_padding_is_never_chosen_whatever_stands_there() -> None:
    ids = torch.full((100, 6), 5)
    real = torch.arange(6).expand(100, -1) < 4
    words = mask_words(Text(ids=ids, mask=real), VOCABULARY, generator=seeded(), share=1.0)
    assert torch.equal(words.chosen, real)
    assert torch.equal(words.ids[~real], ids[~real])


@pytest.mark.parametrize("whole_words", [False, True])
def test_15_percent_are_chosen_of_each_piece(whole_words: bool) -> None:
    counts = masked(whole_words=whole_words).chosen[:, 1:7].sum(dim=0)
    assert all(within(count, 20000, 0.15) for count in counts.tolist())


def test_of_the_chosen_80_percent_are_masked_10_random_and_10_stay() -> None:
    words = masked(rows=40000)
    was, now = words.target_ids, words.ids[words.chosen]
    ordinary = int((~VOCABULARY.special).sum())
    assert within(int((now == MASK).sum()), len(now), 0.8)
    assert within(int((now == was).sum()), len(now), 0.1 + 0.1 / ordinary)  # a random word can be the same
    random = now[(now != MASK) & (now != was)]
    assert not VOCABULARY.special[random].any()
    counts = random.bincount(minlength=len(PIECES))[5:]
    assert (counts > 0).all()
    red = now[(was == 5) & (now != MASK) & (now != 5)]
    others = red.bincount(minlength=len(PIECES))[6:]
    assert all(within(count, len(red), 1 / (ordinary - 1)) for count in others.tolist())


def test_targets_are_the_text_and_what_is_not_chosen_stays() -> None:
    words, text = masked(rows=500), sentences(500)
    assert torch.equal(words.targets, text.ids)
    assert torch.equal(words.ids[~words.chosen], text.ids[~words.chosen])
    assert torch.equal(words.target_ids, text.ids[words.chosen])


def test_pieces_of_a_word_are_chosen_together() -> None:
    pieces = masked(whole_words=True).chosen[:, 2:5]
    assert torch.equal(pieces.any(dim=1), pieces.all(dim=1))
    assert pieces.any()


def test_pieces_are_chosen_alone_without_whole_words() -> None:
    pieces = masked().chosen[:, 2:5]
    assert within(int(pieces.all(dim=1).sum()), 20000, 0.15**3)


def test_words_are_chosen_independently_of_each_other() -> None:
    chosen = masked(whole_words=True).chosen
    assert within(int((chosen[:, 1] & chosen[:, 2]).sum()), 20000, 0.15**2)
    assert within(int((chosen[:, 4] & chosen[:, 5]).sum()), 20000, 0.15**2)


@pytest.mark.parametrize(("whole_words", "choices"), [(False, 6), (True, 4)])
def test_at_least_one_is_drawn_evenly_where_nothing_else_was(whole_words: bool, choices: int) -> None:
    chosen = masked(share=0.0, whole_words=whole_words, at_least_one=True).chosen
    starts = chosen[:, [1, 2, 3, 4, 5, 6] if not whole_words else [1, 2, 5, 6]]
    assert (starts.sum(dim=1) == 1).all()
    assert all(within(count, 20000, 1 / choices) for count in starts.sum(dim=0).tolist())
    if whole_words:
        assert torch.equal(chosen[:, 2], chosen[:, 4])


def test_at_least_one_changes_no_text_of_which_something_was_chosen() -> None:
    plain, forced = masked(rows=500).chosen, masked(rows=500, at_least_one=True).chosen
    some = plain.any(dim=1)
    assert torch.equal(plain[some], forced[some])
    assert not some.all()
    assert (forced[~some].sum(dim=1) == 1).all()


def test_a_text_of_special_pieces_alone_has_nothing_to_choose() -> None:
    text = Text(ids=torch.tensor([[CLS, SEP, PAD], [CLS, 5, SEP]]), mask=None)
    words = mask_words(text, VOCABULARY, generator=seeded(), at_least_one=True)
    assert words.chosen.tolist() == [[False] * 3, [False, True, False]]


def test_one_seed_gives_one_choice_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    first = masked(rows=50, seed=7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = masked(rows=50, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.ids, second.ids)
    assert torch.equal(first.chosen, second.chosen)
    assert not torch.equal(first.chosen, masked(rows=50, seed=8).chosen)


def places(rows: int) -> Tensor:
    return (torch.arange(8) < 6).repeat(rows, 1)


def test_15_percent_of_real_regions_are_chosen() -> None:
    chosen = mask_image_tokens(places(20000), generator=seeded())
    assert all(within(count, 20000, 0.15) for count in chosen[:, :6].sum(dim=0).tolist())
    assert not chosen[:, 6:].any()


def test_at_least_one_region_of_an_image_that_has_any() -> None:
    real = places(2000)
    real[0] = False
    chosen = mask_image_tokens(real, generator=seeded(), share=0.0, at_least_one=True)
    assert chosen.sum(dim=1).tolist() == [0, *[1] * 1999]
    assert not chosen[~real].any()


@pytest.mark.parametrize("whole_words", [False, True])
def test_conditional_masking_leaves_one_modality_whole(whole_words: bool) -> None:
    text = sentences(4000)
    pair = mask_pair(
        text, places(4000), VOCABULARY, conditional=True, generator=seeded(), share=0.9, whole_words=whole_words
    )
    words, regions = pair.text.chosen.any(dim=1), pair.image.any(dim=1)
    assert not (words & regions).any()
    assert within(int(words.sum()), 4000, 0.5)
    assert torch.equal(pair.text.ids[~words], text.ids[~words])


def test_joint_masking_hides_both_and_the_same_as_conditional_masking_where_that_hides() -> None:
    text, real = sentences(4000), places(4000)
    joint, conditional = (
        mask_pair(text, real, VOCABULARY, conditional=conditional, generator=seeded(), share=0.5)
        for conditional in (False, True)
    )
    both = joint.text.chosen.any(dim=1) & joint.image.any(dim=1)
    assert both.float().mean() > 0.9
    of_words = conditional.text.chosen.any(dim=1)
    assert torch.equal(joint.text.ids[of_words], conditional.text.ids[of_words])
    of_regions = conditional.image.any(dim=1)
    assert torch.equal(joint.image[of_regions], conditional.image[of_regions])
