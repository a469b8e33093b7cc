"""How soon the command line answers: wall time of `vlbench --help` and `vlbench list`, each a process of its own.

    python -m benchmarks.harness.cli_start [--rounds N] [--json FILE]

Beside them stands the interpreter that does nothing, below which no command written in Python can go.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from . import interleaved

WARMUP = 2
BAR_MS = 300.0
FLOOR = "python -c pass"
COMMANDS = {"vlbench --help": ["--help"], "vlbench list": ["list"]}


def call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs to the end with its output caught, as a terminal would wait for it."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def main() -> int:
    options = interleaved.arguments("Wall time of vlbench --help and vlbench list.", rounds=20).parse_args()
    if options.threads:
        print("--threads changes nothing here: no command that is timed computes with PyTorch")
    facts = interleaved.machine_facts(None, ["vlbench", "typer"])
    interleaved.print_facts(facts, options.rounds, WARMUP)

    program = Path(sys.executable).with_name("vlbench")
    callables: dict[str, Callable[[], object]] = {FLOOR: partial(call, [sys.executable, "-c", "pass"])}
    verdicts = {}
    for name, words in COMMANDS.items():
        reason = failure([str(program), *words])
        if reason:
            print(f"{name} cannot be timed: {reason}")
            verdicts[name] = "unknown: it does not run"
        else:
            callables[name] = partial(call, [str(program), *words])
    samples = interleaved.interleave(callables, options.rounds, WARMUP)

    interleaved.print_table(samples, FLOOR)
    for name in COMMANDS:
        if name in samples:
            found = interleaved.estimate(name, samples[name])
            verdicts[name] = interleaved.print_bar(f"{name}, ms,", found, BAR_MS, digits=0)
        else:
            print(f"bar: {name}, ms, at most {BAR_MS:g}: {verdicts[name]}")
    interleaved.write_json(
        options.json,
        script="cli_start",
        facts=facts,
        samples_ms=samples,
        ratios=list(interleaved.ratio_table(samples, FLOOR).values()),
        verdicts={f"{name} <= {BAR_MS:g} ms": verdict for name, verdict in verdicts.items()},
    )
    return 0


def failure(command: Sequence[str]) -> str:
    """Why a command cannot be timed; empty where it runs."""
    try:
        done = call(command)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return "it took more than 60 s"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines()
    return f"exit code {done.returncode}{': ' + said[-1] if said else ''}"


if __name__ == "__main__":
    sys.exit(main())
