"""The result of explaining a model on one photo and one text, as plain arrays, and the text's words with their
tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlbench.errors import InputError
from vlbench.explain.patterns import PatternScores, score_patterns

Span = tuple[int, int]  # where a word starts and ends in its text

# Words that name nothing in a photo. A text of function words alone is drawn whole.
FUNCTION_WORDS = frozenset(
    """a an the this that these those it its there here some any
    is are was were be been being am do does did has have had can could will would may might shall should must
    of in on at by to from for with as into onto upon about
    and or but nor so than then if not no yes
    i you he she we they him her them his their our your my me us
    who whom whose which what when where why how""".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word as it is written in the text, and the positions of its tokens: none where one token is the whole text."""

    text: str
    tokens: tuple[int, ...]

    @property
    def is_content(self) -> bool:
        return self.text.lower() not in FUNCTION_WORDS and any(letter.isalnum() for letter in self.text)


def words_of(text: str, spans: Sequence[Span | None]) -> tuple[Word, ...]:
    """The words that the tokens stand for, in order.

    Args:
        text: as the user gave it.
        spans: one per token that the model reads: the word that it belongs to, or None for a special token.
    """
    tokens_of: dict[Span, list[int]] = {}
    for token, span in enumerate(spans):
        if span is not None:
            tokens_of.setdefault(span, []).append(token)
    return tuple(Word(text=text[start:end], tokens=tuple(tokens)) for (start, end), tokens in tokens_of.items())


def words_to_draw(words: Sequence[Word], names: str | None) -> list[int]:
    """Indices of the words to draw: those named, separated by commas; without names the content words, or else all.

    Raises InputError where a named word is not in the text.
    """
    if names is None:
        return [index for index, word in enumerate(words) if word.is_content] or list(range(len(words)))
    indices: set[int] = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        matches = [index for index, word in enumerate(words) if word.text.lower() == name.lower()]
        if not matches:
            known = ", ".join(dict.fromkeys(word.text for word in words))
            raise InputError(f"--words {name}: not in the text as the model reads it; its words are {known}")
        indices.update(matches)
    if not indices:
        raise InputError("--words: no word named; --words cat,mat works")
    return sorted(indices)


TEXT, IMAGE = "text", "image"
BOTH = "text+image"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMap:
    """The attention of all heads of one layer, without padding.

    Attributes:
        layer: its name, counted from 1; `cross-2` where a model has several kinds of layers.
        queries, keys: whose tokens are the rows and the columns: TEXT, IMAGE, or BOTH with text tokens first.
        weights: each row sums to 1.
    """

    layer: str
    queries: str
    keys: str
    weights: NDArray[np.float32]  # (heads, queries, keys)

    @property
    def heads(self) -> int:
        return len(self.weights)

    @property
    def joint(self) -> bool:
        """Whether text and image are one sequence, which UNITER's patterns need."""
        return self.queries == self.keys == BOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayout:
    """Where the image tokens lie on the photo.

    Attributes:
        boxes: left, top, right, bottom of each, as shares of the image; none where no token stands for a part of it.
        special: number of tokens before them that stand for the whole image, such as [CLS].
        grid: rows and columns where the boxes are the cells of a grid, row by row; else None.
    """

    boxes: NDArray[np.float32]  # (R, 4)
    special: int
    grid: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """A transport plan from words to image tokens; special tokens of text and image are left out.

    Attributes:
        shares: how much of each word's mass goes to each image token; rows sum to 1.
        beta, iterations: of IPOT.
    """

    shares: NDArray[np.float32]  # (words, R)
    beta: float
    iterations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a model attends to, on one photo and one text.

    Attributes:
        model, weights: the model's name, and where its weights come from.
        random_parts: parts for which the weights have no tensors.
        image, text: as the user gave them.
        photo: the part of the image that the model saw, at the image's own resolution.
        words: those of the text that the model reads.
        unread: the words after these, which did not fit.
        labels: one per text token; special tokens stand in brackets.
        layout: where the image tokens lie.
        maps: the attention of each layer, in the order of the forward pass.
        alignment: None where text and image tokens cannot be compared; `no_alignment` gives the reason.
    """

    model: str
    weights: str
    random_parts: tuple[str, ...]
    image: Path
    text: str
    photo: Image.Image
    words: tuple[Word, ...]
    unread: tuple[str, ...]
    labels: tuple[str, ...]
    layout: ImageLayout
    maps: tuple[AttentionMap, ...]
    alignment: Alignment | None
    no_alignment: str = ""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names, in the order of the forward pass."""
        return tuple(dict.fromkeys(attention.layer for attention in self.maps))

    def maps_of(self, layer: str) -> tuple[AttentionMap, ...]:
        """The maps of one layer. Raises InputError where the model has no such layer."""
        maps = tuple(attention for attention in self.maps if attention.layer == layer)
        if not maps:
            raise InputError(f"--layer {layer}: {self.model} has no such layer; it has {layer_ranges(self.layers)}")
        return maps

    def special_tokens(self) -> tuple[int, ...]:
        """Positions, in the sequence of text and image, of tokens that are neither a word nor a part of the image."""
        of_words = {token for word in self.words for token in word.tokens}
        length = len(self.labels)
        of_text = (token for token in range(length) if token not in of_words)
        return (*of_text, *range(length, length + self.layout.special))

    @property
    def has_parts(self) -> bool:
        """Whether there are tokens that stand for words, and for parts of the image."""
        return any(word.tokens for word in self.words) and len(self.layout.boxes) > 0

    @property
    def missing_for_patterns(self) -> str:
        """What UNITER's patterns need that this model lacks; empty where its heads have patterns."""
        if not all(attention.joint for attention in self.maps):
            return "text and image in one sequence"
        return "" if self.has_parts else "a token for each word and for each part of the image"

    def pattern_scores(self, attention: AttentionMap) -> list[PatternScores] | None:
        """One per head; None unless words and parts of the image are one sequence."""
        if not attention.joint or not self.has_parts:
            return None
        return [score_patterns(weights, len(self.labels), self.special_tokens()) for weights in attention.weights]


def layer_ranges(layers: Sequence[str]) -> str:
    """`text-1 to text-9, cross-1 to cross-5`."""
    by_kind: dict[str, list[str]] = {}
    for layer in layers:
        by_kind.setdefault(layer.rpartition("-")[0], []).append(layer)
    return ", ".join(f"{names[0]} to {names[-1]}" if len(names) > 1 else names[0] for names in by_kind.values())
