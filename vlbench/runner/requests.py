"""What live comparisons ask a worker to prepare: a model by its name, or a user's function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vlbench.errors import InputError
from vlbench.inputs import read_example
from vlbench.measuring.gpu import probe
from vlbench.measuring.latency import PassTimer
from vlbench.measuring.memory import PeakMemory
from vlbench.runner.cells import L2, Cell
from vlbench.runner.devices import check_l2
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.workload import StopWatch, WarmWorkload, prepare, timer_of
from vlbench.specs import ModuleSpec
from vlbench.specs.catalog import resolve
from vlbench.specs.module import Overrides


def workload_of(request: Mapping[str, Any]) -> WarmWorkload:
    """Prepares `{"model": ..., "settings": ...}` or `{"callable": "module:function", "settings": ...}`.

    The model is looked up in this process's own catalogue.
    """
    if "callable" in request:
        settings = request["settings"]
        return prepare_callable(request["callable"], settings["threads"], settings.get("l2", "warm"))
    return prepare(cell_of(request), StopWatch(), Path(request["folder"]) if "folder" in request else None)


def cell_of(request: Mapping[str, Any]) -> Cell:
    """The cell that a model's name and settings mean to this revision of the code. Raises InputError as `run` does."""
    settings = RunSettings(**request["settings"])
    if settings.image_size:
        height, width = settings.image_size
        settings = replace(settings, image_size=(height, width))  # JSON has no tuples
    example = read_example(Path(request["image"]) if request.get("image") else None, request.get("text"))

    def inspect(source: str) -> ModuleSpec:
        from vlbench.architectures.module_inspect import inspect_module  # noqa: PLC0415  imports transformers

        return inspect_module(source, Overrides(image_size=settings.image_size, text_tokens=settings.text_tokens))

    (cell,) = expand(resolve(request["model"], inspect), example, settings, probe(settings.threads))
    return cell


def prepare_callable(name: str, threads: int, l2: L2 = "warm") -> WarmWorkload:
    """A function without arguments, from an importable module. It is called repeatedly, with gradients enabled.

    Once its first call has initialised CUDA it is timed as what a GPU does, or only its launches would be timed.
    """
    torch.set_num_threads(threads)
    memory = PeakMemory(torch.device("cpu"))
    function = find_callable(name)

    def forward() -> object:
        with torch.inference_mode(False):
            return function()

    first_ms, device = PassTimer(forward, {}, torch.device("cpu")).first(), torch.device("cpu")
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
        device = torch.device("cuda", torch.cuda.current_device())
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else memory.read_bytes()
    check_l2(l2, device.type)
    timer = timer_of(forward, {}, device, l2)
    return WarmWorkload(timer=timer, first_ms=first_ms, peak_memory_bytes=peak)


DEFERRED = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def find_callable(name: str) -> Callable[[], object]:
    """Imports `package.module:function`. Raises InputError if there is none, or a call would run nothing."""
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise InputError(f"--callable {name}: not MODULE:FUNCTION; package.module:function works")
    try:
        function: Any = importlib.import_module(module_name)
        for attribute in path.split("."):
            function = getattr(function, attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"--callable {name}: {error}") from error
    if not callable(function):
        raise InputError(f"--callable {name}: is not a function")
    if any(deferred(function) for deferred in DEFERRED):
        raise InputError(
            f"--callable {name}: a call runs nothing of a coroutine or generator; a function that runs it works"
        )
    with suppress(ValueError):  # functions of C may have no signature
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            raise InputError(f"--callable {name}: {error}; a function without arguments works") from error
    return function
