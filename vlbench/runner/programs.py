"""Parts of a model as programs of a runtime: exported once for each layout of their arguments, written to disk, and
executed."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from vlbench.measuring.counters import map_tensors
from vlbench.runner.conversion import (
    NotConvertibleError,
    Part,
    PreparedWorkload,
    StageInputs,
    Workload,
    owner_of,
)
from vlbench.runner.exporting import Exported, export_part, flattened, is_recurrent, reads_sizes, shapes_of
from vlbench.runner.parts import convert_workload
from vlbench.runner.signature import Shapes, Signature
from vlbench.system.console import silenced

Execute: TypeAlias = Callable[[Sequence[Tensor]], Sequence[Tensor]]

MOST_EXPORTS = 6  # of one part, before its arguments are taken to differ in more than sizes of tensors


class Runtime(Protocol):
    """What writes and executes the programs of a backend; `options` are recorded."""

    suffix: str

    @property
    def options(self) -> dict[str, str | int]: ...

    def write(self, exported: Exported, path: Path) -> None:
        """Writes a program to a file, and what else it needs beside it."""
        ...

    def load(self, path: Path, shapes: Shapes | None) -> Execute:
        """What executes the program of a file, specialised to shapes where there are some."""
        ...


class Program:
    """A part for one layout of its arguments, in a file."""

    def __init__(self, path: Path, part: Part, runtime: Runtime) -> None:
        self.path, self.runtime, self.fixed_shapes = path, runtime, part.target.fixed_shapes
        self.signature: Signature = pickle.loads(signature_of(path).read_bytes())
        self.executed: dict[Shapes | None, Execute] = {}

    def __call__(self, tensors: Sequence[Tensor], shapes: Shapes) -> Any:
        given = iter(self.loaded(shapes)(tensors))
        return map_tensors(self.signature.output, lambda _: next(given))

    def loaded(self, shapes: Shapes) -> Execute:
        """What executes it for tensors of these shapes."""
        key = shapes if self.fixed_shapes else None
        if key not in self.executed:
            self.executed[key] = self.runtime.load(self.path, key)
        return self.executed[key]


def signature_of(path: Path) -> Path:
    """The file of a program's signature, which is written once the program is."""
    return path.with_name(f"{path.name}.signature")


class ProgramsOfPart:
    """The `forward` of a part in a runtime. Arguments of a layout or a size for which there is no program yet are
    exported when they come."""

    def __init__(self, part: Part, runtime: Runtime) -> None:
        self.part, self.runtime, self.sized = part, runtime, reads_sizes(owner_of(part.module))
        self.calls: dict[Hashable, list[StageInputs]] = {}
        self.programs: dict[Hashable, list[Program]] = {}
        self.exports = 0
        for call in part.calls:
            self.calls.setdefault(flattened(call, sized=self.sized)[1], []).append(call)
        tensors, layout = flattened(part.calls[0], sized=self.sized)
        shapes = shapes_of(tensors)
        self._program_for(shapes, layout).loaded(shapes)

    def __call__(self, *positional: Any, **named: Any) -> Any:
        program, tensors = self.program_of(StageInputs(positional, named))
        return program(tensors, shapes_of(tensors))

    def program_of(self, call: StageInputs) -> tuple[Program, list[Tensor]]:
        """What computes a call, and the tensors that it is given."""
        tensors, layout = flattened(call, sized=self.sized)
        shapes = shapes_of(tensors)
        program = self._known(shapes, layout)
        if program is None:
            self.calls.setdefault(layout, []).append(call)
            program = self._program_for(shapes, layout)
        return program, tensors

    def _known(self, shapes: Shapes, layout: Hashable) -> Program | None:
        for program in self.programs.get(layout, ()):
            if program.signature.accepts(shapes):
                return program
        return None

    def _program_for(self, shapes: Shapes, layout: Hashable) -> Program:
        """From the folder, or exported. Raises NotConvertibleError where that has been done too often."""
        start = f"{self.part.name}.{hashlib.sha256(repr(layout).encode()).hexdigest()[:8]}"
        folder = self.part.target.folder
        on_disk = sorted(folder.glob(f"{start}-*{self.runtime.suffix}"))
        self.programs[layout] = [
            Program(path, self.part, self.runtime) for path in on_disk if signature_of(path).is_file()
        ]
        program = self._known(shapes, layout)
        if program is not None:
            return program
        self.exports += 1
        if self.exports > MOST_EXPORTS:
            raise NotConvertibleError(f"{self.part.name}: its arguments differ from call to call in more than sizes")
        path = folder / f"{start}-{len(on_disk)}{self.runtime.suffix}"
        with silenced(), torch.inference_mode(False), torch.no_grad():
            exported = export_part(self.part, self._calls_for(shapes, layout))
            self.runtime.write(exported, path)
        signature_of(path).write_bytes(pickle.dumps(exported.signature))
        self.programs[layout].append(Program(path, self.part, self.runtime))
        return self.programs[layout][-1]

    def _calls_for(self, shapes: Shapes, layout: Hashable) -> list[StageInputs]:
        """The calls by whose sizes a program is exported: all of a layout, or for a fixed size those of that size."""
        calls = self.calls[layout]
        if not is_recurrent(owner_of(self.part.module)):
            return calls
        return [call for call in calls if shapes_of(flattened(call, sized=self.sized)[0]) == shapes]


def prepare_programs(workload: Workload, runtime: Runtime) -> PreparedWorkload:
    """Converts a workload into programs of a runtime."""
    prepared = convert_workload(workload, lambda part: ProgramsOfPart(part, runtime))
    return replace(prepared, options=runtime.options, holds_weights=True)
