"""A module that exists in this process: described, saved for a fresh one, or measured here."""

from __future__ import annotations

import os
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vlbench.architectures.count import counts_of
from vlbench.architectures.huggingface_stages import Called
from vlbench.architectures.module_inspect import describe_made, shapes_in_words
from vlbench.architectures.module_model import ModuleModel
from vlbench.architectures.module_sources import INPUTS, MODULE, failures_in_one_line
from vlbench.errors import InputError, first_line
from vlbench.measuring.counters import tensors_of
from vlbench.measuring.gpu import probe
from vlbench.measuring.macs import count_macs, count_parameters
from vlbench.measuring.memory import PeakMemory
from vlbench.measuring.modules import training_modes_kept
from vlbench.measuring.peaks import DTYPES
from vlbench.measuring.records import Counts, Precision
from vlbench.runner.aggregate import RestartFailure, summarise_cell
from vlbench.runner.cells import Cell
from vlbench.runner.records import Restart, Result
from vlbench.runner.restart import measure_warm
from vlbench.runner.workload import StopWatch, warm, workload_with
from vlbench.specs import ModuleSpec
from vlbench.specs.module import SAVED, name_of_source

IN_SCRIPT = "is defined in the script that was started; in a file of its own, fresh processes could import it"
PRECISIONS: dict[torch.dtype, Any] = {dtype: name for name, dtype in DTYPES.items()}


class LiveModule:
    """A module of this process and its inputs.

    Args:
        module: the module, or a function without arguments that makes it.
        inputs: of a forward pass: a tensor, a tuple of positional arguments, a mapping of named ones, or a function
            that gives one of these; None where the module is made together with its inputs.
        stages: paths of the modules of each stage; None for the module's own.
        name: of the model; by default that of the class.

    Raises InputError where the module cannot be made, or its forward pass fails.
    """

    def __init__(
        self,
        module: nn.Module | Callable[[], Any],
        inputs: Any,
        stages: Mapping[str, str | Sequence[str]] | None,
        name: str | None,
    ) -> None:
        self.origin = module
        given = str(name or getattr(module, "__name__", type(module).__name__))
        with failures_in_one_line(given, "making it"):
            made = module if isinstance(module, nn.Module) else module()
        example = inputs() if callable(inputs) and not isinstance(inputs, nn.Module) else inputs
        if isinstance(made, tuple) and len(made) == 2 and inputs is None:
            made, example = made
        if not isinstance(made, nn.Module):
            kind = type(made).__name__
            raise InputError(f"{given}: is a {kind}; a torch.nn.Module, or a function that makes one, works")
        if example is None:
            raise InputError(f"{given}: its inputs are missing; vlbench.measure(module, inputs) works")
        self.module, self.example = made, example
        self.device = _device_of(made, example, given)
        with evaluating(made):
            content = {
                "name": name_of_source(f"{SAVED}{name or type(made).__name__}", {}),
                "source": f"{type(made).__module__}.{type(made).__qualname__}",
                "module": SAVED,
                "model_args": {"inputs": shapes_in_words(example)},
            }
            self.spec = describe_made(content, (made, example), stages or {}, self.device)

    @property
    def precision(self) -> Precision:
        """Of its first floating-point parameter. Raises InputError for any that is not measured, such as float64."""
        dtype = self._model().dtype
        if dtype not in PRECISIONS:
            kind = str(dtype).removeprefix("torch.")
            raise InputError(f"{self.spec.name}: is in {kind}; module.float() or module.bfloat16() works")
        return PRECISIONS[dtype]

    @property
    def threads(self) -> int:
        """Of PyTorch, in this process."""
        return torch.get_num_threads()

    @property
    def batch(self) -> int:
        """The first dimension that all its inputs share; 1 if they share none."""
        sizes = {tensor.shape[0] if tensor.dim() else 1 for tensor in tensors_of(self.example)}
        return sizes.pop() if len(sizes) == 1 else 1

    def save(self, folder: Path) -> ModuleSpec:
        """Saves it for a fresh process. Raises InputError, with the reason, where such a process could not load it."""
        for name, value in {MODULE: self.origin, INPUTS: self.example}.items():
            try:
                torch.save(value, folder / name)
                _check_globals(folder / name)
            except (pickle.PicklingError, AttributeError, TypeError, RuntimeError, OSError) as error:
                raise InputError(f"it cannot be saved ({first_line(error)})") from error
        return self.spec.model_copy(update={"module": f"{SAVED}{folder}"})

    def _model(self) -> ModuleModel:
        return ModuleModel(self.spec, (self.module, self.example))

    def counts(self, precision: Precision) -> Counts:
        """Counted in a real pass."""
        with evaluating(self.module):
            model = self._model()
            stages = model.stages()
            macs = count_macs(model.bound(None, None), stages, lenient=True)
            return counts_of(self.spec, count_parameters(model, stages), macs, precision, None)

    def measure(self, cell: Cell) -> Result:
        """One restart of a cell in this process, whose threads and settings stay as they are."""
        watch = StopWatch()
        counts = self.counts(cell.precision)
        with evaluating(self.module):
            device = torch.device(cell.device)
            memory = PeakMemory(device)
            workload = workload_with(self._model(), (None, None), cell)
            restart = measure_warm(warm(workload, cell, memory, watch), cell, watch)
        failure = RestartFailure(restart, "invalid") if isinstance(restart, str) else None
        restarts = [restart] if isinstance(restart, Restart) else []
        return summarise_cell(cell, probe(cell.threads), restarts, counts, failure)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts a module into evaluation mode; afterwards each of its parts has its own mode and its own methods again."""
    with training_modes_kept(module):
        module.eval()
        try:
            yield
        finally:
            for part in module.modules():
                for name in [name for name, value in vars(part).items() if isinstance(value, Called)]:
                    delattr(part, name)


def _device_of(module: nn.Module, example: Any, name: str) -> str:
    """`cpu` or `cuda`. Raises InputError where module and inputs are on different devices, or on another kind."""
    kinds = {
        f"its {what}": {tensor.device.type for tensor in tensors}
        for what, tensors in {
            "weights": (*module.parameters(), *module.buffers()),
            "inputs": tuple(tensors_of(example)),
        }.items()
    }
    devices = set().union(*kinds.values()) or {"cpu"}
    if len(devices) > 1:
        where = ", ".join(f"{what} on {' and '.join(sorted(types))}" for what, types in kinds.items() if types)
        raise InputError(f"{name}: {where}; module.to(DEVICE) and inputs.to(DEVICE) put them on one device")
    (device,) = devices
    if device not in ("cpu", "cuda"):
        raise InputError(f"{name}: is on {device}, which has no values to compute with or no timer; cpu and cuda work")
    return device


def _check_globals(path: Path) -> None:
    """Raises InputError where a saved file needs what only the started script or notebook defines."""
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        content = archive.read(pickled)
    strings: list[str] = []
    for operation, argument, _ in pickletools.genops(content):
        if operation.name == "GLOBAL" and str(argument).startswith("__main__ "):
            raise InputError(f"{str(argument).split()[-1]} {IN_SCRIPT}")
        if operation.name == "STACK_GLOBAL" and strings[-2:-1] == ["__main__"]:
            raise InputError(f"{strings[-1]} {IN_SCRIPT}")
        if isinstance(argument, str):
            strings.append(argument)


def import_path() -> dict[str, str]:
    """The variable with which a fresh process imports what this one can."""
    return {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
