"""What `vlbench run` loses when it is killed: kill -9 of the command or of its measuring process, at random moments.

    python -m benchmarks.harness.kills [--kills N] [--seed N] [--json FILE]

Tiny copies of four models are measured into one folder. A run is killed, another goes on where it ended, until the
cells are finished; then the next folder, until so many kills have struck. Bars: a finished folder has each cell once,
with every restart it was asked for, none told twice; no kill makes the number of restarts on disk fall.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

from vlbench.specs.catalog import catalog

from . import interleaved

MODELS = ("vilt-b32", "pixelbert-r50", "uniter-base", "vit-b16")
RESTARTS = 5
LONGEST_SECONDS = 12.0  # of a run before it is killed; a whole one takes about ten


def main() -> int:
    parser = argparse.ArgumentParser(description="What is lost when a run is killed.")
    parser.add_argument("--kills", type=interleaved.positive, default=50, help="that strike (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    facts = interleaved.machine_facts(1, ("torch",))
    print("; ".join(f"{name} {value}" for name, value in facts.items()))
    source = random.Random(options.seed)
    struck: list[dict] = []
    folders: list[dict] = []
    with tempfile.TemporaryDirectory() as name:
        models = ",".join(str(write_tiny(Path(name), model)) for model in MODELS)
        while len(struck) < options.kills:
            folders.append(one_folder(models, Path(name, f"out-{len(folders)}"), struck, options.kills, source))
            print(f"{len(struck)} kills: {folders[-1]}", flush=True)
            if options.json:
                content = {"version": 1, "script": "kills", "machine": facts, "kills": struck, "folders": folders}
                options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    faults = sum(kill["restarts_after"] < kill["restarts_before"] for kill in struck)
    faults += sum(not one["whole"] for one in folders)
    print(f"bar: {len(struck)} kills, {len(folders)} folders, {faults} faults: {'missed' if faults else 'met'}")
    return 1 if faults else 0


def write_tiny(folder: Path, model: str) -> Path:
    path = folder / f"{model}.yaml"
    path.write_text(yaml.safe_dump(catalog()[model].tiny().model_dump(mode="json", exclude_none=True)))
    return path


def one_folder(models: str, out: Path, struck: list[dict], most: int, source: random.Random) -> dict:
    """Runs into one folder until it is finished, most of them killed and told to `struck`; what the folder then has."""
    command = [sys.executable, "-m", "vlbench", "run", "--models", models, "--device", "cpu", "--threads", "1"]
    command += ["--restarts", str(RESTARTS), "--budget", "4", "--out", str(out)]
    while True:
        before = len(restarts_on_disk(out))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        victim = None
        if len(struck) < most:
            time.sleep(source.uniform(0, LONGEST_SECONDS))
            victim = kill(process.pid, source.choice(("command", "measuring process", "restart")))
        _, said = process.communicate(timeout=600)
        if victim:
            struck.append(
                {
                    "victim": victim,
                    "restarts_before": before,
                    "restarts_after": len(restarts_on_disk(out)),
                    "said": said.replace(str(out), "OUT"),
                }
            )
        elif process.returncode == 0:
            return contents(out)
        elif len(struck) >= most:
            raise RuntimeError(f"a run that nobody killed failed: {said}")


def kill(pid: int, victim: str) -> str | None:
    """Kills the command, the process that it measures with, or that one's child; None where there is none just then."""
    try:
        process = psutil.Process(pid)
        for _ in range(("command", "measuring process", "restart").index(victim)):
            process = process.children()[0]
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        process.send_signal(signal.SIGKILL)
    except (psutil.NoSuchProcess, IndexError):
        return None
    return victim


def restarts_on_disk(out: Path) -> set[str]:
    """What tells restarts apart, of all that whole lines hold, in the results and the journal of unfinished cells."""
    found: set[str] = set()
    for path in (out / "cells.jsonl", out / "cells.unfinished.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                content = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut off in the middle
            found.update(map(identity, content.get("restarts") or filter(None, [content.get("restart")])))
    return found


def identity(restart: dict) -> str:
    """No two restarts end at the same moment with the same samples."""
    return restart["measured_at"] + str(restart["latency_ms"])


def contents(out: Path) -> dict:
    """Whether each cell stands there once, with all its restarts and no restart twice."""
    lines = [json.loads(line) for line in (out / "cells.jsonl").read_text(encoding="utf-8").splitlines()]
    done = [line for line in lines if line["status"] == "ok"]
    told = [identity(one) for line in done for one in line["restarts"]]
    whole = (
        len(done) == len({line["cell_hash"] for line in done}) == len(MODELS)
        and all(len(line["restarts"]) == RESTARTS for line in done)
        and len(told) == len(set(told))
        and not (out / "cells.unfinished.jsonl").exists()
    )
    return {"whole": whole, "cells": len(done), "restarts": len(told), "rows_with_a_reason": len(lines) - len(done)}


if __name__ == "__main__":
    sys.exit(main())
