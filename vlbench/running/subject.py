"""What a worker measures: a model of a cell, built in this process and passed once."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from vlbench.architectures.model import VLModel, build
from vlbench.architectures.tokens import Images, Text
from vlbench.inputs import Example, pixels, token_ids
from vlbench.measure.latency import PassTimer
from vlbench.measure.memory import PeakMemory
from vlbench.running.cells import Cell

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something to time. `invalid` says why its time would mean nothing; None where it would."""

    timer: PassTimer
    first_ms: float
    peak_memory_bytes: int
    load: dict[str, int] | None
    invalid: str | None


def prepare(cell: Cell, watch: StopWatch) -> Subject:
    """Builds a cell's model with random weights and runs one pass of it. Best in a fresh process: memory adds up."""
    torch.set_num_threads(cell.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
    device = torch.device(cell.device)
    memory = PeakMemory(device)
    watch.step("build")
    model = build(cell.spec).eval().to(device=device, dtype=DTYPES[cell.precision])
    text, images = prepare_batch(cell)
    watch.step("first pass")
    output: list[torch.Tensor] = []
    timer = PassTimer(lambda: output.append(model(text, images)), {}, device)
    first_ms = timer.first()
    return Subject(
        timer=PassTimer(lambda: model(text, images), model.stages(), device),
        first_ms=first_ms,
        peak_memory_bytes=memory.read_bytes(),
        load=model.load or None,
        invalid=why_invalid(model, images, output[0]),
    )


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


class StopWatch:
    """Seconds spent in each step."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []

    def step(self, name: str) -> None:
        self.begun.append((name, time.monotonic()))

    def spent(self) -> dict[str, float]:
        ends = [start for _, start in self.begun[1:]] + [time.monotonic()]
        return {name: round(end - start, 3) for (name, start), end in zip(self.begun, ends, strict=True)}
