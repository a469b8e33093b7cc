"""Converts the model of a cell once, before its restarts, and compares what it gives with eager PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from vlbench.errors import InputError
from vlbench.measuring.latency import PassTimer
from vlbench.runner.backends import load_backend, runtime_version
from vlbench.runner.cells import Cell
from vlbench.runner.conversion import PreparedWorkload, Workload
from vlbench.runner.equality import check_equality, why_unequal
from vlbench.runner.examples import resized_passes
from vlbench.runner.records import Conversion
from vlbench.runner.workload import build_workload, set_up_torch


def convert_cell(cell: Cell, folder: Path) -> Conversion:
    """Converts a cell's model into a folder, from which its restarts take it."""
    set_up_torch(cell.threads)
    with torch.no_grad():
        workload = build_workload(cell, folder)
        examples = resized_passes(workload.forward) if cell.backend != "cuda-graph" else []
        workload = replace(workload, examples=examples)
        return convert(workload, cell.backend, selects=cell.spec.has_detector)[1]


def convert(
    workload: Workload,
    backend: str,
    *,
    selects: bool,
    adapt: Callable[[PreparedWorkload], PreparedWorkload] = lambda prepared: prepared,
) -> tuple[PreparedWorkload, Conversion]:
    """Converts a workload, in a process that computes without gradients.

    Args:
        backend: its name.
        selects: as in `check_equality`.
        adapt: changes what was prepared before it first runs.
    """
    start = time.monotonic()
    with writable(workload.target.folder):
        prepared = adapt(load_backend(backend).prepare(workload))
    seconds = time.monotonic() - start
    with torch.inference_mode():
        first_pass_ms = PassTimer(prepared.forward, {}, workload.device).first()
        equality = check_equality(workload, prepared, workload.target.precision, selects=selects)
    size = sum(file.stat().st_size for file in workload.target.folder.iterdir()) if prepared.holds_weights else None
    conversion = Conversion(
        runtime=runtime_version(backend),
        options=dict(prepared.options),
        seconds=round(seconds, 3),
        first_pass_ms=round(first_pass_ms, 3),
        size_bytes=size,
        eager_stages=dict(prepared.eager_stages),
        equality=equality,
    )
    return prepared, conversion


def why_not_measured(conversion: Conversion) -> str | None:
    """Why the latency of a converted model would mean nothing."""
    return why_unequal(conversion.equality) if conversion.equality else None


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Raises InputError where converted files cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: converted models cannot be written there ({error.strerror}); TMPDIR names another folder"
        ) from error
