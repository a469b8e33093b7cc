"""What a task asks of a model: which head answers, and what its scores mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vlbench.architectures.checkpoints.loading import saved_heads, with_saved_head
from vlbench.errors import InputError
from vlbench.evaluation.answers import named_labels
from vlbench.specs import RANDOM, AnySpec, ModelSpec
from vlbench.specs.heads import TaskKind
from vlbench.specs.weights import located
from vlbench.tasks.registry import Task

Decide = Callable[[Tensor], list[str]]
ANSWERING = ("vqa", "vqa_linear", "vqa_product")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHead:
    """What a model of one spec is asked.

    Attributes:
        spec: with the head that the task wants.
        decide: turns a batch's scores to answers; None where scores are the answer, or the model generates words.
    """

    spec: AnySpec
    decide: Decide | None
    answers: tuple[str, ...] = ()  # of the classes, in their order


def question(
    spec: AnySpec, task: Task, *, images: int, answers: Sequence[str] | None = None, known: Sequence[str] = ()
) -> TaskHead:
    """What to ask of a model, and with which head. Raises InputError where the model has none for the task.

    Args:
        images: that an item has, one or two.
        answers: of the classes in their order, as the user has it; by default those that the weights bring.
        known: the answers of the data set, for weights that bring none.
    """
    kind = {"retrieval": "ranking", "statement": "statement" if images == 1 else "pairs"}.get(task.kind, "answers")
    try:
        if kind == "answers" and getattr(spec, "gives", "") == "words":
            return TaskHead(spec=spec.for_task("answers"), decide=None)
        if kind == "answers":
            named = _answers(spec, task, answers, known)
            return _choosing(spec, named, among(named))
        if kind == "statement":
            return _statement(spec, answers, known)
        if kind == "pairs":
            return TaskHead(spec=_headed(spec.for_task("pairs")), decide=truth)
        return TaskHead(spec=_headed(spec.for_task("ranking")), decide=None)
    except ValueError as error:
        raise InputError(f"--task {task.name}: {error}") from error


def _statement(spec: AnySpec, answers: Sequence[str] | None, known: Sequence[str]) -> TaskHead:
    """Two logits; or, where there is only a head of answers and these are told, the likelier of yes and no."""
    named = answers or _weights_answers(spec) or known
    decide = truth_among(named) if named else None
    if named and decide and (_answers_alone(spec) or not _has_head(spec, "statement")):
        return _choosing(spec, named, decide)
    return TaskHead(spec=_headed(spec.for_task("statement")), decide=truth)


def _choosing(spec: AnySpec, named: Sequence[str], decide: Decide) -> TaskHead:
    return TaskHead(spec=_headed(spec.for_task("answers", len(named))), decide=decide, answers=tuple(named))


def _headed(spec: AnySpec) -> AnySpec:
    """With the head that the weights hold, where they hold another one for the same task."""
    return with_saved_head(spec) if isinstance(spec, ModelSpec) else spec


def _answers_alone(spec: AnySpec) -> bool:
    """Whether the weights hold a head of answers and no other."""
    kinds = saved_heads(spec) if isinstance(spec, ModelSpec) else ()
    return bool(kinds) and all(kind in ANSWERING for kind in kinds)


def _has_head(spec: AnySpec, kind: TaskKind) -> bool:
    try:
        spec.for_task(kind)
    except ValueError:
        return False
    return True


def _answers(spec: AnySpec, task: Task, answers: Sequence[str] | None, known: Sequence[str]) -> Sequence[str]:
    found = answers or _weights_answers(spec) or known
    if not found:
        raise InputError(
            f"--task {task.name}: nothing says which answer each class of {spec.name} is; --answers FILE names them"
        )
    return found


def _weights_answers(spec: AnySpec) -> tuple[str, ...] | None:
    """Told by the config.json in the weights' folder, or beside their file."""
    where = weights_of(spec)
    return None if where is None else named_labels((where if where.is_dir() else where.parent) / "config.json")


def weights_of(spec: AnySpec) -> Path | None:
    """Where a model's weights lie, fetched if need be; None where they are random."""
    return None if spec.weights == RANDOM else located(spec.weights)


def among(answers: Sequence[str]) -> Decide:
    """The answer with the greatest logit."""
    return lambda scores_BA: [answers[place] for place in scores_BA.argmax(1).tolist()]


def truth(scores_B2: Tensor) -> list[str]:
    """Two logits, false and true; equal ones are false."""
    return ["true" if yes > no else "false" for no, yes in scores_B2.tolist()]


def truth_among(answers: Sequence[str]) -> Decide | None:
    """The likelier of true and false, or of yes and no, where a model's answers hold such a pair."""
    for yes, no in (("true", "false"), ("yes", "no")):
        if yes in answers and no in answers:
            places = [list(answers).index(no), list(answers).index(yes)]
            return lambda scores_BA: truth(scores_BA[:, places])
    return None
