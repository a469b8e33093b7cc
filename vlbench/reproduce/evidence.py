"""What is known of one row: its spec, its counts, its measurement, or why one of them is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlbench.measure.counts import Counts
from vlbench.reproduce.bootstrap import median_draws
from vlbench.running.cells import Result
from vlbench.running.suppressions import SuppressionResult
from vlbench.specs import AnySpec
from vlbench.suites.components import DESCRIPTIONS
from vlbench.suites.expressions import Expression, NoValueError, Value
from vlbench.suites.quantities import origin
from vlbench.suites.schema import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One row's figures. `counts`, `result` and `suppression` are texts where there are none: the reason."""

    row: Row
    spec: AnySpec | None
    counts: Counts | str = "it was not counted"
    result: Result | str = "it was not measured"
    suppression: SuppressionResult | str = "it was not measured"

    def value(self, path: str) -> Value:
        """A quantity of `vlbench.suites.quantities`; a step that the model does not have costs 0.

        Raises NoValueError with the reason where it is not known.
        """
        name, _, rest = path.partition(".")
        if name == "suppression_ms":
            return self._suppression_ms(rest)
        kind = origin(path)
        if kind == "spec":
            return self._described(name, rest)
        source = self.counts if kind == "count" else self.result
        if self.spec is None:
            raise NoValueError(f"{path} needs a model, and this row has none")
        if isinstance(source, str):
            raise NoValueError(source)
        found = getattr(source, name)
        if found is None:
            raise NoValueError(f"{name} does not exist for {self.spec.name}")
        if kind == "latency":
            latency = found.get(rest) if rest else found
            return self._draws(latency.by_restart) if latency else 0.0
        return float(found.get(rest, 0) if rest else found)

    def applies(self, expression: Expression) -> bool:
        """Whether the row has any of the stages that a formula sums up; a formula without stages always applies."""
        paths = [name.path for name in expression.names if name.row is None]
        staged = [path.partition(".")[2] for path in paths if "_by_stage." in path]
        if len(staged) < len(paths) or not staged or self.spec is None:
            return True
        return any(self._has_stage(stage) for stage in staged)

    def _has_stage(self, stage: str) -> bool:
        known: set[str] = {"total"}
        if isinstance(self.counts, Counts):
            known |= set(self.counts.macs_by_stage)
        if isinstance(self.result, Result):
            known |= set(self.result.latency_ms_by_stage or {})
        return len(known) == 1 or stage in known

    def _described(self, name: str, rest: str) -> Value:
        suppression = self.row.suppression
        if name in ("boxes", "classes") and suppression:
            return float(getattr(suppression, name))
        if self.spec is None or name in ("boxes", "classes"):
            raise NoValueError(f"{name} does not exist for row {self.row.label}")
        height, width = self.spec.input.image_size
        if name == "components":
            return DESCRIPTIONS[rest](self.spec)
        known = {
            "batch": self.row.batch,
            "image_height": height,
            "image_width": width,
            "text_tokens": self.spec.input.text_tokens,
        }
        return float(known[name])

    def _suppression_ms(self, method: str) -> Value:
        if isinstance(self.suppression, str):
            raise NoValueError(self.suppression)
        return self._draws(self.suppression.latency_ms[method].by_restart)

    def _draws(self, by_restart: Sequence[float]) -> Value:
        """All of a row is drawn by the same restarts: end to end, stages, methods of one process stay together."""
        return median_draws(by_restart, self.row.label)
