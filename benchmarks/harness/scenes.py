"""How fast the generated world is made: scenes with a question, a caption and their token ids, as training reads them.

    python -m benchmarks.harness.scenes [--processes N] [--side PIXELS] [--rounds N] [--json FILE]

Each process makes whole batches of the last stage of the tiny preset's recipe, up to eight things and all kinds of
questions. A round takes every process 1,280 scenes further.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter_ns

import torch

from vlbench.training.preset import read_preset
from vlbench.training.samples import ShapesStream

from . import interleaved

BATCH, BATCHES = 64, 20
WARMUP = 1
COUNTED = 2000
BAR_MS = 1000.0  # 2,000 scenes a second


def main() -> int:
    parser = interleaved.arguments("Scenes a second of the generated world.", rounds=20)
    parser.add_argument("--processes", type=interleaved.positive, default=2, help="side by side (default %(default)s)")
    parser.add_argument("--side", type=interleaved.positive, default=128, help="of an image (default %(default)s)")
    options = parser.parse_args()
    facts = interleaved.machine_facts(options.threads or 1, ("torch", "numpy")) | {
        "processes": str(options.processes),
        "side": str(options.side),
    }
    interleaved.print_facts(facts, options.rounds, WARMUP)
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        times = [_round_ms(pool, number, options.processes, options.side) for number in range(WARMUP + options.rounds)][
            WARMUP:
        ]
    scenes = options.processes * BATCHES * BATCH
    found = interleaved.estimate(f"ms for {COUNTED:,} scenes", [COUNTED * each / scenes for each in times])
    print(f"{1000 * COUNTED / found.median:,.0f} scenes a second, {options.side}x{options.side}")
    verdict = interleaved.print_bar(found.name, found, BAR_MS, digits=0)
    interleaved.write_json(
        options.json,
        script="scenes",
        facts=facts,
        samples_ms={f"{scenes} scenes": times},
        ratios=[found],
        verdicts={"2,000 scenes a second": verdict},
    )
    return 0


def _round_ms(pool: ProcessPoolExecutor, number: int, processes: int, side: int) -> float:
    start = perf_counter_ns()
    for made in pool.map(made_in_a_round, _starts(number, processes), [side] * processes):
        assert made == BATCHES * BATCH
    return (perf_counter_ns() - start) / 1e6


def _starts(number: int, processes: int) -> Iterator[int]:
    """Of each process in a round: its first batch, none of which is made twice."""
    return (BATCHES * (number * processes + process) for process in range(processes))


def made_in_a_round(first_batch: int, side: int) -> int:
    """How many scenes a process made, from a batch on."""
    torch.set_num_threads(1)
    recipe = read_preset("tiny").recipe
    last = recipe.model_copy(update={"stages": (recipe.stages[-1].model_copy(update={"start": 0}),)})
    stream = ShapesStream(side=side, seed=0, batch=BATCH, recipe=last, max_tokens=read_preset("tiny").text_tokens)
    batches = range(first_batch, first_batch + BATCHES)
    return sum(len(stream.batch(one * BATCH, BATCH).answers) for one in batches)


if __name__ == "__main__":
    sys.exit(main())
