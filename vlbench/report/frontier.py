"""The Pareto frontier: the models that no other beats on both accuracy and cost, which is latency or MACs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import pandas as pd

from vlbench.measuring.statistics import median_interval
from vlbench.report.labels import cell_names
from vlbench.runner.execution import Execution, evaluated_execution, execution_of, execution_order, runtime_of
from vlbench.runner.records import Evaluation, Result

Interval = tuple[float, float]
ON, PERHAPS, BEATEN = "yes", "perhaps", "no"
COSTS = {"frontier": "latency_ms", "frontier_macs": "macs"}  # columns of standings, and the cost of each


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """A model's cost and accuracy; a value without an interval counts as exact. Points with the same `evaluated` share
    one accuracy, whatever its true value is."""

    cost: float
    accuracy: float
    evaluated: Hashable = None
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
    """Which points are on the frontier: no other is as good on both and better on one. Equal points share it."""
    values = [(point.cost, point.accuracy) for point in points]
    return [not any(_beats(other, value) for other in values) for value in values]


def standings(points: Sequence[FrontierPoint]) -> list[str]:
    """`yes` on the frontier, `no` if a model beats it beyond all four intervals, `perhaps` if only within them."""
    result = []
    for point, is_on in zip(points, pareto(points), strict=True):
        is_surely_beaten = any(_surely_beats(other, point) for other in points)
        result.append(ON if is_on else BEATEN if is_surely_beaten else PERHAPS)
    return result


def _surely_beats(point: FrontierPoint, other: FrontierPoint) -> bool:
    """Whether it does whatever the true values are within their intervals."""
    if point.evaluated is not None and point.evaluated == other.evaluated:
        return point.worst[0] < other.best[0]
    return _beats(point.worst, other.best)


def _beats(values: tuple[float, float], others: tuple[float, float]) -> bool:
    """Whether one pair of cost and accuracy is as good as another on both, and better on one."""
    return values != others and values[0] <= others[0] and values[1] >= others[1]


def group_key(evaluation: Evaluation) -> Hashable:
    """Evaluations with the same key are one accuracy: those of a model that was trained alike with several seeds."""
    return _model_key(evaluation), runtime_of(evaluation), evaluation.precision


def _model_key(evaluation: Evaluation) -> Hashable:
    shared, training = (*_task(evaluation), evaluation.model), evaluation.training
    return (*shared, training.preset) if training else (*shared, evaluation.weights, evaluation.visual_weights)


def _task(evaluation: Evaluation) -> tuple[str, str, str]:
    return evaluation.accuracy.task, evaluation.accuracy.split, evaluation.accuracy.metric


def _executed(result: Result) -> tuple[str, str, str]:
    """Results of one model with the same backend, precision and scope are one point."""
    return runtime_of(result), result.precision, result.scope or "stages"


def frontier_frame(results: Iterable[Result], evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """One row per model, backend, precision, task and split: its accuracy, its costs, and its standing on the frontier.

    Empty if no model has both an accuracy and a latency. All latencies are of one machine and setting, the one that
    most models have. With several seeds, `accuracy` is their mean, and `deviation` their standard deviation, which is
    also the interval. `frontier` is of accuracy over latency, `frontier_macs` over MACs: see `standings`. A model whose
    latencies are all contended has MACs alone. `line` is a number that the points of one model share; `label` names a
    point, which is `model_label` and, if that model has several points, `executed_label`.
    """
    timed = _by_evaluation(comparable(results, evaluations), evaluations)
    groups: dict[Hashable, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(group_key(evaluation), []).append(evaluation)
    rows: list[dict[str, Any]] = []
    lines_of: dict[Hashable, int] = {}
    for number, group in enumerate(groups.values()):
        line = lines_of.setdefault(_model_key(group[0]), len(lines_of))
        points: dict[Hashable, list[Result]] = {}
        for key in dict.fromkeys((_task(evaluation), execution_of(evaluation)) for evaluation in group):
            for result in timed.get(key, ()):
                points.setdefault(_executed(result), []).append(result)
        for cells in sorted(points.values(), key=lambda cells: execution_order(cells[0])):
            costs = _costs(cells)
            if any(costs.get(name) is not None for name in COSTS.values()):
                executed = dict(zip(EXECUTED, _executed(cells[0]), strict=True))
                rows.append({"line": line, "evaluated": number, **_accuracies(group), **executed, **costs})
    return _with_standings(pd.DataFrame(rows))


EXECUTED = ("backend", "precision", "scope")
TASK = ["task", "split", "metric"]
TimedByEvaluation = Mapping[tuple[tuple[str, str, str], Execution], Sequence[Result]]


def _by_evaluation(timed: Sequence[Result], evaluations: Sequence[Evaluation]) -> TimedByEvaluation:
    """The results to which the accuracies of each task and execution belong."""
    evaluated: dict[tuple[str, str, str], set[Execution]] = {}
    for evaluation in evaluations:
        evaluated.setdefault(_task(evaluation), set()).add(execution_of(evaluation))
    by_evaluation: dict[tuple[tuple[str, str, str], Execution], list[Result]] = {}
    for task, executions in evaluated.items():
        for result in timed:
            if execution := evaluated_execution(result, executions):
                by_evaluation.setdefault((task, execution), []).append(result)
    return by_evaluation


def _with_standings(frame: pd.DataFrame) -> pd.DataFrame:
    if len(frame):
        _name_points(frame)
        for column, cost in COSTS.items():
            frame[column] = pd.Series(dtype=object)
            for _, part in frame[frame[cost].notna()].groupby(TASK):
                frame.loc[part.index, column] = standings([_point(row, cost) for row in part.to_dict("records")])
        frame["on_frontier"] = frame["frontier"] == ON
    return frame


def comparable(results: Iterable[Result], evaluations: Sequence[Evaluation]) -> list[Result]:
    """The latest latency of each evaluated model, backend and precision, all of one machine and setting: the one that
    most models have.

    A contended one takes the place of none that is not.
    """
    timed = _timed(results, evaluations)
    timed.sort(key=lambda result: not result.contended)
    latest = {(result.spec_hash, _executed(result), _setting(result)): result for result in timed}
    counts = Counter(setting for _, setting in dict.fromkeys((model, setting) for model, _, setting in latest))
    most_common = max(counts, key=lambda setting: counts[setting], default=None)
    return [result for (*_, setting), result in latest.items() if setting == most_common]


def _timed(results: Iterable[Result], evaluations: Sequence[Evaluation]) -> list[Result]:
    evaluated = {execution_of(evaluation) for evaluation in evaluations}
    return [
        result
        for result in results
        if result.status == "ok" and result.latency_ms and evaluated_execution(result, evaluated)
    ]


def left_out(results: Iterable[Result], evaluations: Sequence[Evaluation]) -> str | None:
    """The evaluated models whose latencies are all contended, for a note; None if there is none."""
    timed = _timed(results, evaluations)
    calm = {(result.spec_hash, _executed(result)) for result in timed if not result.contended}
    contended = [result for result in timed if (result.spec_hash, _executed(result)) not in calm]
    latest = list({(result.spec_hash, _executed(result)): result for result in contended}.values())
    reasons = dict(zip(cell_names(latest), (result.contended for result in latest), strict=True))
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    return f"Left out of the frontier over latency: {listed}" if reasons else None


def _setting(result: Result) -> Hashable:
    return result.device, result.batch, result.l2, result.machine.model_dump_json()


def _accuracies(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """The columns of one model's accuracy, from the latest evaluation of each seed."""
    by_seed = {evaluation.training and evaluation.training.seed: evaluation for evaluation in evaluations}
    latest = list(by_seed.values())
    first, training = latest[0], latest[0].training
    values = [evaluation.accuracy.value for evaluation in latest]
    mean, deviation = fmean(values), stdev(values) if len(values) > 1 else None
    low, high = first.accuracy.ci95 or (None, None)
    if deviation is not None:
        low, high = mean - deviation, mean + deviation
    baselines = {(evaluation.accuracy.majority, evaluation.accuracy.text_only) for evaluation in latest}
    majority, text_only = baselines.pop() if len(baselines) == 1 else (None, None)
    return {
        "task": first.accuracy.task,
        "split": first.accuracy.split,
        "metric": first.accuracy.metric,
        "model": f"{first.model} ({first.untrained})" if first.untrained else first.model,
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
    """The columns of one model's costs. Restarts of several seeds are pooled, as they are the same computation.

    Contended latencies are left out: whether they are on the frontier is unknown.
    """
    latencies = [cell.latency_ms for cell in cells if cell.latency_ms and not cell.contended]
    if not latencies:
        return {"latency_ms": None, "latency_ms_low": None, "latency_ms_high": None, "macs": cells[0].macs}
    medians = sorted(value for latency in latencies for value in latency.by_restart)
    low, high = (latencies[0].ci95 if len(latencies) == 1 else median_interval(medians)) or (None, None)
    return {
        "latency_ms": latencies[0].median if len(latencies) == 1 else median(medians),
        "latency_ms_low": low,
        "latency_ms_high": high,
        "macs": cells[0].macs,
    }


def _name_points(frame: pd.DataFrame) -> None:
    """Adds the labels: the model with its preset or weights if it has several of them on a task; and the backend,
    precision and scope as far as the points of a line differ in them."""
    several = frame.groupby([*TASK, "model"])["line"].transform("nunique") > 1
    frame["model_label"] = frame["model"].where(~several, frame["model"] + " (" + frame["variant"] + ")")
    differing = {name: frame.groupby("line")[name].transform("nunique") > 1 for name in EXECUTED}
    differing["precision"] |= differing["backend"]  # `openvino` next to `eager` would leave it open
    frame["executed_label"] = [
        " ".join(row[name] for name in EXECUTED if differing[name][index])
        for index, row in zip(frame.index, frame.to_dict("records"), strict=True)
    ]
    labels = zip(frame["model_label"], frame["executed_label"], strict=True)
    frame["label"] = [" ".join(filter(None, parts)) for parts in labels]


def _point(row: dict[Hashable, Any], cost: str) -> FrontierPoint:
    return FrontierPoint(
        cost=row[cost],
        accuracy=row["accuracy"],
        evaluated=row["evaluated"],
        cost_interval=interval(row, cost),
        accuracy_interval=interval(row, "accuracy"),
    )


def interval(row: dict[Hashable, Any], name: str) -> Interval | None:
    """The interval of a row's value; None if it has none."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return None if low is None or high is None or pd.isna(low) or pd.isna(high) else (low, high)


def lines(results: Iterable[Result], evaluations: Sequence[Evaluation]) -> list[str]:
    """The models on the frontier: one line per task and split that at least two models have."""
    results = list(results)
    frame = frontier_frame(results, evaluations)
    note = left_out(results, evaluations)
    sentences = [note] if note else []
    if not len(frame):
        return sentences
    for (task, split, _), part in frame.groupby(TASK, sort=False):
        if len(part) > 1:
            names = {"latency": _names(part, "frontier"), "MACs": _names(part, "frontier_macs")}
            by_cost = "; ".join(f"over {cost} {models}" for cost, models in names.items() if models)
            sentences.append(f"Frontier of accuracy, {task} {split}: {by_cost}")
    return sentences


def _names(part: pd.DataFrame, column: str) -> str:
    """`a, b, perhaps c`, the cheapest first."""
    ordered = part.sort_values(COSTS[column], kind="stable")
    names = {standing: list(ordered.loc[ordered[column] == standing, "label"]) for standing in (ON, PERHAPS)}
    return ", ".join([*names[ON], *(f"perhaps {name}" for name in names[PERHAPS])])
