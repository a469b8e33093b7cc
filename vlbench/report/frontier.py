"""The frontier: which models nobody beats on accuracy and cost at once, cost being latency or MACs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import pandas as pd

from vlbench.measure.statistics import median_interval
from vlbench.runner.records import Evaluation, Result

Interval = tuple[float, float]
ON, PERHAPS, BEATEN = "yes", "perhaps", "no"
COSTS = {"frontier": "latency_ms", "frontier_macs": "macs"}  # a column of standings: of accuracy over what


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """What a model costs and what it answers right; without an interval a value is taken as exact."""

    cost: float
    accuracy: float
    cost_interval: Interval | None = None
    accuracy_interval: Interval | None = None

    @property
    def best(self) -> tuple[float, float]:
        """The corner of both intervals that is hardest to beat."""
        return (self.cost_interval or (self.cost,))[0], (self.accuracy_interval or (self.accuracy,))[-1]

    @property
    def worst(self) -> tuple[float, float]:
        return (self.cost_interval or (self.cost,))[-1], (self.accuracy_interval or (self.accuracy,))[0]


def pareto(points: Sequence[FrontierPoint]) -> list[bool]:
    """Which are on the frontier: no other is as good on both and better on one. Equal points are on it together."""
    values = [(point.cost, point.accuracy) for point in points]
    return [not any(_beats(other, own) for other in values) for own in values]


def standings(points: Sequence[FrontierPoint]) -> list[str]:
    """`yes` on the frontier, `no` beaten by a model beyond all four intervals, `perhaps` beaten only within them."""
    found = []
    for own, on in zip(points, pareto(points), strict=True):
        surely_beaten = any(_beats(other.worst, own.best) for other in points)
        found.append(ON if on else BEATEN if surely_beaten else PERHAPS)
    return found


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]


def group_key(evaluation: Evaluation) -> Hashable:
    """What evaluations share that are one point: those of a model trained alike, under several seeds, are."""
    accuracy, training = evaluation.accuracy, getattr(evaluation, "training", None)
    shared = (accuracy.task, accuracy.split, accuracy.metric, evaluation.model)
    return (*shared, training.preset) if training else (*shared, evaluation.weights, evaluation.visual_weights)


def frontier_frame(results: Iterable[Result], evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """A row a model, task and split: its accuracy with its costs, and where it stands on the frontier.

    Empty where no model has both an accuracy and a latency. Latencies are of one machine with one setting, that which
    most of the models have. Under several seeds `accuracy` is the mean and `deviation` theirs, which is the interval,
    too. `frontier` is of accuracy over latency, `frontier_macs` over MACs: see `standings`.
    """
    timed = comparable(results, evaluations)
    groups: dict[Hashable, list[Evaluation]] = {}
    for one in evaluations:
        groups.setdefault(group_key(one), []).append(one)
    rows = []
    for own in groups.values():
        hashes = {one.spec_hash for one in own}
        cells = [result for result in timed if result.spec_hash in hashes]
        if cells:
            rows.append(_accuracies(own) | _costs(cells))
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["label"] = _labels(frame)
        for column, cost in COSTS.items():
            frame[column] = pd.Series(dtype=object)
            for _, part in frame[frame[cost].notna()].groupby(["task", "split", "metric"]):
                frame.loc[part.index, column] = standings([_point(row, cost) for row in part.to_dict("records")])
        frame["on_frontier"] = frame["frontier"] == ON
    return frame


def comparable(results: Iterable[Result], evaluations: Sequence[Evaluation]) -> list[Result]:
    """The latest latency of each evaluated model, all of one machine and setting: those that most of them have."""
    wanted = {one.spec_hash for one in evaluations}
    timed = [one for one in results if one.spec_hash in wanted and one.status == "ok" and one.latency_ms]
    latest = {(one.spec_hash, _setting(one)): one for one in timed}
    counts = Counter(setting for _, setting in latest)
    chosen = max(counts, key=lambda setting: counts[setting], default=None)
    return [one for (_, setting), one in latest.items() if setting == chosen]


def _setting(result: Result) -> Hashable:
    return result.device, result.precision, result.batch, result.machine.model_dump_json()


def _accuracies(own: Sequence[Evaluation]) -> dict[str, Any]:
    """Of one model; the latest of each seed."""
    by_seed = {getattr(getattr(one, "training", None), "seed", None): one for one in own}
    latest = list(by_seed.values())
    values = [one.accuracy.value for one in latest]
    mean, deviation = fmean(values), stdev(values) if len(values) > 1 else None
    low, high = latest[0].accuracy.ci95 or (None, None)
    if deviation is not None:
        low, high = mean - deviation, mean + deviation
    first, training = latest[0], getattr(latest[0], "training", None)
    without = [(one.accuracy.majority, one.accuracy.text_only) for one in latest]
    majority, text_only = without[0] if len(set(without)) == 1 else (None, None)
    return {
        "task": first.accuracy.task,
        "split": first.accuracy.split,
        "metric": first.accuracy.metric,
        "model": first.model,
        "family": first.family,
        "variant": training.preset if training else Path(first.weights).name,
        "n": first.accuracy.n,
        "majority": majority,
        "text_only": text_only,
        "seeds": len(latest),
        "accuracy": mean,
        "deviation": deviation,
        "accuracy_low": low,
        "accuracy_high": high,
    }


def _costs(cells: Sequence[Result]) -> dict[str, Any]:
    """Of one model; under several seeds its restarts are pooled, for it is the same computation."""
    latencies = [cell.latency_ms for cell in cells if cell.latency_ms]
    medians = sorted(value for latency in latencies for value in latency.by_restart)
    low, high = (latencies[0].ci95 if len(latencies) == 1 else median_interval(medians)) or (None, None)
    return {
        "latency_ms": latencies[0].median if len(latencies) == 1 else median(medians),
        "latency_ms_low": low,
        "latency_ms_high": high,
        "macs": cells[0].macs,
    }


def _labels(frame: pd.DataFrame) -> list[str]:
    """The model's name; of several points of one model on a task, with what tells them apart."""
    several = frame.duplicated(["task", "split", "metric", "model"], keep=False)
    return [
        f"{model} ({variant})" if more else model
        for model, variant, more in zip(frame["model"], frame["variant"], several, strict=True)
    ]


