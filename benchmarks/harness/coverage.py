"""How often the 95% intervals of accuracies, of latencies and of their ratios contain the truth.

    python -m benchmarks.harness.coverage [--samples N] [--seed N] [--json FILE]

Each row is the lowest coverage of a design over all means, correlations or distributions. That of 0s and 1s alone is
exact, by the binomial distribution; all others are simulated. Nothing is timed, so the figures are of no machine: the
same seed gives the same table. The defaults take about three minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb
from scipy.stats import betabinom, binom

from vlbench.measuring.statistics import median_interval
from vlbench.suites.evidence import interval, median_draws
from vlbench.tasks.intervals import mean_interval

Floats = NDArray[np.float64]

MEANS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.99, 0.997, 0.999, 1.0)
CORRELATIONS = (0.0, 0.05, 0.2, 0.5, 1.0)  # of the answers about one image
SIZES: dict[str, Callable[[int], NDArray[np.int64]]] = {
    "5 each": lambda units: np.full(units, 5),
    "50 each": lambda units: np.full(units, 50),
    "1 to 100": lambda units: np.geomspace(1, 100, units).round().astype(int),
    "5 each, one as many as all others": lambda units: np.append(np.full(units - 1, 5), 5 * (units - 1)),
}
# Scores of an answer by how many of so many people agree with it, of whom each does with the probability of its image.
KINDS: dict[str, Floats] = {
    "0 or 1": np.array([0, 1.0]),
    "VQA accuracy": np.minimum(1, 0.3 * np.arange(11)),
}
SPEEDS: dict[str, Callable[[np.random.Generator, int], Floats]] = {  # the true median of each is 1
    "normal": lambda generator, count: generator.normal(1, 0.01, count),
    "three speeds": lambda generator, count: _states(generator, count, (1 / 3, 1 / 3, 1 / 3)),
    "mostly one speed": lambda generator, count: _states(generator, count, (0.1, 0.8, 0.1)),
    "Student's t of 2 degrees": lambda generator, count: 1 + 0.01 * generator.standard_t(2, count).clip(-50, 50),
    "exponential": lambda generator, count: 1 + 0.1 * (generator.exponential(size=count) - np.log(2)),
    "nearly constant": lambda generator, count: generator.normal(1, 1e-6, count),
}


@dataclass(frozen=True)
class Coverage:
    """The lowest coverage of a design, and where it is."""

    interval: str
    design: str
    lowest: float
    where: str


def _states(generator: np.random.Generator, count: int, shares: Sequence[float]) -> Floats:
    return generator.choice([0.83, 1, 1.17], p=shares, size=count) * generator.normal(1, 0.008, count)


def of_single_answers(count: int) -> Coverage:
    """Exactly, over a grid of proportions that is dense near 0 and 1."""
    right = np.arange(count + 1.0)
    low, high = mean_interval(right[:, None] * np.full(count, 1 / count), right, np.ones(count))
    near_none = np.geomspace(0.001 / count, 0.5, 400)
    proportions = np.concatenate([[0], near_none, 1 - near_none, [1]])
    covers = (low[:, None] <= proportions) & (proportions <= high[:, None])
    coverage = (binom.pmf(right[:, None], count, proportions) * covers).sum(axis=0)
    worst = int(coverage.argmin())
    design = f"0 or 1; {count:,} alone"
    return Coverage("accuracy", design, float(coverage[worst]), f"accuracy {proportions[worst]:.2g}")


def of_answers(kind: str, sizes: str, units: int, samples: int, generator: np.random.Generator) -> Coverage:
    """Of answers to `units` images, whose numbers of questions `sizes` names; `alone` is one question each."""
    counts = np.ones(units, dtype=int) if sizes == "alone" else SIZES[sizes](units)
    scores = KINDS[kind]
    people = len(scores) - 1
    lowest, where = 1.0, ""
    for share in MEANS:
        for correlation in CORRELATIONS if counts.max() > 1 and 0 < share < 1 else (0.0,):
            agreement = _agreement(share, correlation, (samples, units), generator)
            drawn = generator.multinomial(counts, _binomial(people, agreement[..., None]))
            low, high = mean_interval(drawn @ scores, (drawn @ scores**2).sum(axis=1), counts.astype(float))
            truth = float(_agreement_pmf(share, correlation, people) @ scores)
            covered = float(((low <= truth) & (truth <= high)).mean())
            if covered < lowest:
                lowest, where = covered, f"accuracy {truth:.2g}, correlation {correlation:g}"
    return Coverage("accuracy", f"{kind}; {units:,} images, {sizes}", lowest, where)


def _agreement(share: float, correlation: float, shape: tuple[int, int], generator: np.random.Generator) -> Floats:
    """The probability of each image, of Beta's distribution with the mean `share`."""
    if correlation in (0, 1):
        return (generator.random(shape) < share).astype(float) if correlation else np.full(shape, share)
    spread = 1 / correlation - 1
    return generator.beta(share * spread, (1 - share) * spread, shape)


