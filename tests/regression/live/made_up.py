"""A worker whose speeds are made up, and git repositories whose revisions each have one of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlbench.measuring.machine import describe_machine
from vlbench.runner.schemas import PROTOCOL

# Answers as a worker does. Each process draws a speed of -17%, 0 or +17% and each pass a noise of 1%; `until` says how
# many processes are slower by `factor` before the rest run at par.
FAKE = """
import json, os, random, sys, time
plan = json.loads(sys.argv[1] if len(sys.argv) > 1 else open(__file__ + ".json").read())
source = random.Random(plan["seed"])
machine = json.loads(plan["machine"])
begun = 0
def say(**message): print(json.dumps(message), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if "end" in job:
        say(interference=plan["interference"]); say(ended=0)
    elif "members" in job:
        if os.getpid() not in job["members"]:
            sys.exit("the processes that take turns are not named")
    elif "end_to_end" in job:
        def passes(ms, count): return [ms * source.gauss(1, 0.01) for _ in range(count)]
        stages = {name: passes(share * 10 * speed * (factor if name == plan["stage"] else 1), job["by_stage"])
                  for name, share in (("visual", 0.3), ("interaction", 0.7))}
        whole = sum(stages[name][0] for name in stages)
        stages["total"] = [sum(parts) for parts in zip(*stages.values())]
        say(latency_ms=passes(whole, job["end_to_end"]), latency_ms_by_stage=stages)
    elif job["action"] == "serve_blocks":
        converts = job["workload"]["settings"].get("backend", "eager") != "eager"
        if converts != os.path.isdir(job["workload"]["folder"]):
            sys.exit("converted without need, or not at all")
        speed = source.choice(plan["speeds"])
        name = job["workload"].get("callable")
        if name in plan.get("refused", []):
            say(refused=f"--callable {name}: no such function"); say(ended=0)
            continue
        if name in plan.get("deadly", []):
            sys.exit("no luck")
        factor = plan["factor"] if begun < plan["until"] else 1
        factor *= plan.get("factors", {}).get(name, 1)
        begun += 1
        time.sleep(plan.get("seconds", 0))
        say(ready={"pass_ms": 10.0, "steady": True, "peak_memory_bytes": plan["peak"], "pid": os.getpid(),
                   "device": plan.get("device", "cpu")})
    elif job["action"] == "probe":
        say(machine=machine); say(ended=0)
    elif job["action"] == "convert":
        os.makedirs(job["folder"])
        say(conversion={"options": {"folder": job["folder"]}}, **plan.get("conversion", {})); say(ended=0)
    elif job["action"] == "describe":
        say(**plan["described"] | {"machine": machine}) if "described" in plan else say(refused="no model 'vlit'")
        say(ended=0)
"""

PLAN: dict[str, Any] = {
    "seed": "any",
    "speeds": [1],
    "factor": 1,
    "until": 1000,
    "stage": "visual",
    "peak": 100_000_000,
    "interference": {"wall_seconds": 1.0, "cpu_seconds": 1.0, "cores": 2, "other_processes_cores": 0.0},
}


class Repository:
    """A git repository in a folder, made step by step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        for key, value in (("user.name", "A"), ("user.email", "a@b"), ("commit.gpgsign", "false")):
            self.git("config", key, value)

    def git(self, *arguments: str) -> str:
        process = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=self.folder)
        return process.stdout.strip()

    def commit(self, message: str) -> str:
        """Commits whatever lies there, and gives the hash."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def plan(
        self, message: str, *, refused: Sequence[str] = (), broken: bool = False, seconds: float = 0, **factors: float
    ) -> str:
        """A commit with a made-up vlbench, for whose worker 30% of `mine:NAME` take so many times what they took."""
        for name in ("vlbench/__init__.py", "vlbench/runner/__init__.py"):
            self.write(name, "")
        self.write("vlbench/runner/schemas.py", f"PROTOCOL = {PROTOCOL}\n")
        self.write("vlbench/runner/worker.py", "import nothing_of_the_kind\n" if broken else FAKE)
        machine = describe_machine(threads=1, gpu=None).model_dump_json()
        named = {f"mine:{name}": factor for name, factor in factors.items()}
        plan = {
            **PLAN,
            "machine": machine,
            "refused": [f"mine:{name}" for name in refused],
            "factors": named,
            "seconds": seconds,
        }
        self.write("vlbench/runner/worker.py.json", json.dumps(plan))
        return self.commit(message)

    def worktrees(self) -> list[str]:
        return self.git("worktree", "list").splitlines()
