"""Turns models and settings into cells, and finds those that a results folder already holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from vlbench.errors import InputError
from vlbench.inputs import Example, check_text
from vlbench.measuring.machine import Machine
from vlbench.measuring.records import Precision, Scope
from vlbench.runner.backends import EAGER, check_backend, check_pair, runtime_version, scope_of
from vlbench.runner.cells import L2, Cell
from vlbench.runner.devices import check_device, check_l2, resolve_device
from vlbench.runner.execution import runtime_of
from vlbench.runner.limits import MOST_BATCH, MOST_BUDGET_SECONDS, MOST_RESTARTS, MOST_TEXT_TOKENS, MOST_THREADS
from vlbench.runner.nms_records import SuppressionCell
from vlbench.runner.records import Result
from vlbench.runner.store import Measured, MemoryStore
from vlbench.specs import AnySpec, Size
from vlbench.specs.base import Engine, check_engine
from vlbench.specs.weights import find_weights

LIMITS: dict[str, float] = {
    "batch": MOST_BATCH,
    "text_tokens": MOST_TEXT_TOKENS,
    "threads": MOST_THREADS,
    "budget_seconds": MOST_BUDGET_SECONDS,
    "restarts": MOST_RESTARTS,
}
AnyCell: TypeAlias = Cell | SuppressionCell


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What every cell of a run has in common. Raises InputError if there is no such backend or device, or a number is
    not within its limits."""

    device: str = "auto"
    precision: Precision = "fp32"
    backend: str = EAGER
    scope: Scope = "stages"
    batch: int = 1
    l2: L2 = "warm"
    detector: Engine | None = None
    image_size: Size | None = None
    text_tokens: int | None = None
    threads: int
    budget_seconds: float = 45
    within: float = 0.02
    restarts: int | None = None

    def __post_init__(self) -> None:
        check_backend(self.backend)
        check_device(self.device)
        for name, most in LIMITS.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                raise InputError(f"{name} {value}: not between 0 and {most:,.0f}")


def pairs_of(settings: RunSettings, backends: Sequence[str], precisions: Sequence[Precision]) -> list[RunSettings]:
    """The settings under each backend and precision."""
    return [replace(settings, backend=backend, precision=precision) for backend in backends for precision in precisions]


def supported(settings: Sequence[RunSettings], machine: Machine) -> tuple[list[RunSettings], list[InputError]]:
    """The settings whose backend computes in their precision on their device; and why the others are left out."""
    has_gpu = machine.gpu is not None
    return accepted(
        settings, lambda some: check_pair(some.backend, some.precision, resolve_device(some.device, has_gpu=has_gpu))
    )


def accepted(
    settings: Sequence[RunSettings], check: Callable[[RunSettings], object]
) -> tuple[list[RunSettings], list[InputError]]:
    """The settings for which a check raises no InputError, and those that it raises for the others."""
    usable, refusals = [], []
    for some in settings:
        try:
            check(some)
        except InputError as error:
            refusals.append(error)
        else:
            usable.append(some)
    return usable, refusals


def expand(specs: Sequence[AnySpec], example: Example, settings: RunSettings, machine: Machine) -> list[Cell]:
    """One cell for each model. Raises InputError if a setting does not fit a model or the machine, or weights are
    missing."""
    device = resolve_device(settings.device, has_gpu=machine.gpu is not None)
    check_l2(settings.l2, device)
    check_pair(settings.backend, settings.precision, device)
    cells = []
    for spec in through_engine(specs, settings.detector, settings.precision):
        try:
            fitted = spec.with_input(image_size=settings.image_size, text_tokens=settings.text_tokens)
        except ValueError as error:
            raise InputError(f"{spec.name}: {error}") from error
        check_text(example, fitted)
        _check_memory(fitted, settings.batch, machine)
        find_weights(fitted)
        cells.append(
            Cell(
                spec=fitted,
                image=example.image,
                image_sha256=example.image_sha256,
                text=example.text,
                device=device,
                precision=settings.precision,
                backend=settings.backend,
                scope=scope_of(settings.backend, settings.scope),
                batch=settings.batch,
                l2=settings.l2,
                threads=settings.threads,
                budget_seconds=settings.budget_seconds,
                within=settings.within,
                restarts=settings.restarts,
            )
        )
    return cells


def _check_memory(spec: AnySpec, batch: int, machine: Machine) -> None:
    """Raises InputError if the images of a batch alone are larger than the machine's memory."""
    height, width = spec.input.image_size
    size = batch * 3 * height * width * 4  # channels of fp32
    if size > machine.ram_bytes:
        raise InputError(
            f"--batch {batch}: {batch} images of {height}x{width} pixels for {spec.name} take {size / 2**30:,.0f} GiB, "
            f"and this machine has {machine.ram_bytes / 2**30:,.0f} GiB; a smaller batch or --image-size works"
        )


def through_engine(specs: Sequence[AnySpec], detector: Engine | None, precision: Precision) -> list[AnySpec]:
    """The models, with this engine in each that has a detector.

    Raises InputError if none has a detector, the engine is not installed, or it does not run in this precision.
    """
    if detector and not any(spec.has_detector for spec in specs):
        raise InputError(f"--detector {detector}: none of these models has a detector; --models uniter has one")
    chosen = [spec.with_engine(detector) if detector else spec for spec in specs]
    for spec in chosen:
        check_engine(spec.engine, spec.name)
        if spec.engine == "detectron2" and precision != "fp32":
            raise InputError(
                f"--precision {precision}: {spec.name} runs through Detectron2, whose suppression takes fp32 "
                "alone; leave --precision out, or take the engine torchvision"
            )
    return chosen


def split_measured(
    cells: Sequence[AnyCell], store: MemoryStore[Measured], machine: Machine
) -> tuple[list[AnyCell], list[Measured]]:
    """The cells that are still to be measured, and the stored results of the others, from this machine."""
    kept = {
        result.cell_hash: result
        for result in store.results
        if result.status == "ok" and result.machine.same_hardware_and_software(machine) and _same_runtime(result)
    }
    missing = [cell for cell in cells if cell.hash() not in kept]
    return missing, [kept[cell.hash()] for cell in cells if cell.hash() in kept]


def _same_runtime(result: Measured) -> bool:
    """Whether the runtime that is installed now is the one that converted the model."""
    if not isinstance(result, Result) or result.conversion is None:
        return True
    return result.conversion.runtime == runtime_version(runtime_of(result))