def _agreement_pmf(share: float, correlation: float, people: int) -> Floats:
    """How likely it is that 0, 1, ... all people agree, over all images."""
    if correlation == 1:
        return np.array([1 - share, *[0.0] * (people - 1), share])
    if correlation == 0:
        return _binomial(people, np.array([share]))
    spread = 1 / correlation - 1
    return betabinom.pmf(np.arange(people + 1), people, share * spread, (1 - share) * spread)


def _binomial(people: int, agreement: Floats) -> Floats:
    agreeing = np.arange(people + 1)
    return comb(people, agreeing) * agreement**agreeing * (1 - agreement) ** (people - agreeing)


def of_medians(restarts: int, samples: int, generator: np.random.Generator) -> Coverage:
    """Of the median latency of a row."""
    by_speed = {}
    for name, speeds in SPEEDS.items():
        ends = [median_interval(sorted(speeds(generator, restarts))) for _ in range(samples)]
        by_speed[name] = sum(low <= 1 <= high for low, high in filter(None, ends)) / samples
    return _worst("latency", f"{restarts} restarts", by_speed)


def of_ratios(restarts: int, samples: int, generator: np.random.Generator) -> Coverage:
    """Of the ratio of two rows; the second row has the first one's distribution, or is nearly constant."""
    by_speed = {}
    for name, speeds in SPEEDS.items():
        for other in dict.fromkeys((name, "nearly constant")):
            covered = 0
            for _ in range(samples):
                rows = [made(generator, restarts).tolist() for made in (speeds, SPEEDS[other])]
                ratio = median_draws(rows[0], "first") / median_draws(rows[1], "second")
                ends = interval(ratio, figures=2)
                assert ends
                covered += ends[0] <= 1 <= ends[1]
            by_speed[f"{name} over {other}"] = covered / samples
    return _worst("ratio of latencies", f"{restarts} restarts a row", by_speed)


def _worst(of: str, design: str, by_speed: dict[str, float]) -> Coverage:
    worst = min(by_speed, key=lambda name: by_speed[name])
    return Coverage(of, design, by_speed[worst], worst)


def coverages(samples: int, seed: int) -> Iterator[Coverage]:
    """All rows of the table."""
    for count in (5, 10, 30, 100, 1_000, 10_000):
        yield of_single_answers(count)
    generator = np.random.default_rng(seed)
    for units in (5, 10, 100, 1_000):
        yield of_answers("VQA accuracy", "alone", units, samples, generator)
    for kind in KINDS:
        for units in (10, 30, 200):
            for sizes in SIZES:
                yield of_answers(kind, sizes, units, samples, generator)
    for restarts in (6, 7, 9, 12, 15):
        yield of_medians(restarts, samples, generator)
    for restarts in (7, 9, 11, 13, 15):
        yield of_ratios(restarts, max(1, samples // 5), generator)


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulated coverage of the intervals that vlbench states.")
    parser.add_argument("--samples", type=int, default=2_000, metavar="N", help="of each design; a fifth for ratios")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    results = []
    print("| interval of | design | lowest coverage | where |\n|---|---|---|---|", flush=True)
    for row in coverages(options.samples, options.seed):
        results.append(row)
        print(f"| {row.interval} | {row.design} | {row.lowest:.1%} | {row.where} |", flush=True)
    if options.json:
        content = {"version": 1, "script": "coverage", "samples": options.samples, "seed": options.seed}
        content |= {"results": [asdict(row) for row in results]}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
