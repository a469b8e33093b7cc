"""The process that measures one cell: reads a job on standard input, answers in lines of JSON on standard output.

`python -m vlbench.running.worker`. Whatever else a library prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

import torch

from vlbench.architectures.counts import count
from vlbench.architectures.model import VLModel, build
from vlbench.architectures.tokens import Images, Text
from vlbench.inputs import Example, pixels, token_ids
from vlbench.measure.counting import UnknownOperatorError
from vlbench.measure.latency import measure_latency
from vlbench.measure.machine import Machine, describe_machine
from vlbench.measure.memory import PeakMemory
from vlbench.measure.statistics import summarise
from vlbench.running.cells import Cell, Result, WarmUp, blank_result

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def probe(threads: int) -> Machine:
    """What this machine is, with its GPU if PyTorch sees one."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return describe_machine(threads=threads, gpu=gpu)


def measure(cell: Cell, report: Callable[[str, int], None] = lambda phase, samples: None) -> Result:
    """Measures a cell in this process, which ought to be a fresh one: memory, load, counts, then latency."""
    torch.set_num_threads(cell.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
    machine = probe(cell.threads)
    device = torch.device(cell.device)
    watch = _StopWatch(report)
    memory = PeakMemory(device)

    watch.step("build")
    model = build(cell.spec).eval().to(device=device, dtype=DTYPES[cell.precision])
    text, images = prepare_batch(cell)

    watch.step("first pass")

    def forward() -> torch.Tensor:
        return model(text, images)

    with torch.inference_mode():
        output = forward()
    peak_memory_bytes = memory.read_bytes()
    found: dict[str, Any] = {
        "peak_memory_bytes": peak_memory_bytes,
        "load": model.load or None,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    reason = why_invalid(model, images, output)
    if reason:
        return blank_result(cell, machine, status="invalid", error=reason, seconds_by_step=watch.spent(), **found)

    watch.step("count")
    found |= count(cell.spec, batch=cell.batch).model_dump(exclude={"text_tokens"})

    watch.step("latency")
    latency = measure_latency(forward, model.stages(), device=device, budget_seconds=cell.budget_seconds, report=report)
    found |= {
        "latency_ms": summarise(latency.end_to_end),
        "latency_ms_by_stage": {name: summarise(samples) for name, samples in latency.by_stage.items()},
        "warm_up": WarmUp(n=len(latency.warm_up), steady=latency.steady),
    }
    return blank_result(cell, machine, status="ok", seconds_by_step=watch.spent(), **found)


def prepare_batch(cell: Cell) -> tuple[Text | None, Images]:
    """The example, repeated to the batch size, on the cell's device and in its precision."""
    example = Example(image=cell.image, image_sha256=cell.image_sha256, text=cell.text)
    image_3HW = torch.from_numpy(pixels(example, cell.spec.input)).to(cell.device, DTYPES[cell.precision])
    images = Images(
        pixels=image_3HW.expand(cell.batch, -1, -1, -1).contiguous(), sizes=(cell.spec.input.image_size,) * cell.batch
    )
    if cell.spec.text is None:
        return None, images
    ids = token_ids(cell.text, cell.spec.text.vocabulary)
    padding = cell.spec.input.text_tokens - len(ids)
    ids_L = torch.tensor(ids + [0] * padding, device=cell.device)
    mask_L = torch.tensor([True] * len(ids) + [False] * padding, device=cell.device)
    repeated = (cell.batch, -1)
    text = Text(ids=ids_L.expand(repeated), mask=mask_L.expand(repeated) if padding else None)
    return text, images


def why_invalid(model: VLModel, images: Images, output: torch.Tensor) -> str | None:
    """Why the time of this forward pass would mean nothing; None where it would."""
    if not torch.isfinite(output).all():
        return "the output is not finite"
    declared, carried = model.declared_load(images), model.load
    short = [
        f"{name} {carried.get(name, 0)} of {least}" for name, least in declared.items() if carried.get(name, 0) < least
    ]
    return f"the declared load was not met: {', '.join(short)}" if short else None


class _StopWatch:
    """Seconds spent in each step, told as they begin."""

    def __init__(self, report: Callable[[str, int], None]) -> None:
        self.report = report
        self.begun: list[tuple[str, float]] = []

    def step(self, name: str) -> None:
        self.begun.append((name, time.monotonic()))
        self.report(name, 0)

    def spent(self) -> dict[str, float]:
        ends = [start for _, start in self.begun[1:]] + [time.monotonic()]
        return {name: round(end - start, 3) for (name, start), end in zip(self.begun, ends, strict=True)}


def main() -> None:
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = json.load(sys.stdin)
    try:
        if job["action"] == "probe":
            torch.set_num_threads(job["threads"])
            _reply(replies, machine=probe(job["threads"]).model_dump(mode="json"))
            return
        cell = Cell.model_validate(job["cell"])
        result = measure(cell, lambda phase, samples: _reply(replies, phase=phase, samples=samples))
        _reply(replies, result=result.model_dump(mode="json", by_alias=True))
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        _reply(replies, failed=f"out of memory: {_first_line(error)}")
    except UnknownOperatorError as error:
        _reply(replies, failed=_first_line(error))
    except RuntimeError as error:
        oom = "DefaultCPUAllocator: can't allocate memory" in str(error)
        _reply(replies, failed=f"{'out of memory' if oom else type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _reply(replies: TextIO, **message: Any) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
