"""How long a command takes to start, in CPU time, as a ratio to importing its libraries."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence

LIBRARIES = (sys.executable, "-c", "import typer, pydantic, rich.table")
HEAVY = {"torch", "torchvision", "transformers", "numpy", "pandas", "scipy", "matplotlib"}


def cpu_seconds(command: Sequence[str]) -> float:
    """User and system time of a command that succeeds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start_up_ratio(*arguments: str, bar: float) -> float:
    """CPU time of `vlbench ARGUMENTS` over that of its libraries: the best of each in interleaved rounds.

    As other programs can only add to it, further rounds are run, up to 15, while the ratio is above the bar.
    """
    command = (
        sys.executable,
        "-c",
        "from vlbench.cli.main import main; main()",
        *arguments,
    )  # as `vlbench` is installed
    ours, libraries = [], []
    for rounds in range(1, 16):
        ours.append(cpu_seconds(command))
        libraries.append(cpu_seconds(LIBRARIES))
        if rounds >= 3 and min(ours) <= bar * min(libraries):
            break
    return min(ours) / min(libraries)


def imported_by(*arguments: str) -> set[str]:
    """The top-level packages that `vlbench ARGUMENTS` has imported at its end."""
    code = f"""
import sys
from vlbench.cli.main import app
assert app(args={list(arguments)!r}, standalone_mode=False) in (None, 0)
print(*{{name.partition(".")[0] for name in sys.modules}}, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())
