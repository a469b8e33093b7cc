"""What is reached without looking: the answer that suits most items, and the one that suits a text best."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

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


def text_only_answers(items: Sequence[Item], training: Sequence[Item]) -> Mapping[str, str]:
    """For each item the answer that its text has most often in the training split; the majority's for a new text."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for item in training:
        votes[_key(item)].update(item.answers)
    otherwise = majority_answer(training)
    return {
        item.identifier: votes[_key(item)].most_common(1)[0][0] if _key(item) in votes else otherwise for item in items
    }


def _key(item: Item) -> str:
    return " ".join(item.text.lower().split())
