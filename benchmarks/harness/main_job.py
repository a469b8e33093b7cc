"""Wall time of the README's main command, and how much of it is vlbench's own: imports, building, counting, reporting.

python -m benchmarks.harness.main_job [--budget SECONDS]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = ("run", "--models", "vilt,pixelbert,uniter")
BAR_SECONDS, OVERHEAD_BAR_SECONDS = 300, 60


def main() -> int:
    parser = argparse.ArgumentParser(description="Wall time and overhead of the main command.")
    parser.add_argument("--budget", type=float, default=None, help="as vlbench run's (default: the command's own)")
    options = parser.parse_args()
    budget = () if options.budget is None else ("--budget", str(options.budget))
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        subprocess.run([sys.executable, "-m", "vlbench", *COMMAND, *budget, "--out", folder], check=True)
        wall = time.monotonic() - start
        lines = [json.loads(line) for line in Path(folder, "cells.jsonl").read_text(encoding="utf-8").splitlines()]
    measuring = sum(line["seconds_by_phase"][step] for line in lines for step in ("first_pass", "latency"))
    overhead = wall - measuring
    print(f"wall {wall:.0f} s: {verdict(wall, BAR_SECONDS)}; of it measuring memory and latency {measuring:.0f} s")
    print(f"overhead {overhead:.0f} s: {verdict(overhead, OVERHEAD_BAR_SECONDS)}")
    for line in lines:
        print(f"  {line['model']}: {line['seconds_by_phase']}")
    return 0


def verdict(seconds: float, bar: float) -> str:
    return f"bar {bar:.0f} s {'met' if seconds <= bar else 'missed'}"


if __name__ == "__main__":
    sys.exit(main())
