"""Accuracies beside cells: joined by the hash of the model's spec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlbench.report.folders import Folder
from vlbench.running.cells import Result
from vlbench.running.evaluations import Accuracy

Key = tuple[str, str, str]  # task, split, metric


class Accuracies:
    """What models answer right, by task, split and metric: that in a cell's own folder, or else the latest of all."""

    def __init__(self, folders: Sequence[Folder]) -> None:
        self._by_key: dict[Key, dict[tuple[str | None, str], Accuracy]] = {}
        evaluations = [(folder.label, one) for folder in folders for one in folder.evaluations]
        for label, one in sorted(evaluations, key=lambda pair: pair[1].measured_at):
            accuracy = one.accuracy
            own = self._by_key.setdefault((accuracy.task, accuracy.split, accuracy.metric), {})
            own[label, one.spec_hash] = own[None, one.spec_hash] = accuracy

    @property
    def keys(self) -> list[Key]:
        """Every task, split and metric that is held, in alphabetical order."""
        return sorted(self._by_key)

    def of(self, key: Key, folder: str, spec_hash: str) -> Accuracy | None:
        own = self._by_key.get(key, {})
        return own.get((folder, spec_hash)) or own.get((None, spec_hash))

    def keys_of(self, named: Iterable[tuple[str, str, Result]]) -> list[Key]:
        """Those that some of these cells' models were asked."""
        hashes = {(folder, result.spec_hash) for folder, _, result in named}
        return [key for key in self.keys if any(self.of(key, *one) for one in hashes)]
