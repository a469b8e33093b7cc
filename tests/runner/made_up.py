"""Cells of a tiny model, and a worker that computes nothing: it numbers the restarts that it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

from vlbench.inputs import read_example
from vlbench.measuring.machine import describe_machine
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.worker_client import Worker
from vlbench.specs.catalog import catalog

MACHINE = describe_machine(threads=1, gpu=None)
SPEC = catalog()["vit-b16"].tiny()
RESTARTS, CELLS = 6, 4

# A worker that takes 20 ms a restart, writes down each that it begins, and numbers them so that none can hide twice.
WORKER = """
import json, os, sys, time
for line in sys.stdin:
    job = json.loads(line)
    if job["action"] == "probe":
        print(json.dumps({"machine": MACHINE}))
    elif job["action"] == "count":
        print(json.dumps({"counts": [COUNTS] * len(job["jobs"])}))
    elif job["action"] == "peaks":
        print(json.dumps({"failed": "no peaks here"}))
    else:
        begun = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(begun, b".")
        number = os.fstat(begun).st_size
        os.close(begun)
        time.sleep(0.02)
        restart = {"latency_ms": [number], "warm_up": {"n": 1, "steady": True}, "measured_at": "now"}
        print(json.dumps({"restart": restart}), flush=True)
    print(json.dumps({"ended": 0}), flush=True)
"""
COUNTS = {
    "image_tokens": 1,
    "text_tokens": 0,
    "params_total": 1,
    "params_trainable": 1,
    "params_by_stage": {},
    "macs": 1,
    "macs_by_stage": {},
    "flops": 2,
    "operators": 1,
}


def cells() -> list:
    settings = [RunSettings(threads=1, device="cpu", batch=batch, restarts=RESTARTS) for batch in range(1, 1 + CELLS)]
    return [expand([SPEC], read_example(None, None), one, MACHINE)[0] for one in settings]


def fake_worker(folder: Path) -> Worker:
    script = WORKER.replace("COUNTS", repr(COUNTS)).replace("MACHINE", repr(MACHINE.model_dump(mode="json")))
    return Worker(1, command=[sys.executable, "-u", "-c", script, str(folder / "begun")])
