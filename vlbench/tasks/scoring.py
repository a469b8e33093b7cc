"""Scores predictions by a task's own metrics, with intervals, beside what is reached without looking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlbench.errors import InputError
from vlbench.tasks import retrieval, statements, vqa
from vlbench.tasks.baselines import majority_answer, text_only_answers
from vlbench.tasks.intervals import mean_with_interval
from vlbench.tasks.items import Gallery, Item, Metric
from vlbench.tasks.registry import Kind, Task
from vlbench.tasks.retrieval import RANKS, Scores


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
        return [vqa.accuracy(predictions[item.identifier], item.answers) for item in items]
    if kind == "statement":
        return list(map(float, statements.correct(items, predictions)))
    return [float(predictions[item.identifier].strip().lower() == item.answers[0].lower()) for item in items]


def _accuracy(name: str, kind: Kind, items: Sequence[Item], predictions: Mapping[str, str]) -> Metric:
    return mean_with_interval(name, _values(kind, items, predictions), [item.unit for item in items])


def _metrics(kind: Kind, items: Sequence[Item], predictions: Mapping[str, str]) -> list[Metric]:
    found = [_accuracy("accuracy", kind, items, predictions)]
    for answer_kind in sorted({item.kind for item in items if item.kind}):
        own = [item for item in items if item.kind == answer_kind]
        found.append(_accuracy(f"accuracy, {answer_kind}", kind, own, predictions))
    if kind == "statement":
        consistent = statements.consistent([item for item in items if item.group], predictions)
        if consistent:
            found.append(mean_with_interval("consistency", list(map(float, consistent.values())), list(consistent)))
        for name, subset in (("balanced", statements.balanced(items)), ("unbalanced", statements.unbalanced(items))):
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
    by_text = retrieval.text_to_image(scores_TI, owners)
    by_image = retrieval.image_to_text(scores_TI, owners)
    searched = [image for image in range(len(gallery.images)) if not np.isnan(by_image[image, 0])]
    found = []
    for place, rank in enumerate(RANKS):
        found.append(mean_with_interval(f"{prefix}image R@{rank}", by_text[:, place].tolist(), list(owners)))
    for place, rank in enumerate(RANKS):
        found.append(mean_with_interval(f"{prefix}text R@{rank}", by_image[searched, place].tolist(), searched))
    return found
