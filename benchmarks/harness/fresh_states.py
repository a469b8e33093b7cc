"""Whether a forked worker draws its speed anew, as a freshly started interpreter does, and what either costs.

    python -m benchmarks.harness.fresh_states [--model NAME] [--rounds N] [--threads N] [--json FILE]

Each round measures the same cell in a process forked from one long-lived worker, and in one forked from a worker that
was started for it alone. Were the speed inherited, the medians of the first would lie closer together than those of
the second, as close as one process's own medians lie.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from math import log
from statistics import median

import numpy as np

from vlbench.inputs import read_example
from vlbench.measuring.noise import why_contended
from vlbench.runner.benchmark import open_worker
from vlbench.runner.cells import Cell
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.records import Restart
from vlbench.runner.worker_client import Worker, probe_machine
from vlbench.specs.catalog import resolve

from . import interleaved

FORKED, STARTED = "forked", "started"
BUDGET_SECONDS = 20.0  # of which a restart samples a twentieth
LEAST_RATIO = 0.67  # of spreads; a spread of 30 medians is known to about a quarter


def main() -> int:
    parser = interleaved.arguments("Speed states of forked and of started workers.", rounds=30)
    parser.add_argument("--model", default="vit-b32", help="a model of the catalogue (default %(default)s)")
    options = parser.parse_args()
    threads = options.threads or 1
    facts = interleaved.machine_facts(threads, ("torch",))
    interleaved.print_facts(facts, options.rounds, 0)
    medians: dict[str, list[float]] = {FORKED: [], STARTED: []}
    halves: list[float] = []
    disturbed = 0
    seconds: dict[str, list[float]] = {FORKED: [], STARTED: []}
    with open_worker(threads) as lasting:
        settings = RunSettings(device="cpu", threads=threads, budget_seconds=BUDGET_SECONDS)
        (cell,) = expand(resolve(options.model), read_example(None, None), settings, probe_machine(threads, lasting))
        for number in range(options.rounds):
            for kind in interleaved.order_of_round([FORKED, STARTED], number):
                start = time.monotonic()
                if kind == FORKED:
                    restart = measure(lasting, cell)
                else:
                    with open_worker(threads) as own:
                        restart = measure(own, cell)
                seconds[kind].append(time.monotonic() - start)
                if restart.interference and why_contended(restart.interference):
                    disturbed += 1
                    continue
                medians[kind].append(median(restart.latency_ms))
                halves.append(log(median(restart.latency_ms[::2]) / median(restart.latency_ms[1::2])))
    spreads = {kind: spread(values) for kind, values in medians.items()}
    print(f"{disturbed} restarts were disturbed and do not count")
    within = robust_spread(halves) / 2  # the difference of two halves has twice the spread of the median of the whole
    for kind, values in medians.items():
        print(f"{kind:8} {median(values):8.2f} ms, spread {spreads[kind]:.2%}, {median(seconds[kind]):.2f} s a restart")
    print(f"within a process the median is known to {within:.2%}")
    ratios = resampled_ratios(medians)
    low, high = (float(value) for value in np.percentile(ratios, [2.5, 97.5]))
    ratio = interleaved.Estimate(
        name="spread, forked over started", median=spreads[FORKED] / spreads[STARTED], low=low, high=high
    )
    fresh = ratio.median >= LEAST_RATIO and spreads[FORKED] > 2 * within
    verdict = "met" if fresh else "missed"
    print(f"bar: forked processes spread at least {LEAST_RATIO} as far, and over twice a process's own: {verdict}")
    print(f"  {ratio.name} {ratio.text()}")
    interleaved.write_json(
        options.json,
        script="fresh_states",
        facts=facts | {"model": options.model},
        samples_ms=medians,
        ratios=[ratio],
        verdicts={"forked workers draw fresh speeds": verdict},
    )
    return 0


def measure(worker: Worker, cell: Cell) -> Restart:
    (message,) = worker.run_job({"action": "restart", "cell": cell.model_dump(mode="json")})
    return Restart.model_validate(message["restart"])


def spread(values: list[float]) -> float:
    """Of the logarithms, robustly."""
    return robust_spread([log(value) for value in values])


def robust_spread(values: Sequence[float]) -> float:
    """The median distance from the median, scaled so that it is the standard deviation of a normal sample."""
    middle = median(values)
    return 1.4826 * median(abs(value - middle) for value in values)


def resampled_ratios(medians: dict[str, list[float]], draws: int = 2_000) -> np.ndarray:
    generator = np.random.default_rng(0)
    logs = {kind: np.log(values) for kind, values in medians.items()}
    spreads = {}
    for kind, values in logs.items():
        drawn = values[generator.integers(len(values), size=(draws, len(values)))]
        spreads[kind] = np.median(np.abs(drawn - np.median(drawn, axis=1, keepdims=True)), axis=1)
    return spreads[FORKED] / spreads[STARTED]


if __name__ == "__main__":
    sys.exit(main())
