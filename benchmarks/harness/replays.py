"""How often `vlbench compare` is wrong: its own rule on comparisons drawn from a recorded corpus of restarts.

    python -m benchmarks.harness.replays CORPUS [--replays N] [--threshold 5%] [--seed N] [--json FILE]

CORPUS is a folder of `vlbench run --restarts N`, or JSON, {"cells": {NAME: [median ms of each restart, in the order
run]}}, from one machine on which nothing changed. Each replay is a suite of 20 comparisons of a cell with itself.
Random: BASE and HEAD are drawn from all restarts, none twice. Windows: HEAD's restarts follow on BASE's as they were
recorded, so that drift counts; they overlap from replay to replay, so that intervals of their shares are too narrow. A
slowdown is a factor on HEAD.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path
from statistics import median

from vlbench.errors import InputError
from vlbench.measuring.statistics import enough, median_interval
from vlbench.regression.compare.effects import Effect, independent
from vlbench.regression.compare.outcomes import parse_threshold
from vlbench.regression.compare.verdicts import confidence_for, decide
from vlbench.runner.reader import read_results

from . import interleaved

SUITE, MOST, WITHIN, LEAST = 20, 60, 0.02, 30
UNCHANGED = "no change"
SLOWDOWNS = {UNCHANGED: 1.0, "+5%": 1.05, "+10%": 1.10}
ALARMS = ("faster", "slower")
CELL_BAR, SUITE_BAR, COVERAGE_BAR = 0.01, 0.05, (0.92, 0.98)
SUITES, HELD = f"suites of {SUITE} with an alarm", "stated 95% intervals hold the median"

Corpus = dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many restarts a side takes: at most `most`, and of these as many as `enough` stops after; None: all."""

    most: int
    enough: Callable[[Sequence[float]], bool] | None = None

    def taken(self, available: Sequence[float]) -> Sequence[float]:
        most = min(self.most, len(available))
        if self.enough is None:
            return available[:most]
        return available[: next((count for count in range(1, most) if self.enough(available[:count])), most)]

    def most_of(self, values: Sequence[float]) -> int:
        """Such that a corpus has as many for the other side."""
        return min(self.most, len(values) // 2)


PLANS = {
    "15 restarts": Plan(most=15),
    "6 restarts": Plan(most=6),
    "optional stopping": Plan(most=MOST, enough=lambda by_restart: enough(by_restart, WITHIN)),
}
Draw = Callable[[Sequence[float], Plan, int], tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of so many, with Wilson's 95% interval."""

    count: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        z, share = 1.96, self.count / self.of
        middle = share + z * z / (2 * self.of)
        half = z * sqrt(share * (1 - share) / self.of + z * z / (4 * self.of**2))
        scale = 1 + z * z / self.of
        return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)

    def text(self) -> str:
        low, high = self.interval
        return f"{100 * self.count / self.of:5.1f}% [{100 * low:.1f}, {100 * high:.1f}]"

    def verdict(self, low: float, high: float) -> str:
        """Met or missed only where the whole interval says so."""
        found = self.interval
        if low <= found[0] and found[1] <= high:
            return "met"
        return "missed" if found[1] < low or found[0] > high else "unknown: too few replays"


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of all replays of one plan and way of drawing."""

    alone: Counter[tuple[str, str]] = field(default_factory=Counter)  # (slowdown, verdict) of a cell compared alone
    in_suite: Counter[tuple[str, str]] = field(default_factory=Counter)
    replayed: Counter[str] = field(default_factory=Counter)  # by cell
    alarmed: Counter[str] = field(default_factory=Counter)
    covered: Counter[str] = field(default_factory=Counter)
    alarmed_suites: int = 0
    suites: int = 0
    restarts: int = 0


def at_random(source: random.Random) -> Draw:
    def draw(values: Sequence[float], plan: Plan, number: int) -> tuple[Sequence[float], Sequence[float]]:
        most = plan.most_of(values)
        drawn = source.sample(values, 2 * most)
        return plan.taken(drawn[:most]), plan.taken(drawn[most:])

    return draw


def in_windows(starts: Sequence[float]) -> Draw:
    """Of one time for a whole suite: the n-th window of a cell begins where the n-th of `starts`, a share, says."""

    def draw(values: Sequence[float], plan: Plan, number: int) -> tuple[Sequence[float], Sequence[float]]:
        most = plan.most_of(values)
        first = int(starts[number] * (len(values) - 2 * most + 1))
        base = plan.taken(values[first : first + most])
        second = first + len(base)
        return base, plan.taken(values[second : second + most])

    return draw


def replay(corpus: Corpus, plan: Plan, *, windows: bool, replays: int, threshold: float, seed: int) -> Tally:
    """So many suites of 20 comparisons, cells of the corpus in turn."""
    source, tally, names = random.Random(seed), Tally(), list(corpus)
    for _ in range(replays):
        draw = in_windows([source.random() for _ in range(SUITE)]) if windows else at_random(source)
        alarms_before = _alarms(tally.in_suite)
        for place in range(SUITE):
            name = names[place % len(names)]
            base, head = draw(corpus[name], plan, place // len(names))
            tally.in_suite.update(_verdicts(base, head, threshold, SUITE))
            alone = Counter(_verdicts(base, head, threshold, 1))
            tally.alone += alone
            tally.alarmed[name] += _alarms(alone)
            stated = base if windows else plan.taken(_with_replacement(corpus[name], plan, source))
            tally.covered[name] += _covers(stated, median(corpus[name]))
            tally.replayed[name] += 1
            tally.restarts += len(base) + len(head)
        tally.suites += 1
        tally.alarmed_suites += _alarms(tally.in_suite) > alarms_before
    return tally


def _verdicts(base: Sequence[float], head: Sequence[float], threshold: float, cells: int) -> list[tuple[str, str]]:
    """The verdict under each slowdown; a slowdown only moves an effect."""
    confidence = confidence_for(cells)
    effect = independent(base, head, confidence)
    restarts = (len(base), len(head))
    return [
        (name, decide(_slowed(effect, factor), threshold, restarts=restarts, confidence=confidence).verdict)
        for name, factor in SLOWDOWNS.items()
    ]


def _alarms(verdicts: Counter[tuple[str, str]]) -> int:
    return sum(verdicts[UNCHANGED, verdict] for verdict in ALARMS)


def _slowed(effect: Effect, factor: float) -> Effect:
    low, high = (None if bound is None else bound * factor for bound in (effect.low, effect.high))
    return Effect(ratio=effect.ratio * factor, low=low, high=high)


def _with_replacement(values: Sequence[float], plan: Plan, source: random.Random) -> list[float]:
    """Restarts of a machine that could go on for ever, of which the corpus is all that is known."""
    return source.choices(values, k=plan.most)


def _covers(restarts: Sequence[float], truth: float) -> bool:
    """Whether the interval that a result states holds the true median; one that is not stated holds everything."""
    interval = median_interval(sorted(restarts))
    return interval is None or interval[0] <= truth <= interval[1]


def read_corpus(path: Path) -> Corpus:
    """Raises InputError where it is no corpus, or too small a one to draw two samples from."""
    try:
        cells = _of_folder(path) if path.is_dir() else json.loads(path.read_text(encoding="utf-8"))["cells"]
        corpus = {name: tuple(map(float, values)) for name, values in cells.items()}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{path}: no corpus; {{"cells": {{"vilt-b32": [198.5, 201.2, ...]}}}} works') from error
    for name, values in corpus.items():
        if len(values) < LEAST or min(values) <= 0:
            raise InputError(f"{path}: {name}: {len(values)} restarts; {LEAST} or more, all above 0 ms, are needed")
    if not corpus:
        raise InputError(f"{path}: holds no cell")
    return corpus


def _of_folder(folder: Path) -> dict[str, Sequence[float]]:
    """The restarts that `compare` would take: those that nothing disturbed, if they are enough."""
    return {result.model: result.latency_ms.by_restart for result in read_results(folder) if result.latency_ms}


def figures_of(tally: Tally) -> dict[str, Share]:
    cells = tally.replayed.total()

    def share(verdicts: Counter[tuple[str, str]], slowdown: str, *wanted: str) -> Share:
        return Share(count=sum(verdicts[slowdown, verdict] for verdict in wanted), of=cells)

    figures = {}
    for where, verdicts in (("alone", tally.alone), ("in a suite", tally.in_suite)):
        figures[f"alarms, {where}"] = share(verdicts, UNCHANGED, *ALARMS)
        figures[f"unknown, {where}"] = share(verdicts, UNCHANGED, "unknown")
        figures |= {f"{size} found, {where}": share(verdicts, size, "slower") for size in ("+5%", "+10%")}
    figures[SUITES] = Share(count=tally.alarmed_suites, of=tally.suites)
    return figures | {HELD: Share(count=tally.covered.total(), of=cells)}


def report(name: str, tally: Tally) -> tuple[dict[str, object], dict[str, str]]:
    """Prints one plan's figures and bars; gives both as data."""
    figures, restarts = figures_of(tally), tally.restarts / (2 * tally.replayed.total())
    print(f"\n{name}: {restarts:.1f} restarts a side")
    for title, found in figures.items():
        print(f"  {title:38}{found.text()}")
    by_cell = {
        title: {cell: counts[cell] / tally.replayed[cell] for cell in tally.replayed}
        for title, counts in (("alarms, alone", tally.alarmed), (HELD, tally.covered))
    }
    for title, shares in by_cell.items():
        print(f"  {title}: " + ", ".join(f"{cell} {100 * value:.1f}%" for cell, value in shares.items()))
    low, high = COVERAGE_BAR
    bars = {
        f"alarms a cell at most {100 * CELL_BAR:g}%": figures["alarms, alone"].verdict(0, CELL_BAR),
        f"suites with an alarm at most {100 * SUITE_BAR:g}%": figures[SUITES].verdict(0, SUITE_BAR),
        f"{HELD} in {100 * low:g} to {100 * high:g}%": figures[HELD].verdict(low, high),
    }
    for bar, verdict in bars.items():
        print(f"  bar: {bar}: {verdict}")
    numbers = {title: asdict(found) | {"interval": found.interval} for title, found in figures.items()}
    row = {"plan": name, "restarts": restarts, "figures": numbers, "by_cell": by_cell}
    return row, {f"{name}: {bar}": verdict for bar, verdict in bars.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Replays comparisons of unchanged code from a corpus of restarts.")
    parser.add_argument("corpus", type=Path, help="results folder, or JSON: cells, and the median ms of each restart")
    parser.add_argument("--replays", type=interleaved.positive, default=1000, help="suites (default %(default)s)")
    parser.add_argument("--threshold", type=parse_threshold, default=0.05, help="of compare (default 5%%)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default %(default)s)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="also write all figures there")
    options = parser.parse_args(arguments)
    try:
        corpus = read_corpus(options.corpus)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    facts = interleaved.machine_facts(None, ["vlbench"])
    print("; ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"{options.corpus}: " + ", ".join(f"{name} {len(values)} restarts" for name, values in corpus.items()))
    rows: list[dict[str, object]] = []
    verdicts: dict[str, str] = {}
    for windows in (False, True):
        for title, plan in PLANS.items():
            name = f"{'windows' if windows else 'random'}, {title}"
            tally = replay(
                corpus,
                plan,
                windows=windows,
                replays=options.replays,
                threshold=options.threshold,
                seed=options.seed,
            )
            row, bars = report(name, tally)
            rows.append(row)
            verdicts |= bars
    if options.json:
        content = {"version": 1, "script": "replays", "machine": facts, "rows": rows, "verdicts": verdicts}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
