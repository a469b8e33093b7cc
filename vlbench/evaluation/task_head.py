"""Which head of a model serves a task, and how the head's scores become answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vlbench.architectures.checkpoints.loading import saved_head_kinds, with_saved_head
from vlbench.errors import InputError
from vlbench.evaluation.answers import named_labels
from vlbench.specs import RANDOM, AnySpec, ModelSpec
from vlbench.specs.heads import SUITABLE, TaskKind
from vlbench.specs.weights import located
from vlbench.tasks.registry import Task

Postprocess = Callable[[Tensor], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHead:
    """A model with its head for a task.

    Attributes:
        spec: of the model, with that head.
        postprocess: turns a batch's scores into answers; None if the task needs the scores themselves, or if the model
            generates words.
        answers: of the head's classes, in their order; empty if the head does not classify answers.
    """

    spec: AnySpec
    postprocess: Postprocess | None
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSources:
    """Where the answers of a head's classes may come from, besides the weights.

    Attributes:
        task: for error messages.
        given: by the user, for this model; used before those of the weights.
        known: of the data set; used if the weights name none.
    """

    task: str
    given: Sequence[str] | None
    known: Sequence[str]

    def of(self, spec: AnySpec) -> Sequence[str]:
        """The answers for this model; empty if nothing names them."""
        return self.given or _answers_of_weights(spec) or self.known


def head_for(spec: AnySpec, task: Task, *, answers: Sequence[str] | None = None, known: Sequence[str] = ()) -> TaskHead:
    """The model's head for a task. Raises InputError if the model has none.

    Args:
        answers: of the head's classes in their order, if the user names them; by default those of the weights.
        known: the answers of the data set, for weights that do not name their classes.
    """
    try:
        return MAKERS[task.kind](spec, AnswerSources(task=task.name, given=answers, known=known))
    except ValueError as error:
        raise InputError(f"--task {task.name}: {error}") from error


def _answers_head(spec: AnySpec, sources: AnswerSources) -> TaskHead:
    if getattr(spec, "gives", "") == "words":
        return TaskHead(spec=spec.for_task("answers"), postprocess=None)
    answers = sources.of(spec)
    if not answers:
        raise InputError(
            f"--task {sources.task}: nothing says which answer each class of {spec.name} is; --answers FILE names them"
        )
    return _classifier(spec, answers, likeliest_answer(answers))


def _pairs_head(spec: AnySpec, _sources: AnswerSources) -> TaskHead:
    return TaskHead(spec=_with_head(spec, "pairs"), postprocess=true_or_false)


def _statement_head(spec: AnySpec, sources: AnswerSources) -> TaskHead:
    """Two logits; or an answer classifier with yes and no, if the model or its weights have no other head."""
    answers = sources.of(spec)
    postprocess = true_or_false_answer(answers)
    if postprocess and (_only_answers_saved(spec) or not _has_head(spec, "statement")):
        return _classifier(spec, answers, postprocess)
    return TaskHead(spec=_with_head(spec, "statement"), postprocess=true_or_false)


def _ranking_head(spec: AnySpec, _sources: AnswerSources) -> TaskHead:
    return TaskHead(spec=_with_head(spec, "ranking"), postprocess=None)


MAKERS: dict[TaskKind, Callable[[AnySpec, AnswerSources], TaskHead]] = {
    "answers": _answers_head,
    "pairs": _pairs_head,
    "statement": _statement_head,
    "ranking": _ranking_head,
}


def _classifier(spec: AnySpec, answers: Sequence[str], postprocess: Postprocess) -> TaskHead:
    headed = _with_head(spec, "answers", len(answers))
    return TaskHead(spec=headed, postprocess=postprocess, answers=tuple(answers))


def _with_head(spec: AnySpec, kind: TaskKind, answers: int | None = None) -> AnySpec:
    """The spec with its head for a kind of task, or with another head of that kind if the weights hold one."""
    headed = spec.for_task(kind, answers)
    return with_saved_head(headed) if isinstance(headed, ModelSpec) else headed


def _only_answers_saved(spec: AnySpec) -> bool:
    """Whether the weights hold an answer classifier and no other head."""
    kinds = saved_head_kinds(spec) if isinstance(spec, ModelSpec) else ()
    return bool(kinds) and set(kinds) <= set(SUITABLE["answers"].part_kinds)


def _has_head(spec: AnySpec, kind: TaskKind) -> bool:
    try:
        spec.for_task(kind)
    except ValueError:
        return False
    return True


def _answers_of_weights(spec: AnySpec) -> tuple[str, ...] | None:
    """The answers in the config.json next to the weights; None if there are none."""
    path = weights_of(spec)
    return None if path is None else named_labels((path if path.is_dir() else path.parent) / "config.json")


def weights_of(spec: AnySpec) -> Path | None:
    """The path of a model's weights, downloaded if need be; None if they are random."""
    return None if spec.weights == RANDOM else located(spec.weights)


def likeliest_answer(answers: Sequence[str]) -> Postprocess:
    """Scores (B, A) to the answer with the greatest logit."""
    return lambda scores_BA: [answers[index] for index in scores_BA.argmax(1).tolist()]


def true_or_false(scores_B2: Tensor) -> list[str]:
    """The likelier of false and true; equal logits give false."""
    return ["true" if yes > no else "false" for no, yes in scores_B2.tolist()]


def true_or_false_answer(answers: Sequence[str]) -> Postprocess | None:
    """Scores (B, A) to the likelier of two answers, true and false or yes and no; None if neither pair is there."""
    for yes, no in (("true", "false"), ("yes", "no")):
        if yes in answers and no in answers:
            columns = [list(answers).index(no), list(answers).index(yes)]
            return lambda scores_BA: true_or_false(scores_BA[:, columns])
    return None
