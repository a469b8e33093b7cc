"""What is hidden from a model for it to predict: words, regions, patches. Every choice comes from a generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vlbench.architectures.interfaces import Text
from vlbench.errors import InputError

SHARE = 0.15  # of words, of regions and of patches: BERT, section 3.1; UNITER, section 3.2; ViLT, section 3.3
TO_MASK, TO_RANDOM = 0.8, 0.1  # what becomes of a chosen word; the rest stays (BERT, section 3.1)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What masking must know of V word pieces."""

    special: Tensor  # (V,) bool: never hidden, never put in a word's place
    continues: Tensor  # (V,) bool: goes on with the word that the piece before it belongs to
    mask_id: int  # of [MASK]

    @classmethod
    def of(cls, pieces: Mapping[str, int]) -> Vocabulary:
        """Of a WordPiece vocabulary, ids by piece. Raises InputError where it has no [MASK]."""
        if "[MASK]" not in pieces:
            raise InputError("masked words need a vocabulary with the piece [MASK]; this one has none")
        special, continues = (torch.zeros(max(pieces.values()) + 1, dtype=torch.bool) for _ in range(2))
        special[[pieces[piece] for piece in SPECIAL if piece in pieces]] = True
        continues[[number for piece, number in pieces.items() if piece.startswith("##")]] = True
        return cls(special=special, continues=continues, mask_id=pieces["[MASK]"])


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedText:
    """A text with words hidden."""

    ids: Tensor  # (B, L) int64, what the model reads
    targets: Tensor  # (B, L) int64, what stood there
    chosen: Tensor  # (B, L) bool, True = to be predicted

    @property
    def wanted(self) -> Tensor:
        """The ids to be predicted, (N,), text by text."""
        return self.targets[self.chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedPair:
    """Texts and which of their images' regions or patches are to be hidden."""

    text: MaskedText
    image: Tensor  # (B, R) bool, True = hidden and to be predicted


def mask_words(
    text: Text,
    vocabulary: Vocabulary,
    *,
    generator: torch.Generator,
    share: float = SHARE,
    whole_words: bool = False,
    at_least_one: bool = False,
) -> MaskedText:
    """Chooses words to be predicted: 80% become [MASK], 10% a random word, 10% stay (BERT, section 3.1).

    Args:
        text: special pieces and padding are never chosen.
        vocabulary: the text's.
        generator: of all choices, on any device.
        share: probability of a piece, or with `whole_words` of a word, to be chosen.
        whole_words: all pieces of a word are chosen together, so that none can be guessed from the rest (ViLT, section
            3.3); what becomes of a piece is still drawn piece by piece, as in BERT's published code.
        at_least_one: a text of which nothing was chosen gets one word, or piece, drawn from all.
    """
    special, continues = (kind.to(text.ids.device) for kind in (vocabulary.special, vocabulary.continues))
    can_be = ~special[text.ids] if text.mask is None else ~special[text.ids] & text.mask
    draws = _uniform(text.ids.shape, generator, text.ids.device)
    if whole_words:
        word_BL = (~continues[text.ids]).long().cumsum(dim=1) - 1
        draws = draws.gather(1, word_BL.clamp(min=0))
    chosen = _chosen(draws, can_be, share, at_least_one)
    ids = _replaced(text.ids, chosen, special, vocabulary.mask_id, generator)
    return MaskedText(ids=ids, targets=text.ids, chosen=chosen)


def mask_places(
    real_BR: Tensor, *, generator: torch.Generator, share: float = SHARE, at_least_one: bool = False
) -> Tensor:
    """Chooses regions (UNITER, section 3.2) or patches (ViLT, section 4.5) to be hidden and predicted, (B, R) bool.

    Args:
        real_BR: (B, R) bool, True = there is one.
        generator: of all choices.
        share: probability of each to be chosen.
        at_least_one: an image of which nothing was chosen gets one, as in UNITER's published code.
    """
    return _chosen(_uniform(real_BR.shape, generator, real_BR.device), real_BR, share, at_least_one)


def mask_pair(
    text: Text,
    real_BR: Tensor,
    vocabulary: Vocabulary,
    *,
    conditional: bool,
    generator: torch.Generator,
    share: float = SHARE,
    whole_words: bool = False,
    at_least_one: bool = False,
) -> MaskedPair:
    """Hides words and regions or patches of pairs.

    Conditional masking hides words of about half of the pairs and regions of the others, so that what is hidden can
    always be seen in the other modality, whole; joint masking hides both of all (UNITER, section 3.2). UNITER draws the
    modality for a whole batch; here each pair draws its own. Arguments as of `mask_words` and `mask_places`.
    """
    words = mask_words(
        text, vocabulary, generator=generator, share=share, whole_words=whole_words, at_least_one=at_least_one
    )
    image = mask_places(real_BR, generator=generator, share=share, at_least_one=at_least_one)
    if not conditional:
        return MaskedPair(text=words, image=image)
    of_words_B1 = _uniform((len(text.ids), 1), generator, text.ids.device) < 0.5
    ids = torch.where(of_words_B1, words.ids, words.targets)
    words = MaskedText(ids=ids, targets=words.targets, chosen=words.chosen & of_words_B1)
    return MaskedPair(text=words, image=image & ~of_words_B1.to(image.device))


def _chosen(draws_BL: Tensor, can_be_BL: Tensor, share: float, at_least_one: bool) -> Tensor:
    chosen = (draws_BL < share) & can_be_BL
    if not at_least_one:
        return chosen
    draws_BL = draws_BL.masked_fill(~can_be_BL, 2)
    lowest = (draws_BL == draws_BL.amin(dim=1, keepdim=True)) & can_be_BL
    return torch.where(chosen.any(dim=1, keepdim=True), chosen, lowest)


def _replaced(ids_BL: Tensor, chosen: Tensor, special: Tensor, mask_id: int, generator: torch.Generator) -> Tensor:
    """What becomes of the chosen, (B, L)."""
    ordinary = (~special).nonzero().squeeze(1)
    fate, draws = (_uniform(ids_BL.shape, generator, ids_BL.device) for _ in range(2))
    random = ordinary[(draws * len(ordinary)).long().clamp(max=len(ordinary) - 1)]
    replaced = torch.where(fate < TO_MASK, mask_id, torch.where(fate < TO_MASK + TO_RANDOM, random, ids_BL))
    return torch.where(chosen, replaced, ids_BL)


def _uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Numbers from 0 to 1, of one generator the same on every device."""
    return torch.rand(shape, generator=generator, device=generator.device).to(device)
