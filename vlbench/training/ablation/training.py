"""Trains and evaluates what a suite means, each thing once, and keeps all in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from vlbench.evaluation.processes import Process
from vlbench.evaluation.session import evaluate_all
from vlbench.evaluation.split import EvaluationSettings, Split
from vlbench.runner.records import Evaluation, Training
from vlbench.runner.store import read_evaluations
from vlbench.tasks.registry import TASKS
from vlbench.training.ablation.outcomes import Key
from vlbench.training.ablation.planning import QUICK_ITEMS, AblationRequest
from vlbench.training.ablation.true_boxes import write_true_regions
from vlbench.training.progress import TrainingListener
from vlbench.training.train import TrainingRun, train_one

SPLIT = "test"
BATCH = 64


class Trainings:
    """All trainings of a command: what is known of them grows as they are trained.

    Args:
        runs: by model, arm and seed; the same folder means the same training.
        listen: makes who is told of a phase, by its name.
    """

    def __init__(
        self, runs: Mapping[Key, TrainingRun], wanted: AblationRequest, listen: Callable[[str], TrainingListener]
    ) -> None:
        self.runs, self.wanted, self.listen = runs, wanted, listen
        self.found = {key: held for key, run in runs.items() if (held := evaluated(run))}
        self.kept = len(self.found)
        self._split: Split | None = None

    @property
    def accuracy(self) -> dict[Key, float]:
        return {key: one.accuracy.value for key, one in self.found.items()}

    def train(self) -> None:
        """What is not known yet, in one process.

        Raises as `vlbench.training.train.train_one`; what was found before is kept.
        """
        for number, (key, run) in enumerate(self.runs.items(), start=1):
            if key in self.found:
                continue
            held = evaluated(run)  # another arm's by now
            if held is None:
                model, arm, seed = key
                title = f"{number}/{len(self.runs)} {model}, {arm}, seed {seed}"
                took = train_one(run, process=Process(), listen=partial(self._listener, title))
                held = self._evaluate(run, took)
            self.found[key] = held

    def _listener(self, title: str, phase: str) -> TrainingListener:
        return self.listen(f"{title}: detector" if phase.endswith(": detector") else title)

    def _evaluate(self, run: TrainingRun, took: Training) -> Evaluation:
        split = self._split_for(run)
        asked = split.head_for(run.trained_spec)
        threads, training = self.wanted.threads, {run.spec.name: took}
        (found,) = evaluate_all([asked], split, run.folder, process=Process(), threads=threads, training=training)
        return found

    def _split_for(self, run: TrainingRun) -> Split:
        """The same for all, but with the things' own boxes for a model that was trained with them."""
        plain = self._split = self._split or Split(self._settings(None))
        if run.spec.family != "region" or run.recipe.detector != "ground-truth":
            return plain
        path = run.folder / "true-regions.tsv"
        write_true_regions(run, dict.fromkeys(plain.paths), path)
        return Split(self._settings(path))

    def _settings(self, features: Path | None) -> EvaluationSettings:
        limit = QUICK_ITEMS if self.wanted.quick else None
        return EvaluationSettings(
            task=TASKS["shapes"],
            data=Path(),
            split=SPLIT,
            batch=BATCH,
            device=self.wanted.device,
            limit=limit,
            features=features,
            control=False,
        )


def evaluated(run: TrainingRun) -> Evaluation | None:
    """What came of a training that is finished, from its folder."""
    for one in reversed(read_evaluations(run.folder)):
        if one.training is not None and (one.accuracy.task, one.accuracy.split) == (run.task.name, SPLIT):
            return one
    return None
