"""The figures of one row: from its spec, its counts and its measurement, or the reason why one of them is missing.

A timed figure is an array, see `median_draws`. Any formula can be computed with such arrays.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlbench.measuring.records import Counts
from vlbench.measuring.statistics import median_interval
from vlbench.runner.nms_records import SuppressionResult
from vlbench.runner.records import Result
from vlbench.specs import AnySpec
from vlbench.suites.expressions import Expression, NoValueError, Value
from vlbench.suites.quantities import DESCRIPTIONS, origin
from vlbench.suites.schema import Row

DRAWS = 2_000
UNSEEN_RESTARTS = 1.5


def median_draws(by_restart: Sequence[float], key: str) -> np.ndarray:
    """The median, the two ends of its interval from order statistics, then `DRAWS` possible medians.

    All but the median are NaN if there are too few restarts. A draw gives each restart a random weight, as the Bayesian
    bootstrap does (Rubin 1981), and `UNSEEN_RESTARTS` more to restarts slower or faster than all: without these, seven
    restarts give an interval that contains the true median in 87% of measurements. `benchmarks/harness/coverage.py`
    simulates it. Equal keys and lengths draw the same weights, so that figures of one process stay together.

    Returns:
        (3 + DRAWS,) float64
    """
    values = np.asarray(by_restart, dtype=np.float64)
    drawn = np.full(3 + DRAWS, np.nan)
    drawn[0] = np.median(values)
    ends = median_interval(sorted(by_restart))
    if ends is None:
        return drawn
    drawn[1:3] = ends
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    weights = generator.exponential(size=(DRAWS, len(values)))
    unseen = generator.gamma(UNSEEN_RESTARTS, size=DRAWS)
    faster = np.where(generator.random(DRAWS) < 0.5, unseen, 0)
    order = np.argsort(values)
    up_to = np.cumsum(weights[:, order], axis=1) + faster[:, None]
    half = (weights.sum(axis=1) + unseen) / 2
    middle = np.minimum((up_to < half[:, None]).sum(axis=1), len(values) - 1)
    drawn[3:] = values[order][middle]
    return drawn


def interval(drawn: np.ndarray, *, figures: int) -> tuple[float, float] | None:
    """The 95% interval of a formula; None if there were too few restarts.

    Args:
        drawn: the formula of each element of `median_draws`.
        figures: how many timed figures it has. With one, the interval is that of order statistics, for a formula that
            rises or falls with it; with several, the middle 95% of the draws.
    """
    if np.isnan(drawn).any():
        return None
    low, high = np.sort(drawn[1:3]) if figures == 1 else np.percentile(drawn[3:], [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEvidence:
    """The figures of one row. `counts`, `result` and `suppression` are a text where they are missing: the reason."""

    row: Row
    spec: AnySpec | None
    counts: Counts | str = "it was not counted"
    result: Result | str = "it was not measured"
    suppression: SuppressionResult | str = "it was not measured"

    def value(self, path: str) -> Value:
        """A quantity of `vlbench.suites.quantities`; 0 for a stage that the model does not have.

        Raises NoValueError, with the reason, where it is missing.
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
        figure = getattr(source, name)
        if figure is None:
            raise NoValueError(f"{name} does not exist for {self.spec.name}")
        if kind == "latency":
            if rest and isinstance(source, Result) and source.scope == "model":
                raise NoValueError(f"{self.spec.name} was converted as a whole, which has no stages")
            latency = figure.get(rest) if rest else figure
            return self._draws(latency.by_restart) if latency else 0.0
        return float(figure.get(rest, 0) if rest else figure)

    def contended(self, path: str) -> str | None:
        """Why a timed figure is not to be trusted; None if nothing else used the machine."""
        source = self.suppression if path.startswith("suppression_ms") else self.result
        return None if isinstance(source, str) else source.contended

    def applies(self, expression: Expression) -> bool:
        """Whether a formula applies to the row. If it uses figures of stages only, the model must have one of them."""
        paths = [name.path for name in expression.names if name.row is None]
        stages = [path.partition(".")[2] for path in paths if "_by_stage." in path]
        if len(stages) < len(paths) or not stages or self.spec is None:
            return True
        return any(self._has_stage(stage) for stage in stages)

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
        """Every figure of a row is drawn with the same weights."""
        return median_draws(by_restart, self.row.label)
