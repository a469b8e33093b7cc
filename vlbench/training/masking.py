"""Masks words, regions and patches for a model to predict. All choices come from a generator that the caller seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.interfaces import Images, RegionFeatures, Text, grid_mask
from vlbench.architectures.region import Regions
from vlbench.errors import InputError

MASKED_SHARE = 0.15  # of words, regions and patches (BERT, section 3.1; UNITER, section 3.2; ViLT, section 3.3)
TO_MASK, TO_RANDOM = 0.8, 0.1  # shares of chosen words that are replaced; the rest stays (BERT, section 3.1)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What masking needs to know about V word pieces."""

    special: Tensor  # (V,) bool: never masked, and never a random replacement
    continues: Tensor  # (V,) bool: continues the word of the piece before it
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
    """Texts with some of their word pieces masked."""

    ids: Tensor  # (B, L) int64, what the model reads
    targets: Tensor  # (B, L) int64, the original ids
    chosen: Tensor  # (B, L) bool, True = to be predicted

    @property
    def target_ids(self) -> Tensor:
        """The ids to be predicted, (N,), text by text."""
        return self.targets[self.chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedPair:
    """Masked texts, and which regions or patches of their images are masked."""

    text: MaskedText
    image: Tensor  # (B, R) bool, True = masked and to be predicted


def mask_words(
    text: Text,
    vocabulary: Vocabulary,
    *,
    generator: torch.Generator,
    share: float = MASKED_SHARE,
    whole_words: bool = False,
    at_least_one: bool = False,
) -> MaskedText:
    """Chooses words to be predicted: 80% become [MASK], 10% a random word, 10% stay (BERT, section 3.1).

    Args:
        text: special pieces and padding are never chosen.
        vocabulary: the text's.
        generator: of all choices, on any device.
        share: probability that a piece, or with `whole_words` a word, is chosen.
        whole_words: chooses all pieces of a word together, so that none can be guessed from the others (ViLT, section
            3.3). How a piece is replaced is still drawn piece by piece, as in BERT's published code.
        at_least_one: chooses one word or piece in a text that would have none.
    """
    special, continues = (kind.to(text.ids.device) for kind in (vocabulary.special, vocabulary.continues))
    eligible_BL = ~special[text.ids] if text.mask is None else ~special[text.ids] & text.mask
    draws_BL = _uniform(text.ids.shape, generator, text.ids.device)
    if whole_words:
        word_BL = (~continues[text.ids]).long().cumsum(dim=1) - 1
        draws_BL = draws_BL.gather(1, word_BL.clamp(min=0))
    chosen_BL = _chosen(draws_BL, eligible_BL, share, at_least_one)
    ids_BL = _replaced(text.ids, chosen_BL, special, vocabulary.mask_id, generator)
    return MaskedText(ids=ids_BL, targets=text.ids, chosen=chosen_BL)


def mask_image_tokens(
    real_BR: Tensor, *, generator: torch.Generator, share: float = MASKED_SHARE, at_least_one: bool = False
) -> Tensor:
    """Chooses regions (UNITER, section 3.2) or patches (ViLT, section 4.5) to be masked and predicted, (B, R) bool.

    Args:
        real_BR: (B, R) bool, False = padding.
        generator: of all choices.
        share: probability that a region or patch is chosen.
        at_least_one: chooses one in an image that would have none, as in UNITER's published code.
    """
    return _chosen(_uniform(real_BR.shape, generator, real_BR.device), real_BR, share, at_least_one)


def mask_pair(
    text: Text,
    real_BR: Tensor,
    vocabulary: Vocabulary,
    *,
    conditional: bool,
    generator: torch.Generator,
    share: float = MASKED_SHARE,
    whole_words: bool = False,
    at_least_one: bool = False,
) -> MaskedPair:
    """Masks words and regions or patches of image-text pairs.

    Conditional masking masks words in about half of the pairs and regions in the others, so that the other modality is
    always complete; joint masking masks both in every pair (UNITER, section 3.2). UNITER draws one modality per batch,
    here each pair draws its own. Arguments as of `mask_words` and `mask_image_tokens`.
    """
    words = mask_words(
        text, vocabulary, generator=generator, share=share, whole_words=whole_words, at_least_one=at_least_one
    )
    image = mask_image_tokens(real_BR, generator=generator, share=share, at_least_one=at_least_one)
    if not conditional:
        return MaskedPair(text=words, image=image)
    masks_words_B1 = _uniform((len(text.ids), 1), generator, text.ids.device) < 0.5
    ids = torch.where(masks_words_B1, words.ids, words.targets)
    words = MaskedText(ids=ids, targets=words.targets, chosen=words.chosen & masks_words_B1)
    return MaskedPair(text=words, image=image & ~masks_words_B1.to(image.device))


def _chosen(draws_BL: Tensor, eligible_BL: Tensor, share: float, at_least_one: bool) -> Tensor:
    chosen = (draws_BL < share) & eligible_BL
    if not at_least_one:
        return chosen
    draws_BL = draws_BL.masked_fill(~eligible_BL, 2)
    lowest = (draws_BL == draws_BL.amin(dim=1, keepdim=True)) & eligible_BL
    return torch.where(chosen.any(dim=1, keepdim=True), chosen, lowest)


def _replaced(ids_BL: Tensor, chosen_BL: Tensor, special: Tensor, mask_id: int, generator: torch.Generator) -> Tensor:
    """The ids with the chosen ones masked, replaced at random or kept, (B, L)."""
    ordinary = (~special).nonzero().squeeze(1)
    kinds_BL, draws_BL = (_uniform(ids_BL.shape, generator, ids_BL.device) for _ in range(2))
    random_BL = ordinary[(draws_BL * len(ordinary)).long().clamp(max=len(ordinary) - 1)]
    kept_or_random_BL = torch.where(kinds_BL < TO_MASK + TO_RANDOM, random_BL, ids_BL)
    replaced_BL = torch.where(kinds_BL < TO_MASK, mask_id, kept_or_random_BL)
    return torch.where(chosen_BL, replaced_BL, ids_BL)


def _uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Random numbers from 0 to 1; drawn on the generator's device, so that `device` does not change them."""
    draws = torch.rand(shape, generator=generator, device=generator.device)
    return draws.to(device, non_blocking=draws.device.type == "cpu")  # from a GPU, a CPU would read before they come


def real_patches(images: Images, patch_size: int) -> Tensor:
    """Which patches hold a part of their image, not padding alone, (B, P) bool, row by row."""
    rows, columns = _patch_grid(images, patch_size)
    mask = grid_mask(images, rows, columns)
    if mask is None:
        return torch.ones(len(images.pixels), rows * columns, dtype=torch.bool, device=images.pixels.device)
    return mask


def with_masked_patches(images: Images, masked_BP: Tensor, patch_size: int) -> Images:
    """The images with every pixel of the masked patches set to 0, the mean of the normalisation.

    The projection then gives its bias alone for them, which so is the embedding of a masked patch; positions are added
    later. Pixels beyond the last whole patch, which the projection does not read, stay as they are.
    """
    masked_B1HW = masked_BP.to(images.pixels.device).unflatten(1, _patch_grid(images, patch_size))[:, None]
    masked_B1HW = masked_B1HW.repeat_interleave(patch_size, dim=2).repeat_interleave(patch_size, dim=3)
    height, width = images.pixels.shape[-2:]
    beyond = (0, width - masked_B1HW.shape[3], 0, height - masked_B1HW.shape[2])
    pixels = images.pixels.masked_fill(F.pad(masked_B1HW, beyond, value=False), 0)
    return Images(pixels=pixels, sizes=images.sizes)


def _patch_grid(images: Images, patch_size: int) -> tuple[int, int]:
    height, width = images.pixels.shape[-2:]
    return height // patch_size, width // patch_size


AnyRegions = TypeVar("AnyRegions", Regions, RegionFeatures)


def with_masked_regions(regions: AnyRegions, masked_BR: Tensor, embedding_C: Tensor | None = None) -> AnyRegions:
    """The regions with the features of the masked ones set to 0 or to a learned embedding; boxes stay.

    UNITER's paper sets them to 0 (section 3.2), its published code adds an embedding.
    """
    masked_BR1 = masked_BR[:, :, None]
    if embedding_C is None:
        features = regions.features.masked_fill(masked_BR1, 0)
    else:
        features = torch.where(masked_BR1, embedding_C.to(regions.features.dtype), regions.features)
    if isinstance(regions, Regions):
        return Regions(features=features, boxes=regions.boxes, confidence=regions.confidence, mask=regions.mask)
    return RegionFeatures(features=features, boxes=regions.boxes, sizes=regions.sizes, mask=regions.mask)
