"""The worker's side of a deployment: converts a model, and writes its files and an example."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlbench.measuring.counters import tensors_of
from vlbench.runner.backends import load_backend
from vlbench.runner.cells import Cell
from vlbench.runner.conversion import Part, PreparedWorkload, StageInputs, Workload
from vlbench.runner.convert import convert, why_not_measured
from vlbench.runner.deployment_files import ANY, DeployedFile, DeployedTensor, Deployment
from vlbench.runner.examples import resized_passes
from vlbench.runner.parts import WHOLE, observe_calls
from vlbench.runner.programs import Program, ProgramsOfPart
from vlbench.runner.workload import build_workload, set_up_torch

DIMENSIONS: dict[str, tuple[str, ...]] = {"ids": ("batch", "tokens"), "mask": ("batch", "tokens")}
CONVERTED = "converted"  # a folder within that of the deployment, until its files are there
KEPT = (".onnx", ".xml", ".bin")  # suffixes of what a runtime reads
EXTERNAL = ".onnx.data"  # weights of more than 1.5 GiB, whose file the other one names


def deploy_cell(cell: Cell, folder: Path) -> Deployment | str:
    """Writes the files of a cell's model, and example.npz; or says why its output would be that of another model.

    Raises InputError where the whole model, or every stage of it, cannot be converted.
    """
    set_up_torch(cell.threads)
    load_backend(cell.backend)  # which refuses a missing runtime before the model is built
    with torch.no_grad():
        workload = build_workload(cell, folder / CONVERTED)
        workload = replace(workload, examples=resized_passes(workload.forward))
        prepared, conversion = convert(workload, cell.backend, selects=cell.spec.has_detector)
        if reason := why_not_measured(conversion):
            return reason
        example: dict[str, np.ndarray] = {}
        files = [
            _write(name, part, program, call, folder, example)
            for name, part, program, call in _programs(workload, prepared)
        ]
    shutil.rmtree(folder / CONVERTED)
    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    np.savez_compressed(folder / "example.npz", **example)  # type: ignore[arg-type]
    return Deployment(files=tuple(files), conversion=conversion, size_bytes=size_bytes)


def _programs(workload: Workload, prepared: PreparedWorkload) -> Iterator[tuple[str, Part, Program, StageInputs]]:
    """What the measured pass executes, each with its part and the first call of it, under the name of its file."""
    calls, _ = observe_calls([part.module for part, _ in prepared.parts], [workload.forward])
    for part, forward in prepared.parts:
        assert isinstance(forward, ProgramsOfPart)
        names: dict[Path, str] = {}
        for call in part.calls[:1] if part.name == WHOLE else [some.inputs for some in calls[part.module]]:
            program, _ = forward.program_of(call)
            if program.path not in names:
                names[program.path] = part.name if not names else f"{part.name}-{len(names)}"
                yield names[program.path], part, program, call


def _write(
    name: str, part: Part, program: Program, call: StageInputs, folder: Path, example: dict[str, np.ndarray]
) -> DeployedFile:
    """Moves a program's files, and adds what eager PyTorch gives for a call to the example."""
    for path in program.path.parent.glob(f"{program.path.stem}.*"):
        suffix = path.name.removeprefix(program.path.stem)
        if suffix in KEPT:
            path.rename(folder / f"{name}{suffix}")
        elif suffix == EXTERNAL:
            path.rename(folder / path.name)
    signature = program.signature
    given = list(tensors_of(tuple(call)))
    expected = list(tensors_of(part.eager(*call.positional, **call.named)))
    for names, tensors in ((signature.inputs, given), (signature.outputs, expected)):
        example |= {f"{name}/{key}": tensor.contiguous().numpy() for key, tensor in zip(names, tensors, strict=True)}
    inputs = _described(signature.inputs, given, signature.dynamic, whole=part.name == WHOLE)
    return DeployedFile(name=name, inputs=inputs, outputs=_described(signature.outputs, expected))


def _described(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    dynamic: Sequence[frozenset[int]] | None = None,
    *,
    whole: bool = False,
) -> tuple[DeployedTensor, ...]:
    described = []
    for name, tensor, free in zip(names, tensors, dynamic or [frozenset()] * len(names), strict=True):
        labels = dict(enumerate(DIMENSIONS.get(name, ("batch",)) if whole else ()))
        sizes = [labels.get(index, ANY) if index in free else str(size) for index, size in enumerate(tensor.shape)]
        dtype = str(tensor.dtype).removeprefix("torch.")
        described.append(DeployedTensor(name=name, dtype=dtype, sizes=tuple(sizes)))
    return tuple(described)
