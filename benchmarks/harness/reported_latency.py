"""The latency that `vlbench run` reports against a bare timing loop around the same module, in one process.

    python -m benchmarks.harness.reported_latency [--model NAME] [--rounds N] [--threads N] [--json FILE]

Each round takes samples as a worker takes them, and one loop of as many passes that only reads the clock; their order
alternates.
"""

from __future__ import annotations

import sys
from functools import partial
from statistics import median
from time import perf_counter_ns

import torch

from vlbench.architectures.build import build
from vlbench.inputs import read_example
from vlbench.measuring.latency import PassTimer
from vlbench.measuring.machine import describe_machine
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.workload import prepare_batch
from vlbench.specs.catalog import resolve

from . import interleaved

SECONDS_A_ROUND = 1.0
REPORTED, BARE = "reported", "bare loop"


def bare_loop(model: torch.nn.Module, inputs: tuple, passes: int) -> float:
    """Median ms of a loop with nothing in it but the pass and the clock."""
    samples = []
    with torch.inference_mode():
        for _ in range(passes):
            start = perf_counter_ns()
            model(*inputs)
            samples.append((perf_counter_ns() - start) / 1e6)
    return median(samples)


def main() -> int:
    parser = interleaved.arguments("Reported latency against a bare timing loop.", rounds=40)
    parser.add_argument("--model", default="vilt", help="a model of the catalogue (default %(default)s)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    threads = torch.get_num_threads()
    facts = interleaved.machine_facts(threads, ("torch",))
    interleaved.print_facts(facts, options.rounds, 1)

    machine = describe_machine(threads=threads, gpu=None)
    (cell,) = expand(resolve(options.model), read_example(None, None), RunSettings(threads=threads), machine)
    model = build(cell.spec).eval()
    inputs = prepare_batch(cell)
    timer = PassTimer(partial(model, *inputs), model.stages(), torch.device("cpu"))

    samples: dict[str, list[float]] = {REPORTED: [], BARE: []}
    passes = 0
    for number in range(options.rounds + 1):  # the first warms up
        for name in (REPORTED, BARE) if number % 2 == 0 else (BARE, REPORTED):
            if name == BARE:
                value = bare_loop(model, inputs, passes)
            else:
                reported = timer.end_to_end(SECONDS_A_ROUND)
                passes, value = len(reported), median(reported)
            if number:
                samples[name].append(value)
    interleaved.print_table(samples, BARE)
    ratio = interleaved.ratio_table(samples, BARE)[REPORTED]
    low, high = ratio.low or 0.0, ratio.high or float("inf")
    verdict = "met" if low >= 0.99 and high <= 1.01 else "unknown: too few rounds or too much noise"
    if low > 1.01 or high < 0.99:
        verdict = "missed"
    print(f"bar: within 1% of the bare loop: {verdict} ({ratio.text()})")
    interleaved.write_json(
        options.json,
        script="reported_latency",
        facts=facts,
        samples_ms=samples,
        ratios=[ratio],
        verdicts={"within 1% of the bare loop": verdict},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