def _point(row: dict[Hashable, Any], cost: str) -> FrontierPoint:
    return FrontierPoint(
        cost=row[cost],
        accuracy=row["accuracy"],
        cost_interval=interval(row, cost),
        accuracy_interval=interval(row, "accuracy"),
    )


def interval(row: dict[Hashable, Any], name: str) -> Interval | None:
    """Of a figure of a row; None where it has none."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return None if low is None or high is None or pd.isna(low) or pd.isna(high) else (low, high)


def lines(results: Iterable[Result], evaluations: Sequence[Evaluation]) -> list[str]:
    """Who is on the frontier, a line a task and split of which there are two models at least."""
    frame = frontier_frame(results, evaluations)
    found: list[str] = []
    if not len(frame):
        return found
    for (task, split, _), part in frame.groupby(["task", "split", "metric"], sort=False):
        if len(part) > 1:
            over = {"latency": _told(part, "frontier"), "MACs": _told(part, "frontier_macs")}
            told = "; ".join(f"over {cost} {names}" for cost, names in over.items() if names)
            found.append(f"Frontier of accuracy, {task} {split}: {told}")
    return found


def _told(part: pd.DataFrame, column: str) -> str:
    """`a, b, perhaps c`, the cheapest first."""
    ordered = part.sort_values(COSTS[column], kind="stable")
    names = {standing: list(ordered.loc[ordered[column] == standing, "label"]) for standing in (ON, PERHAPS)}
    return ", ".join([*names[ON], *(f"perhaps {name}" for name in names[PERHAPS])])
