"""Interleaved timing: several callables measured in one run, round by round, and compared by their per-round ratios."""

from __future__ import annotations

import argparse
import gc
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter_ns

from vlbench.measuring.machine import describe_machine
from vlbench.measuring.statistics import median_interval

INTERVAL_NOTE = "median of the rounds [95% interval of that median by order statistics, free of any distribution]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A median; `low` and `high` are None where there are too few rounds for 95% confidence (fewer than six)."""

    name: str
    median: float
    low: float | None
    high: float | None

    def text(self, digits: int = 3) -> str:
        """`0.912 [0.899, 0.924]`"""
        interval = "too few rounds" if self.low is None else f"{self.low:.{digits}f}, {self.high:.{digits}f}"
        return f"{self.median:.{digits}f} [{interval}]"


def interleave(callables: Mapping[str, Callable[[], object]], rounds: int, warmup: int) -> dict[str, list[float]]:
    """Times every callable once a round, in ms; the caller sets inference mode and the number of threads.

    Each two rounds run forth and back (ABCCBA), and each two start one callable later, so that drift and
    neighbours on the machine reach all alike. Garbage is collected before the first timed round and not within.
    """
    names = list(callables)
    for _ in range(warmup):
        for name in names:
            callables[name]()
    samples: dict[str, list[float]] = {name: [] for name in names}
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            for name in order_of_round(names, number):
                function = callables[name]
                start = perf_counter_ns()
                function()
                samples[name].append((perf_counter_ns() - start) / 1e6)
    finally:
        if collects:
            gc.enable()
    return samples


def order_of_round(names: Sequence[str], number: int) -> list[str]:
    """Rotated by one each pair of rounds; the second of a pair is the first reversed."""
    shift = number // 2 % len(names)
    rotated = [*names[shift:], *names[:shift]]
    return rotated[::-1] if number % 2 else rotated


def estimate(name: str, values: Sequence[float]) -> Estimate:
    """The median and its interval: the closest pair of order statistics that covers it with 95% probability."""
    low, high = median_interval(sorted(values)) or (None, None)
    return Estimate(name=name, median=median(values), low=low, high=high)


def ratio_table(samples: Mapping[str, Sequence[float]], base: str) -> dict[str, Estimate]:
    """Each callable's time as a share of `base`'s in the same round."""
    return {
        name: estimate(name, [value / reference for value, reference in zip(values, samples[base], strict=True)])
        for name, values in samples.items()
    }


def print_table(samples: Mapping[str, Sequence[float]], base: str) -> None:
    """Median ms and ratio to `base`, aligned."""
    ratios = ratio_table(samples, base)
    width = max(map(len, samples))
    print(f"{'':{width}}  {'ms':>26}  {'x ' + base:>24}")
    for name, values in samples.items():
        print(f"{name:{width}}  {estimate(name, values).text(1):>26}  {ratios[name].text():>24}")


def print_bar(what: str, found: Estimate, bar: float, *, aim: float | None = None, digits: int = 3) -> str:
    """Says whether `found` keeps to at most `bar`: met or missed only where its whole interval says so."""
    verdict = "met" if within(found, bar) else "unknown: too few rounds or too much noise"
    if found.low is not None and found.low > bar:
        verdict = "missed"
    aimed = "" if aim is None else f"; aim {aim:g}: {'met' if within(found, aim) else 'not shown'}"
    print(f"bar: {what} at most {bar:g}: {verdict} ({found.text(digits)}){aimed}")
    return verdict


def within(found: Estimate, bar: float) -> bool:
    """Whether the whole interval is at most `bar`."""
    return found.high is not None and found.high <= bar


def arguments(description: str, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=positive, default=rounds, help="timed rounds (default %(default)s)")
    parser.add_argument("--threads", type=positive, default=None, help="PyTorch's threads (default: PyTorch's choice)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="also write all samples there")
    return parser


def positive(text: str) -> int:
    """For argparse: an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def size(text: str) -> tuple[int, int]:
    """For argparse: `600x1000` as height and width."""
    height, width = text.split("x")
    return positive(height), positive(width)


def machine_facts(threads: int | None, packages: Sequence[str]) -> dict[str, str]:
    """What the figures depend on; the load average tells a shared machine from an idle one."""
    machine = describe_machine(threads=threads or 1, gpu=None)
    facts = {
        "cpu": f"{machine.cpu}, {machine.logical_cores} logical cores",
        "threads": "none of PyTorch's" if threads is None else str(threads),
        "load_at_start": f"{os.getloadavg()[0]:.2f}",
        "python": machine.python,
    }
    return facts | {name: metadata.version(name) for name in packages}


def print_facts(facts: Mapping[str, str], rounds: int, warmup: int) -> None:
    """One line of machine facts, one on how to read the figures."""
    print("; ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"{rounds} interleaved rounds after {warmup} of warm-up; {INTERVAL_NOTE}")


def write_json(
    path: Path | None,
    *,
    script: str,
    facts: Mapping[str, str],
    samples_ms: Mapping[str, Sequence[float]],
    ratios: Sequence[Estimate],
    verdicts: Mapping[str, str],
) -> None:
    """Everything that was measured, raw samples included; does nothing without a path."""
    if path is None:
        return
    content = {
        "version": 1,
        "script": script,
        "machine": dict(facts),
        "samples_ms": {name: list(values) for name, values in samples_ms.items()},
        "ratios": [asdict(ratio) for ratio in ratios],
        "verdicts": dict(verdicts),
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
