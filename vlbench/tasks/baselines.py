"""What is reached without looking: the answer that suits most items, and the one that suits a text best."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache

from vlbench.tasks.items import Item


def majority_answer(items: Sequence[Item]) -> str:
    """The one answer that would be right most often; of several, the first in the items' order."""
    worth: Counter[str] = Counter()
    for item in items:
        for answer, votes in Counter(item.answers).items():
            worth[answer] += _worth(votes, len(item.answers))
    return worth.most_common(1)[0][0]


def _worth(votes: int, people: int) -> int:
    """What an answer with so many votes scores, times 30 so that it stays whole."""
    return 30 if people == 1 else min(30, 9 * votes)


LONGEST_BEGINNING = 6  # words
LEAST_VOTES = 10  # behind the answer to a text that only begins alike


def text_only_answers(items: Sequence[Item], training: Sequence[Item] = ()) -> Mapping[str, str]:
    """For each item the answer that its text has most often elsewhere, without a look at the image.

    A new text gets the answer of those that begin alike, by as many words as ten votes can be found for.

    Args:
        training: where answers are learnt; without any, from those items that share no unit with the one in question.
    """
    learnt = training or items
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for item in learnt:
        for key in _keys(item.text):
            votes[key].update(item.answers)
    own: dict[str, list[Item]] = defaultdict(list)
    if not training:
        for item in items:
            own[item.unit].append(item)
    return {item.identifier: _likeliest(item, votes, own[item.unit]) for item in items}


def _likeliest(item: Item, votes: Mapping[str, Counter[str]], excluded: Sequence[Item]) -> str:
    for place, key in enumerate(_keys(item.text)):
        counted = votes.get(key, Counter())
        if excluded:
            counted = counted.copy()
        for other in excluded:
            if key in _keys(other.text):
                counted.subtract(other.answers)
        enough = 1 if place == 0 or not key else LEAST_VOTES
        if counted.total() >= enough:
            return counted.most_common(1)[0][0]
    return ""  # one unit alone, which leaves nothing to learn from


@lru_cache(100_000)
def _keys(text: str) -> tuple[str, ...]:
    """The whole text, then its beginnings, each shorter than the one before, down to nothing."""
    words = text.lower().split()
    longest = min(LONGEST_BEGINNING, len(words) - 1)
    return (" ".join(words), *(f"{' '.join(words[:n])} ..." for n in range(longest, 0, -1)), "")
