"""The process that measures: reads a job on standard input, answers in lines of JSON on standard output.

`python -m vlbench.running.worker`. Whatever else a library prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TextIO

import torch

from vlbench.architectures.counts import count
from vlbench.architectures.detector import spread_boxes
from vlbench.architectures.model import VLModel, build
from vlbench.architectures.suppression import METHODS
from vlbench.architectures.tokens import Images, Text
from vlbench.inputs import Example, pixels, token_ids
from vlbench.measure.counting import UnknownOperatorError
from vlbench.measure.latency import measure_latency
from vlbench.measure.machine import Machine, describe_machine
from vlbench.measure.memory import PeakMemory
from vlbench.measure.statistics import summarise
from vlbench.running.cells import Cell, Result, WarmUp, blank_result
from vlbench.running.suppressions import SuppressionCell, SuppressionResult, suppression_result
from vlbench.specs import ModelSpec

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


def suppress(cell: SuppressionCell, report: Callable[[str, int], None]) -> SuppressionResult:
    """Times each method on the same boxes and scores, which leave out the background, the last of a softmax."""
    torch.set_num_threads(cell.threads)
    device = torch.device(cell.device)
    generator = torch.Generator().manual_seed(0)
    scores_NC = torch.randn(cell.boxes, cell.classes + 1, generator=generator).mul(3).softmax(1)[:, :-1]
    scores_NC, boxes_N4 = scores_NC.contiguous().to(device), spread_boxes(cell.boxes, 600, 1000).to(device)
    latency_ms = {}
    for name, method in METHODS.items():
        samples = measure_latency(
            partial(method, boxes_N4, scores_NC, cell.iou),
            {},
            device=device,
            budget_seconds=cell.budget_seconds / len(METHODS),
            report=lambda phase, samples, name=name: report(f"{name}, {phase}", samples),  # type: ignore[misc]
        ).end_to_end
        latency_ms[name] = summarise(samples)
    measured_at = datetime.now(UTC).isoformat(timespec="seconds")
    return suppression_result(cell, probe(cell.threads), measured_at, latency_ms)


def main() -> None:
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = json.load(sys.stdin)
    reply = partial(_reply, replies)
    try:
        ACTIONS[job["action"]](job, reply)
    except FAILURES as error:
        reply(failed=_why(error))


def _answer_probe(job: dict[str, Any], reply: Callable[..., None]) -> None:
    torch.set_num_threads(job["threads"])
    reply(machine=probe(job["threads"]).model_dump(mode="json"))


def _answer_measure(job: dict[str, Any], reply: Callable[..., None]) -> None:
    result = measure(Cell.model_validate(job["cell"]), lambda phase, samples: reply(phase=phase, samples=samples))
    reply(result=result.model_dump(mode="json", by_alias=True))


def _answer_count(job: dict[str, Any], reply: Callable[..., None]) -> None:
    """All counts at the end, in the order asked for; the reason in place of what cannot be counted."""
    counts: list[dict[str, Any] | str] = []
    for wanted in job["jobs"]:
        spec = ModelSpec.model_validate(wanted["spec"])
        reply(phase=spec.name, samples=0)
        try:
            counts.append(count(spec, batch=wanted["batch"]).model_dump(mode="json"))
        except FAILURES as error:
            counts.append(_why(error))
    reply(counts=counts)


def _answer_each(kind: type[Any], one: Callable[..., Any], job: dict[str, Any], reply: Callable[..., None]) -> None:
    """Each result as it comes, as `found`; the reason in place of one that fails."""
    for content in job["cells"]:
        cell = kind.model_validate(content)
        try:
            result = one(cell, lambda phase, samples: reply(phase=phase, samples=samples))
            found = result.model_dump(mode="json", by_alias=True)
        except FAILURES as error:
            found = _why(error)
        reply(phase="kept", samples=0, found=found)
    reply(done=True)


def _measure_among_others(cell: Cell, report: Callable[[str, int], None]) -> Result:
    """A measurement in a process that has run others: its peak memory would be theirs too."""
    return measure(cell, report).model_copy(update={"peak_memory_bytes": None})


ACTIONS: dict[str, Callable[[dict[str, Any], Callable[..., None]], None]] = {
    "probe": _answer_probe,
    "measure": _answer_measure,
    "measure_together": partial(_answer_each, Cell, _measure_among_others),
    "suppress": partial(_answer_each, SuppressionCell, suppress),
    "count": _answer_count,
}

FAILURES = (RuntimeError, MemoryError, UnknownOperatorError)  # RuntimeError: also PyTorch's own out of memory


def _why(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    oom = isinstance(error, torch.cuda.OutOfMemoryError | MemoryError)
    if oom or "DefaultCPUAllocator: can't allocate memory" in str(error):
        return f"out of memory: {first}"
    return first if isinstance(error, UnknownOperatorError) else f"{type(error).__name__}: {first}"


def _reply(replies: TextIO, **message: Any) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
