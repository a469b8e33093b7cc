"""Scores predictions by a task's own metrics, with intervals, next to blind baselines: the majority answer, and the
most likely answer given the text alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from vlbench.errors import InputError
from vlbench.specs.heads import TaskKind
from vlbench.tasks import metrics
from vlbench.tasks.items import Gallery, Item, Metric
from vlbench.tasks.kinds import RULES
from vlbench.tasks.metrics import RANKS, Scores, mean_with_interval
from vlbench.tasks.registry import Task


def majority_answer(items: Sequence[Item]) -> str:
    """The answer that scores most if given to every item; of several, the first in the items' order."""
    scores: Counter[str] = Counter()
    for item in items:
        for answer, votes in Counter(item.answers).items():
            scores[answer] += _score_of_votes(votes, len(item.answers))
    return scores.most_common(1)[0][0]


def _score_of_votes(votes: int, people: int) -> int:
    """The score of an answer that this many people gave, times 30 to keep it an integer."""
    return 30 if people == 1 else min(30, 9 * votes)


LONGEST_PREFIX = 6  # words
LEAST_VOTES = 10  # that a prefix needs to predict an answer


def text_only_answers(items: Sequence[Item], training: Sequence[Item] = ()) -> Mapping[str, str]:
    """For each item the most frequent answer to the same text.

    A text that does not occur elsewhere gets the most frequent answer to its longest prefix with at least ten votes.

    Args:
        training: items to learn from; if empty, each item learns from the items of other units.
    """
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for item in training or items:
        for prefix in _prefixes(item.text):
            votes[prefix].update(item.answers)
    unit_items: dict[str, list[Item]] = defaultdict(list)
    if not training:
        for item in items:
            unit_items[item.unit].append(item)
    return {item.identifier: _likeliest(item, votes, unit_items[item.unit]) for item in items}


def _likeliest(item: Item, votes: Mapping[str, Counter[str]], excluded: Sequence[Item]) -> str:
    """The most frequent answer to the longest known prefix of the item's text, without the votes of `excluded`."""
    for index, prefix in enumerate(_prefixes(item.text)):
        remaining = votes.get(prefix, Counter())
        if excluded:
            remaining = remaining.copy()
        for other in excluded:
            if prefix in _prefixes(other.text):
                remaining.subtract(other.answers)
        least_votes = 1 if index == 0 or not prefix else LEAST_VOTES
        if remaining.total() >= least_votes:
            return remaining.most_common(1)[0][0]
    return ""  # there is only one unit, so nothing to learn from


@lru_cache(100_000)
def _prefixes(text: str) -> tuple[str, ...]:
    """The whole text, then its first words, fewer each time, down to the empty prefix."""
    words = text.lower().split()
    longest = min(LONGEST_PREFIX, len(words) - 1)
    return (" ".join(words), *(f"{' '.join(words[:n])} ..." for n in range(longest, 0, -1)), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The metrics of predictions for `n` of a split's `items_total` items; `baselines` are of the first metric."""

    task: str
    split: str
    n: int
    items_total: int
    metrics: tuple[Metric, ...]
    baselines: tuple[Metric, ...]


def score_items(
    task: Task,
    split: str,
    items: Sequence[Item],
    predictions: Mapping[str, str],
    *,
    items_total: int,
    training: Sequence[Item] = (),
) -> Score:
    """The score of one prediction per item.

    Raises InputError if the split's answers are not public.

    Args:
        items_total: how many items the split has.
        training: items from which the text-only baseline learns; if empty, it learns from the scored items of other
            units.
    """
    if not all(item.answers for item in items):
        raise InputError(
            f"--split {split}: its answers are not public; upload the predictions to the benchmark's server"
        )
    return Score(
        task=task.name,
        split=split,
        n=len(items),
        items_total=items_total,
        metrics=tuple(_metrics(task.kind, items, predictions)),
        baselines=tuple(_blind_baselines(task.kind, items, training)),
    )


def accuracy(task: Task, items: Sequence[Item], predictions: Mapping[str, str]) -> Metric:
    """The first metric of `score_items`, alone."""
    return _accuracy("accuracy", task.kind, items, predictions)


def _accuracy(name: str, kind: TaskKind, items: Sequence[Item], predictions: Mapping[str, str]) -> Metric:
    score = RULES[kind].score
    values = [score(predictions[item.identifier], item.answers) for item in items]
    return mean_with_interval(name, values, [item.unit for item in items])


def _metrics(kind: TaskKind, items: Sequence[Item], predictions: Mapping[str, str]) -> list[Metric]:
    """Accuracy, then what the data set allows: accuracy by kind of answer, consistency, balanced and unbalanced."""
    results = [_accuracy("accuracy", kind, items, predictions)]
    for answer_kind in sorted({item.kind for item in items if item.kind}):
        subset = [item for item in items if item.kind == answer_kind]
        results.append(_accuracy(f"accuracy, {answer_kind}", kind, subset, predictions))
    consistent = metrics.consistent([item for item in items if item.group], predictions)
    if consistent:
        results.append(mean_with_interval("consistency", list(map(float, consistent.values())), list(consistent)))
    for name, subset in (("balanced", metrics.balanced(items)), ("unbalanced", metrics.unbalanced(items))):
        if subset:
            results.append(_accuracy(f"accuracy, {name}", kind, subset, predictions))
    return results


def _blind_baselines(kind: TaskKind, items: Sequence[Item], training: Sequence[Item]) -> list[Metric]:
    majority = majority_answer(items)
    source = "training split" if training else "other items"
    return [
        _accuracy(f"majority ({majority})", kind, items, {item.identifier: majority for item in items}),
        _accuracy(f"text only ({source})", kind, items, text_only_answers(items, training)),
    ]


def score_gallery(task: Task, split: str, gallery: Gallery, scores_TI: Scores) -> Score:
    """R@1, R@5 and R@10 in both directions. The baseline is chance: a model that gives every pair the same score."""
    return Score(
        task=task.name,
        split=split,
        n=len(gallery.texts),
        items_total=len(gallery.texts),
        metrics=tuple(_recalls(gallery, scores_TI)),
        baselines=tuple(
            replace(recall, name=f"chance, {recall.name}", ci95=None)  # it is exact
            for recall in _recalls(gallery, np.zeros(scores_TI.shape, dtype=np.float32))
        ),
    )


def _recalls(gallery: Gallery, scores_TI: Scores) -> list[Metric]:
    image_of_text = gallery.image_of_text
    by_text = metrics.text_to_image(scores_TI, image_of_text)
    by_image = metrics.image_to_text(scores_TI, image_of_text)
    with_texts = [image for image in range(len(gallery.images)) if not np.isnan(by_image[image, 0])]
    image_recalls = [
        mean_with_interval(f"image R@{rank}", by_text[:, column].tolist(), list(image_of_text))
        for column, rank in enumerate(RANKS)
    ]
    text_recalls = [
        mean_with_interval(f"text R@{rank}", by_image[with_texts, column].tolist(), with_texts)
        for column, rank in enumerate(RANKS)
    ]
    return image_recalls + text_recalls
