"""What a worker measures: the model of a cell, or a user's function, prepared in this process and run once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vlbench.architectures.build import AnyModel, build
from vlbench.architectures.huggingface_stages import Stage
from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.inputs import Example, padded_ids, pixels
from vlbench.measuring.counters import tensors_of
from vlbench.measuring.gpu import probe
from vlbench.measuring.latency import PassTimer, l2_flush
from vlbench.measuring.memory import PeakMemory
from vlbench.measuring.peaks import DTYPES, device_gflops_per_second, device_gigabytes_per_second
from vlbench.runner.aggregate import now
from vlbench.runner.backends import load_backend, model_precision
from vlbench.runner.cells import L2, Cell
from vlbench.runner.conversion import Inputs, Target, Workload
from vlbench.runner.examples import calibration_inputs, pass_of
from vlbench.runner.peaks import Peaks, Setting
from vlbench.specs import RANDOM, HuggingFaceSpec, ModuleSpec
from vlbench.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmWorkload:
    """Something that ran once and can be timed.

    Attributes:
        first_ms: of the first pass.
        load: what a detector carried in it; None for other models.
        invalid: why its latency would be meaningless; None if it is valid.
    """

    timer: PassTimer
    first_ms: float
    peak_memory_bytes: int
    load: dict[str, int] | None = None
    invalid: str | None = None


def measure_peaks(setting: Setting) -> Peaks:
    """The machine's peaks, under the same settings of PyTorch as a cell. Takes 2 to 4 seconds."""
    set_up_torch(setting.threads)
    device, dtype = torch.device(setting.device), DTYPES[setting.precision]
    with torch.inference_mode():
        return Peaks(
            **setting._asdict(),
            gflops_per_second=device_gflops_per_second(device, dtype),
            gigabytes_per_second=device_gigabytes_per_second(device, dtype),
            machine=probe(setting.threads),
            measured_at=now(),
            vlbench_version=__version__,
        )


def set_up_torch(threads: int) -> None:
    """Sets PyTorch's threads, and makes fp32 exact: without TF32. For every process that computes."""
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def timer_of(forward: Callable[[], object], stages: dict[str, nn.Module], device: torch.device, l2: L2) -> PassTimer:
    """Call it once the peak of the memory is known: a cold cache takes a buffer."""
    timer = PassTimer(forward, stages, device)
    if l2 == "cold":
        timer.before = l2_flush(device)
    return timer


def prepare(cell: Cell, watch: StopWatch, folder: Path | None = None) -> WarmWorkload:
    """Builds a cell's model, has its backend convert it, and runs one pass; in a fresh process, as memory adds up.

    Args:
        folder: where its converted model is, if a backend converts it.
    """
    set_up_torch(cell.threads)
    if isinstance(cell.spec, ModuleSpec):
        from vlbench.architectures.module_sources import import_maker  # noqa: PLC0415  imports transformers

        import_maker(cell.spec)
    memory = PeakMemory(torch.device(cell.device))
    watch.step("build")
    workload = build_workload(cell, folder)
    if cell.spec.weights_label != RANDOM:
        memory.forget()
    return warm(workload, cell, memory, watch)


def warm(workload: Workload, cell: Cell, memory: PeakMemory, watch: StopWatch) -> WarmWorkload:
    """Has the cell's backend convert a workload, and runs one pass."""
    backend = load_backend(cell.backend)
    if cell.is_converted:
        watch.step("convert")
    with torch.no_grad():
        prepared = backend.prepare(workload)
    if cell.is_converted:
        prepared.release_weights(workload.model)
        memory.forget()
    watch.step("first_pass")
    output: list[Any] = []
    first_ms = PassTimer(lambda: output.append(prepared.forward()), {}, workload.device).first()
    peak_memory_bytes = memory.read_bytes()
    return WarmWorkload(
        timer=timer_of(prepared.forward, dict(prepared.stages), workload.device, cell.l2),
        first_ms=first_ms,
        peak_memory_bytes=peak_memory_bytes,
        load=workload.model.load or None,
        invalid=why_invalid(workload.model, workload.inputs[1], output[0]),
    )


