"""Scores predictions by a task's own metrics, with intervals, next to blind baselines: the majority answer, and the
best guess from the text alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vlbench.errors import InputError
from vlbench.tasks import metrics
from vlbench.tasks.items import Gallery, Item, Metric
from vlbench.tasks.metrics import RANKS, Scores, mean_with_interval
from vlbench.tasks.registry import Kind, Task


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What predictions are worth. `n` of `of` items were scored; `baselines` are in the first metric's terms."""

    task: str
    split: str
    n: int
    of: int
    metrics: tuple[Metric, ...]
    baselines: tuple[Metric, ...]


def score_items(
    task: Task,
    split: str,
    items: Sequence[Item],
    predictions: Mapping[str, str],
    *,
    of: int,
    training: Sequence[Item] = (),
) -> Score:
    """The score of predictions, one an item.

    Raises InputError where the split keeps its answers to itself.

    Args:
        of: items of the split.
        training: where the baseline that reads the text alone learns; without any, from the items themselves, leaving
            out those that share an image or a statement with the one in question.
    """
    if not all(item.answers for item in items):
        raise InputError(
            f"--split {split}: its answers are not public; upload the predictions to the benchmark's server"
        )
    return Score(
        task=task.name,
        split=split,
        n=len(items),
        of=of,
        metrics=tuple(_metrics(task.kind, items, predictions)),
        baselines=tuple(_baselines(task.kind, items, training)),
    )


def accuracy(task: Task, items: Sequence[Item], predictions: Mapping[str, str]) -> Metric:
    """The task's first metric alone."""
    return _accuracy("accuracy", task.kind, items, predictions)


def _values(kind: Kind, items: Sequence[Item], predictions: Mapping[str, str]) -> list[float]:
    if kind == "votes":
        return [metrics.accuracy(predictions[item.identifier], item.answers) for item in items]
    if kind == "statement":
        return list(map(float, metrics.correct(items, predictions)))
    return [float(predictions[item.identifier].strip().lower() == item.answers[0].lower()) for item in items]


def _accuracy(name: str, kind: Kind, items: Sequence[Item], predictions: Mapping[str, str]) -> Metric:
    return mean_with_interval(name, _values(kind, items, predictions), [item.unit for item in items])


def _metrics(kind: Kind, items: Sequence[Item], predictions: Mapping[str, str]) -> list[Metric]:
    found = [_accuracy("accuracy", kind, items, predictions)]
    for answer_kind in sorted({item.kind for item in items if item.kind}):
        own = [item for item in items if item.kind == answer_kind]
        found.append(_accuracy(f"accuracy, {answer_kind}", kind, own, predictions))
    if kind == "statement":
        consistent = metrics.consistent([item for item in items if item.group], predictions)
        if consistent:
            found.append(mean_with_interval("consistency", list(map(float, consistent.values())), list(consistent)))
        for name, subset in (("balanced", metrics.balanced(items)), ("unbalanced", metrics.unbalanced(items))):
            if subset:
                found.append(_accuracy(f"accuracy, {name}", kind, subset, predictions))
    return found


def _baselines(kind: Kind, items: Sequence[Item], training: Sequence[Item]) -> list[Metric]:
    majority = majority_answer(items)
    found = [_accuracy(f"majority ({majority})", kind, items, {item.identifier: majority for item in items})]
    learnt = "training split" if training else "other items"
    found.append(_accuracy(f"text alone ({learnt})", kind, items, text_only_answers(items, training)))
    return found


def score_gallery(task: Task, split: str, gallery: Gallery, scores_TI: Scores) -> Score:
    """R@1, 5 and 10 in both directions, and those of a model to which all pairs are alike."""
    return Score(
        task=task.name,
        split=split,
        n=len(gallery.texts),
        of=len(gallery.texts),
        metrics=tuple(_recalls("", gallery, scores_TI)),
        baselines=tuple(_recalls("chance, ", gallery, np.zeros(scores_TI.shape, dtype=np.float32))),
    )


def _recalls(prefix: str, gallery: Gallery, scores_TI: Scores) -> list[Metric]:
    owners = gallery.image_of_text
    by_text = metrics.text_to_image(scores_TI, owners)
    by_image = metrics.image_to_text(scores_TI, owners)
    searched = [image for image in range(len(gallery.images)) if not np.isnan(by_image[image, 0])]
    found = []
    for place, rank in enumerate(RANKS):
        found.append(mean_with_interval(f"{prefix}image R@{rank}", by_text[:, place].tolist(), list(owners)))
    for place, rank in enumerate(RANKS):
        found.append(mean_with_interval(f"{prefix}text R@{rank}", by_image[searched, place].tolist(), searched))
    return found
