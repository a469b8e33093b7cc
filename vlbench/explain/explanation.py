"""What was found inside a model for one photo and one text, as plain arrays, and the words of the text with their
tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlbench.errors import InputError
from vlbench.explain.patterns import Scores, scored

Span = tuple[int, int]  # where a word begins and ends in its text

# Words that point at nothing in a picture; a text of nothing else is drawn whole.
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
    """A word as it stands in the text, and the places of its tokens."""

    text: str
    tokens: tuple[int, ...]

    @property
    def is_content(self) -> bool:
        return self.text.lower() not in FUNCTION_WORDS and any(letter.isalnum() for letter in self.text)


def words_of(text: str, spans: Sequence[Span | None]) -> tuple[Word, ...]:
    """The words that tokens stand for, in their order.

    Args:
        text: as it was given.
        spans: for each token that a model reads the word that it is of, or None for a special token.
    """
    tokens: dict[Span, list[int]] = {}
    for place, span in enumerate(spans):
        if span is not None:
            tokens.setdefault(span, []).append(place)
    return tuple(Word(text=text[start:end], tokens=tuple(own)) for (start, end), own in tokens.items())


def chosen(words: Sequence[Word], asked: str | None) -> list[int]:
    """Which words to draw: those named, separated by commas, else content words, else all.

    Raises InputError where a word is named that the text does not have.
    """
    if asked is None:
        return [place for place, word in enumerate(words) if word.is_content] or list(range(len(words)))
    found: set[int] = set()
    for name in filter(None, (part.strip() for part in asked.split(","))):
        own = [place for place, word in enumerate(words) if word.text.lower() == name.lower()]
        if not own:
            known = ", ".join(dict.fromkeys(word.text for word in words))
            raise InputError(f"--words {name}: not in the text as the model reads it; its words are {known}")
        found.update(own)
    if not found:
        raise InputError("--words: no word named; --words cat,mat works")
    return sorted(found)


TEXT, IMAGE = "text", "image"
BOTH = "text+image"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMap:
    """The attention of all heads of one layer, of real tokens alone.

    Attributes:
        layer: its name, counted from 1; `cross-2` where a model has several kinds of layer.
        asks, asked: whose tokens are the rows and the columns: TEXT, IMAGE or BOTH, text first.
        weights: each row sums to 1.
    """

    layer: str
    asks: str
    asked: str
    weights: NDArray[np.float32]  # (heads, queries, keys)

    @property
    def heads(self) -> int:
        return len(self.weights)

    @property
    def joint(self) -> bool:
        """Whether both modalities are in one sequence, as UNITER's classes want it."""
        return self.asks == self.asked == BOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where image tokens lie.

    Attributes:
        boxes: left, top, right, bottom of each, as shares of the image.
        special: tokens before them that stand for the whole image, such as [CLS].
        grid: rows and columns, where the boxes are the cells of a grid, a row after the other.
    """

    boxes: NDArray[np.float32]  # (R, 4)
    special: int
    grid: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """A transport plan of words onto image tokens, both without special tokens.

    Attributes:
        shares: of each word's mass, that goes to each image token; rows sum to 1.
        beta, iterations: of IPOT.
    """

    shares: NDArray[np.float32]  # (words, R)
    beta: float
    iterations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Attributes:
    model, weights: its name, and what fills it.
    random_parts: that stay random all the same.
    image, text: as given.
    photo: the part of the image that the model saw, at the image's own resolution.
    words: of the text, as far as the model reads it.
    unread: the words after these.
    labels: of the text's tokens, special ones in brackets.
    alignment: None, with `no_alignment` saying why, where text and image cannot be compared.
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
    places: Places
    maps: tuple[AttentionMap, ...]
    alignment: Alignment | None
    no_alignment: str = ""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names, in the order of the pass."""
        return tuple(dict.fromkeys(one.layer for one in self.maps))

    def maps_of(self, layer: str) -> tuple[AttentionMap, ...]:
        """Raises InputError where there is no such layer."""
        found = tuple(one for one in self.maps if one.layer == layer)
        if not found:
            raise InputError(f"--layer {layer}: {self.model} has no such layer; it has {ranges(self.layers)}")
        return found

    def special(self) -> tuple[int, ...]:
        """Places, in the sequence of text and image, of tokens that are neither a word nor a part of the image."""
        of_words = {token for word in self.words for token in word.tokens}
        length = len(self.labels)
        own = [token for token in range(length) if token not in of_words]
        return (*own, *range(length, length + self.places.special))

    def scores(self, found: AttentionMap) -> list[Scores] | None:
        """Of each head; None where its tokens are of one modality, or it asks one and another is asked."""
        if not found.joint:
            return None
        return [scored(weights, len(self.labels), self.special()) for weights in found.weights]


def ranges(layers: Sequence[str]) -> str:
    """`text-1 to text-9, cross-1 to cross-5`."""
    kinds: dict[str, list[str]] = {}
    for layer in layers:
        kinds.setdefault(layer.rpartition("-")[0], []).append(layer)
    return ", ".join(f"{own[0]} to {own[-1]}" if len(own) > 1 else own[0] for own in kinds.values())
