"""How often a cell is called contended: on the machine as it is, and beside a process that burns one core.

    python -m benchmarks.harness.burner [--cells N] [--threads 1 2] [--burners spin memory]

A cell is some restarts (9), each a fresh process that times a small model's forward pass in blocks, observed as vlbench
does. Cells alternate: idle, beside a burner, idle... Bars: at least 95% of the cells beside a burner are `contended`,
at most 5% of the idle ones. The second holds only where the machine is idle: see `load_at_start`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from pydantic_core import to_jsonable_python
from torch import nn

from vlbench.measuring.noise import Interference, Noise, judge, undisturbed
from vlbench.measuring.observe import Observer, reference_kernel
from vlbench.measuring.peaks import call_in_fresh_process
from vlbench.measuring.statistics import median_interval

from . import interleaved

BLOCKS, BLOCK_SECONDS, WARM_UP_SECONDS = 4, 0.08, 0.12
BURNER_BAR, IDLE_BAR = 0.95, 0.05
WITHIN = 0.02
SHOWN = "other_processes_cores waiting_threads cpu_pressure steal_cores involuntary_context_switches".split()
READY = "print('ready', flush=True)"
BURNERS = {
    "spin": f"{READY}\nwhile True: pass",
    "memory": f"import numpy\na = numpy.ones(2**24)\nb = numpy.ones(2**24)\n{READY}\nwhile True: b[:] = a",
}


def restart(threads: int) -> tuple[float, Interference]:
    """Median latency in milliseconds of a two-layer Transformer, and what interfered; for a fresh process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(384, 6, 1536, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    tokens = torch.rand(1, 160, 384)
    observer = Observer(reference_kernel())
    samples: list[float] = []

    def block(seconds: float, kept: list[float]) -> None:
        model(tokens)  # untimed: wakes threads, warms caches
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.perf_counter_ns()
            model(tokens)
            kept.append((time.perf_counter_ns() - start) / 1e6)

    with torch.inference_mode():
        block(WARM_UP_SECONDS, [])
        observer.start()
        for number in range(BLOCKS):
            if number:
                observer.between_blocks()
            block(BLOCK_SECONDS, samples)
        interference = observer.finish()
    return median(samples), interference


def cell(threads: int, restarts: int) -> dict[str, Any]:
    """Restarts of one cell, and the verdict on them."""
    measured = [call_in_fresh_process(restart, threads) for _ in range(restarts)]
    latencies, interference = [latency for latency, _ in measured], [one for _, one in measured]
    standing = sorted(latencies[number] for number in undisturbed(interference))
    noise = judge(latencies, interference, within=WITHIN, ci95=median_interval(standing))
    return {"latency_ms": latencies, "interference": interference, "noise": noise}


@contextmanager
def burning(kind: str) -> Iterator[None]:
    """A process that keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", BURNERS[kind]], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


def measure(
    cells: int, restarts: int, threads: Sequence[int], burners: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """By arm (`threads=1 idle`, `threads=1 spin`, ...), cells in turn; each second turn runs backwards."""
    arms = [(count, kind) for count in threads for kind in ("idle", *burners)]
    found: dict[str, list[dict[str, Any]]] = {f"threads={count} {kind}": [] for count, kind in arms}
    for number in range(cells):
        for count, kind in arms[::-1] if number % 2 else arms:
            with nullcontext() if kind == "idle" else burning(kind):
                found[f"threads={count} {kind}"].append(cell(count, restarts))
        print(f"{number + 1} of {cells} cells an arm", file=sys.stderr)
    return found


def share_contended(cells: Sequence[dict[str, Any]]) -> float:
    return sum(one["noise"].verdict == "contended" for one in cells) / len(cells)


def print_arm(name: str, cells: Sequence[dict[str, Any]]) -> bool:
    """The shares of the verdicts, the interference behind them, and the bar; whether it is met."""
    idle = name.endswith("idle")
    share = share_contended(cells)
    met = share <= IDLE_BAR if idle else share >= BURNER_BAR
    verdicts = [one["noise"].verdict for one in cells]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("stable", "noisy", "contended"))
    bar = f"at most {IDLE_BAR:.0%}" if idle else f"at least {BURNER_BAR:.0%}"
    print(f"{name}: {counts} of {len(cells)}; contended {share:.0%}, bar {bar}: {'met' if met else 'missed'}")
    interference = [one for made in cells for one in made["interference"]]
    for field in SHOWN:
        values = sorted(value for one in interference if (value := getattr(one, field)) is not None)
        if values:
            print(f"    {field}: {values[0]:g} to {values[-1]:g}, median {median(values):g}")
    print(f"    latency_ms: median {median(value for made in cells for value in made['latency_ms']):.2f}")
    return met


def write(path: Path | None, facts: dict[str, str], found: dict[str, list[dict[str, Any]]]) -> None:
    if path is None:
        return

    def plain(value: Interference | Noise) -> Any:
        return to_jsonable_python(value, exclude_none=True)

    content = {
        "version": 1,
        "script": "burner",
        "machine": facts,
        "contended": {name: share_contended(cells) for name, cells in found.items()},
        "cells": found,
    }
    path.write_text(json.dumps(content, default=plain) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="How often a cell is called contended, idle and beside a burner.")
    parser.add_argument("--cells", type=interleaved.positive, default=20, help="cells an arm (default %(default)s)")
    parser.add_argument("--restarts", type=interleaved.positive, default=9, help="of a cell (default %(default)s)")
    parser.add_argument("--threads", type=interleaved.positive, nargs="+", default=[1, 2], help="PyTorch's threads")
    parser.add_argument("--burners", choices=BURNERS, nargs="*", default=list(BURNERS), help="by default all")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="also write every restart there")
    options = parser.parse_args()
    facts = interleaved.machine_facts(max(options.threads), ["torch", "numpy"])
    print("; ".join(f"{name} {value}" for name, value in facts.items()))
    found = measure(options.cells, options.restarts, options.threads, options.burners)
    met = [print_arm(name, cells) for name, cells in found.items()]
    write(options.json, facts, found)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
