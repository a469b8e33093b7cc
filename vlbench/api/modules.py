"""`vlbench.measure(module, inputs)`: any module, without a model file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from vlbench.api.measurement import Measurement
from vlbench.errors import InputError, WorkerError
from vlbench.inputs import read_example
from vlbench.measuring.module_counts import ModuleCounts
from vlbench.measuring.records import Precision, Scope
from vlbench.runner.backends import EAGER, check_backend, check_pair, scope_of
from vlbench.runner.benchmark import BenchmarkSession
from vlbench.runner.cells import Cell
from vlbench.runner.records import Result

if TYPE_CHECKING:
    from torch import nn

Process = Literal["auto", "fresh", "this"]


def measure(
    module: nn.Module | Callable[[], Any],
    inputs: Any = None,
    stages: Mapping[str, str | Sequence[str]] | None = None,
    *,
    name: str | None = None,
    precision: Precision | None = None,
    backend: str = EAGER,
    scope: Scope = "stages",
    process: Process = "auto",
    threads: int | None = None,
    budget_seconds: float = 20,
    within: float = 0.02,
    restarts: int | None = None,
) -> Measurement:
    """Measures a module: parameters, MACs, memory and latency, by stage.

    It is measured in fresh processes if such a process can load it, where its latency has an interval, else in this
    one; the result says so. It is in evaluation mode meanwhile, and nothing of it is changed.

    Raises:
        InputError: the forward pass fails, stages name no modules, weights and inputs are on different devices, or
            `backend` does not compute in this precision or in this process.
        WorkerError: the measuring process does not start.

    Args:
        module: on the device where it shall be measured; or a function without arguments that makes it.
        inputs: a tensor, a tuple of positional arguments, a mapping of named ones, or a function that gives one of
            these. None where `module` is a function that gives the module and its inputs.
        stages: names, and the paths of their modules, `*` for any step of a path; by default the outermost children.
        name: by default that of the class.
        precision: by default that of its weights.
        backend: the runtime that executes it; another than eager PyTorch does so in fresh processes alone.
        scope: what a backend converts: each of the stages, or the whole `model`.
        process: `fresh` raises InputError where fresh processes cannot load it, and `this` does not try.
        threads: of PyTorch; by default as many as here.
        budget_seconds: time for all restarts together.
        within: ends when the 95% interval is within this share of the median.
        restarts: exactly this many fresh processes.
    """
    from vlbench.runner.in_process import LiveModule, import_path  # noqa: PLC0415  imports transformers

    if isinstance(module, str | Path):
        named = repr(str(module))
        raise InputError(f"{named} is no module; vlbench.load({named}).measure() measures what it names")
    check_backend(backend)
    if process == "this" and backend != EAGER:
        raise InputError(f"backend={backend!r}: changes the module, so that process='this' cannot use it; 'fresh' can")
    live = LiveModule(module, inputs, stages, name)
    check_pair(backend, precision or live.precision, live.device)
    example = read_example(None, None)
    cell = Cell(
        spec=live.spec,
        image=example.image,
        image_sha256=example.image_sha256,
        text=example.text,
        device=live.device,
        precision=precision or live.precision,
        backend=backend,
        scope=scope_of(backend, scope),
        batch=live.batch,
        threads=threads or live.threads,
        budget_seconds=budget_seconds,
        within=within,
        restarts=restarts,
    )
    reason = "as process='this' asks"
    if process != "this":
        try:
            with TemporaryDirectory(prefix="vlbench-") as folder:
                spec = live.save(Path(folder))
                return Measurement.of(_measure_fresh(cell.model_copy(update={"spec": spec}), import_path()))
        except InputError as error:
            if backend != EAGER:
                raise InputError(f"{live.spec.name}: {error}; backend={backend!r} needs fresh processes") from error
            if process == "fresh":
                raise InputError(f"{live.spec.name}: {error}; process='this' measures it in this process") from error
            reason = str(error)
    if precision not in (None, live.precision):
        raise InputError(f"precision={precision!r}: in this process a module is measured as it is, in {live.precision}")
    return Measurement.of(live.measure(cell), reason)


def count(module: nn.Module, inputs: Any, *, counters: Sequence[str] = ("vlbench",)) -> ModuleCounts:
    """Counts a module without computing anything where its shapes suffice: parameters, MACs and bytes moved by module.

    Raises:
        InputError: an unknown counter, a lazy module, or a forward pass that fails.

    Args:
        module: any module; nothing of it is changed.
        inputs: of a forward pass: a tensor, a tuple of positional arguments, a mapping of named ones.
        counters: of `vlbench`, `fvcore` and `torch`.
    """
    from vlbench.architectures.module_sources import failures_in_one_line  # noqa: PLC0415  imports transformers
    from vlbench.measuring.modules import count_module  # noqa: PLC0415  imports torch

    with failures_in_one_line(type(module).__name__, "its forward pass"):
        return count_module(module, inputs, counters=counters)


def _measure_fresh(cell: Cell, environment: Mapping[str, str]) -> Result:
    """Raises InputError where a fresh process cannot load the module."""
    with BenchmarkSession(cell.threads, environment=environment) as session:
        try:
            list(session.worker.run_job({"action": "fill", "spec": cell.spec.model_dump(mode="json")}))
        except WorkerError as error:
            raise InputError(str(error)) from error
        run = session.measure([cell], Result, None)
    if run.interrupted:
        raise KeyboardInterrupt
    return run.results[0]
