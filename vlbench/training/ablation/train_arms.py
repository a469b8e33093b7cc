"""Trains and evaluates the runs of an ablation suite, each distinct run once, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from vlbench.errors import InputError
from vlbench.evaluation.processes import Process
from vlbench.evaluation.session import evaluate_all
from vlbench.evaluation.split import EvaluationSettings, Split
from vlbench.evaluation.workers import reading_workers
from vlbench.runner.reader import read_evaluations
from vlbench.runner.records import Evaluation, Training
from vlbench.tasks.registry import TASKS
from vlbench.training.ablation.arm_outcomes import ArmKey
from vlbench.training.ablation.arms import QUICK_ITEMS, AblationRequest
from vlbench.training.ablation.true_boxes import write_true_regions
from vlbench.training.progress import TrainingListener
from vlbench.training.train import TrainingRun, train_one

SPLIT = "test"
BATCH = 64


class ArmTrainings:
    """The training runs of a suite and the evaluations of those that are finished.

    Args:
        runs: by model, arm and seed; runs with the same folder are the same.
        listener_for: gives the listener of a phase, by the phase's name.
    """

    def __init__(
        self,
        runs: Mapping[ArmKey, TrainingRun],
        request: AblationRequest,
        listener_for: Callable[[str], TrainingListener],
    ) -> None:
        self.runs, self.request, self.listener_for = runs, request, listener_for
        self.evaluations = {key: kept for key, run in runs.items() if (kept := kept_evaluation(run))}
        self.kept = len(self.evaluations)
        self._split: Split | None = None

    @property
    def accuracies(self) -> dict[ArmKey, float]:
        return {key: evaluation.accuracy.value for key, evaluation in self.evaluations.items()}

    def train(self) -> None:
        """Trains and evaluates the remaining runs, in one process.

        Raises as `vlbench.training.train.train_one`; the evaluations so far are kept.
        """
        for number, (key, run) in enumerate(self.runs.items(), start=1):
            if key in self.evaluations:
                continue
            evaluation = kept_evaluation(run)  # another arm with the same folder may have been trained by now
            if evaluation is None:
                title = f"{number}/{len(self.runs)} {key.model}, {key.arm}, seed {key.seed}"
                training = train_one(run, process=Process(), listener_for=partial(self._listener, title))
                evaluation = self._evaluate(run, training)
            self.evaluations[key] = evaluation

    def _listener(self, title: str, phase: str) -> TrainingListener:
        return self.listener_for(f"{title}: detector" if phase.endswith(": detector") else title)

    def _evaluate(self, run: TrainingRun, training: Training) -> Evaluation:
        if run.trained_spec.heads.answers is None:
            raise InputError(f"{run.folder}: no step trained vqa, by which arms are compared; a larger budget works")
        split = self._split_for(run)
        (evaluation,) = evaluate_all(
            [split.head_for(run.trained_spec)],
            split,
            run.folder,
            process=Process(),
            threads=self.request.threads,
            training={run.spec.name: training},
        ).evaluations
        return evaluation

    def _split_for(self, run: TrainingRun) -> Split:
        """The test split, the same for all runs; a model that was trained with true boxes also gets them here."""
        split = self._split = self._split or Split(self._settings(None))
        if run.spec.family != "region" or run.recipe.detector != "ground-truth":
            return split
        path = run.folder / "true-regions.tsv"
        write_true_regions(run, dict.fromkeys(split.paths), path)
        return Split(self._settings(path))

    def _settings(self, features: Path | None) -> EvaluationSettings:
        limit = QUICK_ITEMS if self.request.quick else None
        return EvaluationSettings(
            task=TASKS["shapes"],
            data=Path(),
            split=SPLIT,
            batch=BATCH,
            workers=reading_workers(self.request.device),
            device=self.request.device,
            limit=limit,
            features=features,
            control=False,
        )


def kept_evaluation(run: TrainingRun) -> Evaluation | None:
    """The evaluation of a finished run, from its folder."""
    for evaluation in reversed(read_evaluations(run.folder)):
        accuracy = evaluation.accuracy
        if evaluation.training is not None and (accuracy.task, accuracy.split) == (run.task.name, SPLIT):
            return evaluation
    return None