def build_workload(cell: Cell, folder: Path | None = None) -> Workload:
    """A cell's model with its weights, and the example in a batch, on the cell's device and in its precision.

    Args:
        folder: where what was converted is kept; None where nothing will be.
    """
    device = torch.device(cell.device)
    model: Any = build(cell.spec).eval()
    if isinstance(cell.spec, ModuleSpec):
        model = model.for_batch(cell.batch)
    dtype = dtype_of(cell)
    # An external module that has this precision may have parts in another.
    model = model.to(device) if getattr(model, "dtype", None) is dtype else model.to(device=device, dtype=dtype)
    return workload_with(model, prepare_batch(cell), cell, folder)


def dtype_of(cell: Cell) -> torch.dtype:
    """Of the model that its backend is given."""
    return DTYPES[model_precision(cell.backend, cell.precision)]


def workload_with(model: AnyModel, inputs: Inputs, cell: Cell, folder: Path | None = None) -> Workload:
    """A built model and its inputs."""
    calibrated = cell.precision == "int8-static"
    return Workload(
        model=model,
        inputs=inputs,
        forward=pass_of(model, inputs),
        device=torch.device(cell.device),
        stages=model.stages(),
        convertible=convertible_of(model),
        target=Target(
            precision=cell.precision, scope=cell.scope, threads=cell.threads, folder=folder or Path(os.devnull)
        ),
        calibration=[pass_of(model, some) for some in calibration_inputs(cell.spec, inputs)] if calibrated else (),
    )


def convertible_of(model: AnyModel) -> dict[str, tuple[nn.Module, ...]]:
    """The modules of each stage that has no stage within it."""
    stages = model.stages()
    innermost = {
        name: stage for name, stage in stages.items() if not any(other.startswith(f"{name}.") for other in stages)
    }
    return {name: stage.parts if isinstance(stage, Stage) else (stage,) for name, stage in innermost.items()}


def prepare_batch(cell: Cell) -> Inputs:
    """The example, repeated to the batch size, on the cell's device and in its precision. A pair is one image twice."""
    return prepare_text(cell), prepare_images(cell, cell.batch * cell.spec.images)


def prepare_text(cell: Cell, tokenize: Callable[[str], list[int]] | None = None) -> Text | None:
    """The text, repeated to the batch size; None for a model without text. Ids as of `padded_ids`."""
    if cell.spec.text is None:
        return None
    ids, real = padded_ids(cell.text, cell.spec, tokenize)
    padding = len(ids) - real
    ids_L = torch.tensor(ids, device=cell.device)
    mask_L = torch.tensor([True] * real + [False] * padding, device=cell.device)
    repeated = (cell.batch, -1)
    return Text(ids=ids_L.expand(repeated), mask=mask_L.expand(repeated) if padding else None)


def prepare_images(cell: Cell, count: int) -> Images | RegionFeatures | None:
    """The image, read once and repeated; or features drawn from a seed, for a model that reads features; None for a
    module that reads no image."""
    if isinstance(cell.spec, ModuleSpec) and not cell.spec.reads_pixels:
        return None
    spec, dtype = cell.spec, dtype_of(cell)
    if isinstance(spec, HuggingFaceSpec):
        from vlbench.architectures.huggingface import random_images  # noqa: PLC0415  transformers is slow to import

        if spec.features:
            return random_images(spec, count, cell.device, dtype)
    example = Example(image=cell.image, image_sha256=cell.image_sha256, text=cell.text)
    image_3HW = torch.from_numpy(pixels(example, spec.input)).to(cell.device, dtype)
    return Images(pixels=image_3HW.expand(count, -1, -1, -1).contiguous(), sizes=(spec.input.image_size,) * count)


def why_invalid(model: AnyModel, images: Images | RegionFeatures | None, output: Any) -> str | None:
    """Why the latency of this forward pass would be meaningless; None if it is valid."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors_of(output) if tensor.is_floating_point()):
        return "the output is not finite"
    declared, carried = model.declared_load(images), model.load  # type: ignore[arg-type]
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
