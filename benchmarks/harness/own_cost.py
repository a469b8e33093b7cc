"""What measuring adds to what is measured: a worker against a bare script, hooks against none, the parent's own time.

    python -m benchmarks.harness.own_cost [--model NAME] [--rounds N] [--threads N] [--json FILE]

Each round takes one restart of a worker and one run of a script that builds the same model and times a bare loop, in
turns. Then a whole `vlbench run` is watched from its first restart to its end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

from vlbench.inputs import read_example
from vlbench.regression.compare.effects import Effect, paired
from vlbench.runner.benchmark import open_worker
from vlbench.runner.cells import Cell
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.worker_client import probe_machine
from vlbench.specs.catalog import resolve

from . import interleaved
from .fresh_states import measure

BUDGET_SECONDS = 40.0  # of which a restart samples a twentieth
RATIO_BAR, HOOK_BAR, HOOK_BAR_MS, PARENT_BAR = 0.03, 0.01, 0.020, 0.005
BARE = """
import json, sys, time
import torch
from vlbench.architectures.build import build
from vlbench.runner.cells import Cell
from vlbench.runner.workload import prepare_batch
cell = Cell.model_validate_json(sys.argv[1])
torch.set_num_threads(cell.threads)
model = build(cell.spec).eval()
inputs = prepare_batch(cell)
samples = []
with torch.inference_mode():
    end = time.perf_counter() + 0.5
    while time.perf_counter() < end:
        model(*inputs)
    end = time.perf_counter() + 1.2
    while time.perf_counter() < end or not samples:
        start = time.perf_counter_ns()
        model(*inputs)
        samples.append((time.perf_counter_ns() - start) / 1e6)
print(json.dumps(samples))
"""


def main() -> int:
    parser = interleaved.arguments("What measuring adds to what is measured.", rounds=20)
    parser.add_argument("--model", default="vit-b32", help="a model of the catalogue (default %(default)s)")
    options = parser.parse_args()
    threads = options.threads or 1
    facts = interleaved.machine_facts(threads, ("torch",)) | {"model": options.model}
    print("; ".join(f"{name} {value}" for name, value in facts.items()))
    samples: dict[str, list[float]] = {"worker": [], "bare": [], "staged": []}
    with open_worker(threads) as worker:
        settings = RunSettings(device="cpu", threads=threads, budget_seconds=BUDGET_SECONDS)
        (cell,) = expand(resolve(options.model), read_example(None, None), settings, probe_machine(threads, worker))
        for number in range(options.rounds):
            for kind in interleaved.order_of_round(["worker", "bare"], number):
                if kind == "bare":
                    samples["bare"].append(bare(cell))
                    continue
                restart = measure(worker, cell)
                samples["worker"].append(median(restart.latency_ms))
                samples["staged"].append(median(restart.latency_ms_by_stage["total"]))
    verdicts = {}
    ratio = paired(samples["bare"], samples["worker"], 0.95)
    verdicts["worker over bare script within 3%"] = judged(ratio, 1 - RATIO_BAR, 1 + RATIO_BAR)
    hooks = paired(samples["worker"], samples["staged"], 0.95)
    allowed = max(HOOK_BAR, HOOK_BAR_MS / median(samples["worker"]))
    verdicts["hooks at most 1% or 20 us"] = judged(hooks, 0.0, 1 + allowed)
    verdicts["stages and rest within 2% of end to end"] = judged(hooks, 0.98, 1.02)
    share = parent_share(options.model, threads)
    verdicts["parent at most 0.5% of a core"] = f"{'met' if share <= PARENT_BAR else 'missed'}: {share:.3%}"
    for bar, said in verdicts.items():
        print(f"bar: {bar}: {said}")
    interleaved.write_json(
        options.json,
        script="own_cost",
        facts=facts,
        samples_ms=samples,
        ratios=[
            interleaved.Estimate(name=name, median=effect.ratio, low=effect.low, high=effect.high)
            for name, effect in (("worker over bare", ratio), ("staged over end to end", hooks))
        ],
        verdicts=verdicts,
    )
    return 0


def bare(cell: Cell) -> float:
    command = [sys.executable, "-c", BARE, cell.model_dump_json()]
    return median(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def judged(effect: Effect, low: float, high: float) -> str:
    """Met or missed only where the whole interval says so."""
    if effect.low is None or effect.high is None:
        return f"unknown: too few rounds ({effect.ratio:.4f})"
    inside, outside = low <= effect.low and effect.high <= high, effect.low > high or effect.high < low
    verdict = "met" if inside else "missed" if outside else "unknown: too few rounds or too much noise"
    return f"{verdict}: {effect.ratio:.4f} [{effect.low:.4f}, {effect.high:.4f}]"


def parent_share(model: str, threads: int) -> float:
    """Processor time of a run's parent from its first restart to its end, as a share of one core."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "vlbench", "run", "--models", model, "--threads", str(threads)]
        command += ["--device", "cpu", "--restarts", "12", "--out", folder]
        process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not Path(folder, "cells.unfinished.jsonl").exists():
            time.sleep(0.1)
        first, begun = process.cpu_times(), time.monotonic()
        last = first
        while Path(folder, "cells.unfinished.jsonl").exists() and process.is_running():
            last = process.cpu_times()
            time.sleep(0.5)
        spent = last.user + last.system - first.user - first.system
        share = spent / (time.monotonic() - begun)
        process.wait()
    return share


if __name__ == "__main__":
    sys.exit(main())
