"""The accuracies of measurements: those of the same model, executed by the same backend in the same precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlbench.report.folders import Folder
from vlbench.runner.execution import Execution, evaluated_execution, execution_of
from vlbench.runner.records import Accuracy, Result

Key = tuple[str, str, str]  # task, split, metric


class Accuracies:
    """Accuracies by task, split and metric: from a measurement's own folder, or else the latest of all.

    A measurement has that of its model, backend and precision; see `evaluated_execution`.
    """

    def __init__(self, folders: Sequence[Folder]) -> None:
        self._by_key: dict[Key, dict[str | None, dict[Execution, Accuracy]]] = {}
        evaluations = [(folder.label, evaluation) for folder in folders for evaluation in folder.evaluations]
        for label, evaluation in sorted(evaluations, key=lambda labelled: labelled[1].measured_at):
            accuracy = evaluation.marked_accuracy
            by_folder = self._by_key.setdefault((accuracy.task, accuracy.split, accuracy.metric), {})
            for folder in (label, None):
                by_folder.setdefault(folder, {})[execution_of(evaluation)] = accuracy

    @property
    def keys(self) -> list[Key]:
        """Every task, split and metric, in alphabetical order."""
        return sorted(self._by_key)

    def of(self, key: Key, folder: str, result: Result) -> Accuracy | None:
        by_folder = self._by_key.get(key, {None: {}})
        execution = evaluated_execution(result, by_folder[None])
        if execution is None:
            return None
        return by_folder.get(folder, {}).get(execution) or by_folder[None][execution]

    def keys_of(self, named: Iterable[tuple[str, str, Result]]) -> list[Key]:
        """The keys for which at least one of these measurements has an accuracy."""
        measured = [(folder, result) for folder, _, result in named]
        return [key for key in self.keys if any(self.of(key, *pair) for pair in measured)]
