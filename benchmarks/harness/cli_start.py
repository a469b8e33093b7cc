"""How soon the command line answers: wall time of `vlbench --help`, `list` and `compare`, each a process of its own.

    python -m benchmarks.harness.cli_start [--rounds N] [--json FILE]

Next to them stand the interpreter that does nothing, below which no command written in Python can go, and the import
of the libraries that the command line is built on.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from . import interleaved

WARMUP = 2
BARS_MS = {"vlbench --help": 300.0, "vlbench list": 300.0, "vlbench compare": 500.0}
FLOOR = "python -c pass"
LIBRARIES = "python -c 'import typer, pydantic, rich.table'"
RESULTS = str(Path(__file__).parents[2] / "results" / "epyc-2-cores")
COMMANDS = {
    "vlbench --help": ["--help"],
    "vlbench list": ["list"],
    "vlbench compare": ["compare", RESULTS, RESULTS],
}
ANSWERED = (0, 3)  # `compare` ends with 3 where it cannot tell


def call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs to the end with its output caught, as a terminal would wait for it."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def main() -> int:
    options = interleaved.arguments("Wall time of vlbench --help, list and compare.", rounds=20).parse_args()
    if options.threads:
        print("--threads changes nothing here: no command that is timed computes with PyTorch")
    facts = interleaved.machine_facts(None, ["vlbench", "typer"])
    interleaved.print_facts(facts, options.rounds, WARMUP)

    program = [sys.executable, "-c", "from vlbench.cli.main import main; main()"]  # as `vlbench` is installed
    callables: dict[str, Callable[[], object]] = {
        FLOOR: partial(call, [sys.executable, "-c", "pass"]),
        LIBRARIES: partial(call, [sys.executable, "-c", "import typer, pydantic, rich.table"]),
    }
    verdicts = {}
    for name, words in COMMANDS.items():
        reason = failure([*program, *words])
        if reason:
            print(f"{name} cannot be timed: {reason}")
            verdicts[name] = "unknown: it does not run"
        else:
            callables[name] = partial(call, [*program, *words])
    samples = interleaved.interleave(callables, options.rounds, WARMUP)

    interleaved.print_table(samples, FLOOR)
    interleaved.print_table({name: times for name, times in samples.items() if name != FLOOR}, LIBRARIES)
    for name in COMMANDS:
        if name in samples:
            found = interleaved.estimate(name, samples[name])
            verdicts[name] = interleaved.print_bar(f"{name}, ms,", found, BARS_MS[name], digits=0)
        else:
            print(f"bar: {name}, ms, at most {BARS_MS[name]:g}: {verdicts[name]}")
    interleaved.write_json(
        options.json,
        script="cli_start",
        facts=facts,
        samples_ms=samples,
        ratios=list(interleaved.ratio_table(samples, LIBRARIES).values()),
        verdicts={f"{name} <= {BARS_MS[name]:g} ms": verdict for name, verdict in verdicts.items()},
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
    if done.returncode in ANSWERED:
        return ""
    said = done.stderr.strip().splitlines()
    return f"exit code {done.returncode}{': ' + said[-1] if said else ''}"


if __name__ == "__main__":
    sys.exit(main())
