"""Turns what was asked for into cells and runs each in a fresh worker process, one after the other."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any, TypeVar

from vlbench.errors import InputError, WorkerError
from vlbench.inputs import Example, check_text
from vlbench.measure.machine import Machine
from vlbench.running.cells import Cell, Device, Precision, Result, blank_result
from vlbench.running.store import Line, Store
from vlbench.running.suppressions import SuppressionCell
from vlbench.specs import ModelSpec, Size

SILENCE_SECONDS = 600  # beyond the budget, the longest time that a worker may say nothing
WORKER = [sys.executable, "-m", "vlbench.running.worker"]
Listener = Callable[[Cell, str, int], None]
SomeCell = TypeVar("SomeCell", Cell, SuppressionCell)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every cell of a run has in common."""

    device: Device = "auto"
    precision: Precision = "fp32"
    batch: int = 1
    image_size: Size | None = None
    text_tokens: int | None = None
    threads: int
    budget_seconds: float = 45


def expand(specs: Sequence[ModelSpec], example: Example, settings: Settings, machine: Machine) -> list[Cell]:
    """One cell a model. Raises InputError where a setting does not fit a model or this machine."""
    if settings.device == "cuda" and machine.gpu is None:
        raise InputError("--device cuda: PyTorch sees no GPU here; --device cpu works")
    device = "cpu" if settings.device == "cpu" or machine.gpu is None else "cuda"
    cells = []
    for spec in specs:
        try:
            fitted = spec.with_input(image_size=settings.image_size, text_tokens=settings.text_tokens)
        except ValueError as error:
            raise InputError(f"{spec.name}: {error}") from error
        check_text(example, fitted)
        cells.append(
            Cell(
                spec=fitted,
                image=example.image,
                image_sha256=example.image_sha256,
                text=example.text,
                device=device,
                precision=settings.precision,
                batch=settings.batch,
                threads=settings.threads,
                budget_seconds=settings.budget_seconds,
            )
        )
    return cells


def split_measured(
    cells: Sequence[SomeCell], store: Store[Line], machine: Machine
) -> tuple[list[SomeCell], list[Line]]:
    """The cells still to be measured, and the results of the others that the folder holds for this machine."""
    held = {
        result.cell_hash: result
        for result in store.results
        if result.status == "ok" and result.machine.same_hardware_and_software(machine)
    }
    missing = [cell for cell in cells if cell.hash() not in held]
    return missing, [held[cell.hash()] for cell in cells if cell.hash() in held]


def run_cells(
    cells: Sequence[Cell], machine: Machine, listen: Listener = lambda cell, phase, samples: None
) -> Iterator[Result]:
    """Measures the cells in turn. A cell that fails is a result that says so; the others run all the same."""
    for cell in cells:
        try:
            yield run_cell(cell, partial(listen, cell))
        except WorkerError as error:
            yield failed_result(cell, machine, str(error))


def failed_result(cell: Cell, machine: Machine, error: str) -> Result:
    return blank_result(
        cell, machine.model_copy(update={"threads": cell.threads}), status="failed", error=error, measured_at=now()
    )


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_cell(cell: Cell, report: Callable[[str, int], None] = lambda phase, samples: None) -> Result:
    """Measures one cell in a worker of its own. Raises WorkerError where that fails."""
    job = {"action": "measure", "cell": cell.model_dump(mode="json")}
    report("start", 0)
    for message in converse(job, cell.threads, cell.budget_seconds + SILENCE_SECONDS):
        if "phase" in message:
            report(message["phase"], message["samples"])
        else:
            return Result.model_validate(message["result"])
    raise AssertionError("a worker's conversation ends with a result or an error")


def probe_machine(threads: int) -> Machine:
    """Asks a worker what this machine is; only PyTorch knows whether it can use a GPU."""
    for message in converse({"action": "probe", "threads": threads}, threads, SILENCE_SECONDS):
        return Machine.model_validate(message["machine"])
    raise AssertionError("a probe answers or fails")


def converse(job: dict[str, Any], threads: int, silence_seconds: float) -> Iterator[dict[str, Any]]:
    """A worker's messages. Raises WorkerError where it fails, dies, answers nonsense or falls silent."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said, _worker(threads, said) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job))
            process.stdin.close()
        except BrokenPipeError:
            pass  # it died before it read its job; what follows says how
        for line in _lines(process.stdout, silence_seconds):
            try:
                message = json.loads(line)
            except json.JSONDecodeError as error:
                raise WorkerError(f"the worker answered what is not JSON: {line[:80]!r}") from error
            if "failed" in message:
                raise WorkerError(message["failed"])
            yield message
            if "phase" not in message:
                return
        raise WorkerError(_why_it_died(process, said))


@contextmanager
def _worker(threads: int, said: IO[str]) -> Iterator[subprocess.Popen]:
    """A worker in a session of its own, so that Ctrl-C reaches the parent alone; it never outlives this block."""
    environment = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    process = subprocess.Popen(
        WORKER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def _lines(pipe: IO[str], silence_seconds: float) -> Iterator[str]:
    """Lines as they come; blocks between them. Raises WorkerError after a silence that long."""
    descriptor, pending = pipe.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=silence_seconds):
                raise WorkerError(f"timeout: the worker said nothing for {silence_seconds:.0f} s")
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            yield from (line.decode("utf-8", errors="replace") for line in lines)


def _why_it_died(process: subprocess.Popen, said: IO[str]) -> str:
    """Exit status or signal, and the last line that it left on standard error."""
    status = process.wait()
    said.seek(0)
    last = next((line.strip() for line in reversed(said.read().splitlines()) if line.strip()), "no message")
    how = f"killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
    return f"the worker {how} without a result: {last}"
