"""How often change points are false, and how often a true one is found: vlbench beside its peers, on synthetic series.

    python -m benchmarks.harness.change_points [--series N] [--threshold SHARE] [--json FILE]

40 runs a series, 60 with two steps. Every method tells changes of 3% or more, or as asked. A peer that is not installed
is left out: ruptures (PELT on the mean with a penalty of 3 ln n times the variance of the noise; KernelCPD with its
Gaussian kernel and a penalty of 3) and apache-otava (its defaults; beside a recent numpy it installs with --no-deps
only). Nothing is timed, so the figures are of no machine: the same seed gives the same series.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlbench.regression.history.change_points import find_changes

RUNS = 40
STEP = math.log(1.05)
SIGNIFICANCE = 0.01

Logs = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Logs]
Method = Callable[[Logs], list[int]]


def gaussian(generator: np.random.Generator, count: int, share: float = 0.01) -> Logs:
    return generator.normal(0, share, count)


def speed_states(generator: np.random.Generator, count: int) -> Logs:
    """Medians over 15 processes, each of which is 17% faster, as usual, or 17% slower for its life."""
    states = np.log1p(generator.choice([-0.17, 0, 0.17], p=[0.2, 0.6, 0.2], size=(count, 15)))
    return np.median(states + generator.normal(0, 0.008, (count, 15)), axis=1)


def heavy_tails(generator: np.random.Generator, count: int) -> Logs:
    return 0.01 * generator.standard_t(2, count)


def loud(generator: np.random.Generator, count: int) -> Logs:
    return gaussian(generator, count, 0.04)


def correlated(generator: np.random.Generator, count: int) -> Logs:
    """Half of each run's deviation is left in the next, which no method here allows for."""
    fresh, kept = gaussian(generator, count + 20), [0.0]
    for value in fresh:
        kept.append(0.5 * kept[-1] + value)
    return np.array(kept[-count:])


NOISES: dict[str, Noise] = {
    "Gaussian, 1%": gaussian,
    "speed states, 15 restarts": speed_states,
    "Student's t of 2 degrees, 1%": heavy_tails,
    "Gaussian, 4%": loud,
    "correlated by 0.5, 1%": correlated,
}


def methods(threshold: float) -> dict[str, Method]:
    def vlbench(logs: Logs) -> list[int]:
        changes = find_changes(np.exp(logs).tolist(), threshold=threshold, significance=SIGNIFICANCE)
        return [point.index for point in changes.points]

    found: dict[str, Method] = {"vlbench": vlbench}
    if importlib.util.find_spec("otava"):
        from otava.analysis import compute_change_points  # noqa: PLC0415

        def otava(logs: Logs) -> list[int]:
            points, _ = compute_change_points(np.exp(logs).tolist(), min_magnitude=threshold)
            return [int(point.index) for point in points]

        found["apache-otava"] = otava
    if importlib.util.find_spec("ruptures"):
        import ruptures  # noqa: PLC0415

        def pelt(logs: Logs) -> list[int]:
            noise = np.median(np.abs(np.diff(logs))) / 0.6745 / math.sqrt(2)
            model = ruptures.Pelt(model="l2", min_size=3, jump=1).fit(logs)
            return large(logs, model.predict(pen=3 * math.log(len(logs)) * noise**2)[:-1], threshold)

        def kernel(logs: Logs) -> list[int]:
            return large(
                logs, ruptures.KernelCPD(kernel="rbf", min_size=3).fit(logs[:, None]).predict(pen=3)[:-1], threshold
            )

        found |= {"ruptures PELT": pelt, "ruptures KernelCPD": kernel}
    return found


def large(logs: Logs, cuts: list[int], threshold: float) -> list[int]:
    """The cuts between levels that are far enough apart."""
    while cuts:
        heights = np.abs(np.diff([np.median(level) for level in np.split(logs, cuts)]))
        if heights.min() >= math.log1p(threshold):
            break
        del cuts[int(heights.argmin())]
    return cuts


def shares(noise: Noise, method: Method, series: int) -> dict[str, float]:
    """Of series with no step, one, one and its return, and an outlier, those of which a method says so."""
    generator = np.random.default_rng(1)
    counts = dict.fromkeys(("false alarm", "step found", "two steps found", "outlier called a change"), 0)
    for _ in range(series):
        counts["false alarm"] += bool(method(noise(generator, RUNS)))

        start = int(generator.integers(6, RUNS - 5))
        stepped = noise(generator, RUNS)
        stepped[start:] += STEP
        found = method(stepped)
        counts["step found"] += len(found) == 1 and abs(found[0] - start) <= 1

        returned = noise(generator, 60)
        returned[20:40] += STEP
        found = method(returned)
        counts["two steps found"] += len(found) == 2 and abs(found[0] - 20) <= 1 and abs(found[1] - 40) <= 1

        outlying = noise(generator, RUNS)
        outlying[generator.integers(RUNS)] += generator.choice([-0.5, 0.5])
        counts["outlier called a change"] += bool(method(outlying))
    return {name: count / series for name, count in counts.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Change points of synthetic series, vlbench beside its peers.")
    parser.add_argument("--series", type=int, default=300, metavar="N", help="of each kind")
    parser.add_argument("--threshold", type=float, default=0.03, metavar="SHARE", help="the least change that is told")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    results = []
    for noise_name, noise in NOISES.items():
        for method_name, method in methods(options.threshold).items():
            found = shares(noise, method, options.series)
            results.append({"noise": noise_name, "method": method_name, **found})
            told = "  ".join(f"{name} {share:6.1%}" for name, share in found.items())
            print(f"{noise_name:<29} {method_name:<19} {told}", flush=True)
    if options.json:
        content = {"version": 1, "script": "change_points", "series": options.series}
        content |= {"threshold": options.threshold, "results": results}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
