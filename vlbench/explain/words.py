"""The words of a text and the tokens that each is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlbench.errors import InputError

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
