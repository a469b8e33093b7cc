"""How each kind of task scores a prediction, and the file format of its predictions.

specs/heads.py defines which heads of a model serve a kind; evaluation/task_head.py turns their scores into answers.
A task with a gallery (`ranking`) is scored as a whole: see `scoring.score_gallery`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlbench.specs.heads import TaskKind
from vlbench.tasks.metrics import answer_accuracy, exact_match
from vlbench.tasks.predictions import read_answers, read_labels, write_answers, write_labels
from vlbench.tasks.registry import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRules:
    """Attributes:
    score: of a prediction, given the answers of people; between 0 and 1.
    suffix: of the file of predictions.
    read, write: that file, as predictions by item.
    """

    score: Callable[[str, Sequence[str]], float]
    suffix: str
    read: Callable[[Path], dict[str, str]]
    write: Callable[[Path, Mapping[str, str]], None]


ANSWERS = PredictionRules(score=answer_accuracy, suffix=".json", read=read_answers, write=write_answers)
LABELS = PredictionRules(score=exact_match, suffix=".csv", read=read_labels, write=write_labels)
RULES: dict[TaskKind, PredictionRules] = {"answers": ANSWERS, "pairs": LABELS, "statement": LABELS}


def write_predictions(task: Task, split: str, stem: Path, predictions: Mapping[str, str]) -> Path:
    """Writes them in the submission format of the task. Returns the file: `stem` with the suffix of that format."""
    rules = RULES[task.kind]
    path = stem.with_name(f"{stem.name}{rules.suffix}")
    pattern = task.submitted_identifier
    rules.write(path, {pattern.format(split=split, identifier=name): predictions[name] for name in predictions})
    return path
