"""The difference of an evaluation to that of the same model in eager PyTorch and fp32."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from vlbench.errors import InputError
from vlbench.evaluation.evaluate import evaluation_hash
from vlbench.evaluation.split import Split
from vlbench.evaluation.task_head import TaskHead
from vlbench.runner.backends import EAGER
from vlbench.runner.execution import REFERENCE
from vlbench.runner.records import Evaluation
from vlbench.tasks.differences import difference_of_gallery, difference_of_items
from vlbench.tasks.items import PairedDifference
from vlbench.tasks.kinds import RULES
from vlbench.tasks.predictions import check_complete, read_scores


def reference_of(head: TaskHead, split: Split, evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """The evaluation of the same model on the same items in eager PyTorch and fp32, on this device if there is one."""
    by_hash = {evaluation.evaluation_hash: evaluation for evaluation in evaluations}
    settings, other = split.settings, "cuda" if split.settings.device == "cpu" else "cpu"
    for device, control in product((settings.device, other), (settings.control, not settings.control)):
        alike = split.under(backend=EAGER, precision=REFERENCE, device=device, control=control)
        if evaluation := by_hash.get(evaluation_hash(head, alike)):
            return evaluation
    return None


def difference(split: Split, folder: Path, evaluation: Evaluation, reference: Evaluation) -> PairedDifference | None:
    """Of the first metric, by the files of predictions of both; None if that of the reference is no longer there, or
    is damaged."""
    paths = [folder / some.predictions for some in (evaluation, reference)]
    try:
        if split.gallery:
            return difference_of_gallery(split.gallery, *(read_scores(path, split.gallery) for path in paths))
        kind = split.settings.task.kind
        predictions = [RULES[kind].read(path) for path in paths]
        for path, some in zip(paths, predictions, strict=True):
            check_complete(path, some, split.items, partial=False)
        return difference_of_items(kind, split.items, *predictions)
    except InputError:
        return None
