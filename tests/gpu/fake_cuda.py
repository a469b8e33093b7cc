"""A stand-in for torch.cuda, played on the CPU: events, synchronisation, the allocator, the profiler and graphs.

Within one process a test patches it in with `install`; kernels then take the time of a clock that only the test moves.
Whole commands get it by `fake_gpu_environment`: their processes compute on the CPU what they ask of the GPU, at the
CPU's own pace.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from tests.gpu.fake_nvml import FakeGpu, FakeNvml

SITE = Path(__file__).parent / "site"
VARIABLE = "VLBENCH_FAKE_GPU"
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Clock:
    """Stands in for the module `time`: as late as it was told; a reading costs a microsecond."""

    def __init__(self) -> None:
        self.ns = 10**12

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)

    def perf_counter_ns(self) -> int:
        self.ns += 1_000
        return self.ns

    def perf_counter(self) -> float:
        return self.perf_counter_ns() / 1e9

    monotonic = perf_counter


class FakeCuda:
    """The GPU's side of it.

    Args:
        clock: the host's.
        count: of GPUs.
    """

    def __init__(self, clock: Any = time, *, count: int = 1, gpu: FakeGpu | None = None) -> None:
        self.clock, self.count, self.gpu = clock, count, gpu or FakeGpu()
        self.free_at = 0.0  # when the GPU is done with what was launched, in seconds of the clock
        self.kernels: list[tuple[float, float]] = []  # when each began and ended
        self._initialised = False
        self.allocated = self.peak = 0
        self.recording: list[Callable[[], object]] | None = None
        self.emptied = 0

    @property
    def initialised(self) -> bool:
        return self._initialised

    @initialised.setter
    def initialised(self, value: bool) -> None:
        if value and not self._initialised and self.gpu.contexts:
            with Path(self.gpu.contexts).open("a") as file:
                file.write(f"{os.getpid()}\n")
        self._initialised = value

    def launch(self, host_ms: float, gpu_ms: float) -> None:
        """The host is occupied, then a kernel begins as soon as the GPU is free."""
        self.initialised = True
        if self.recording is not None:
            self.recording.append(lambda: self.run(gpu_ms))
            return
        self.clock.sleep(host_ms / 1e3)
        self.run(gpu_ms)

    def run(self, gpu_ms: float) -> None:
        begin = max(self.clock.perf_counter(), self.free_at)
        self.free_at = begin + gpu_ms / 1e3
        self.kernels.append((begin, self.free_at))

    def synchronize(self, *_device: Any) -> None:
        self.initialised = True
        self.clock.sleep(max(0.0, self.free_at - self.clock.perf_counter()))

    def replace(self, patch: Callable[[Any, str, Any], None]) -> None:
        """Puts everything in the place of what PyTorch has."""
        properties = SimpleNamespace(
            name="NVIDIA FAKE 200",
            uuid=self.gpu.uuid.removeprefix("GPU-"),
            total_memory=self.gpu.memory_bytes,
            major=9,
            minor=0,
            multi_processor_count=132,
            L2_cache_size=60 * 2**20,
        )
        cuda: dict[str, Any] = {
            "is_available": lambda: True,
            "device_count": lambda: self.count,
            "current_device": lambda: 0,
            "is_initialized": lambda: self.initialised,
            "init": lambda: setattr(self, "initialised", True),
            "get_device_name": lambda *_: properties.name,
            "get_device_properties": lambda *_: properties,
            "get_device_capability": lambda *_: (9, 0),
            "synchronize": self.synchronize,
            "empty_cache": lambda: setattr(self, "emptied", self.emptied + 1),
            "set_device": lambda *_: None,
            "memory_allocated": lambda *_: self.allocated,
            "max_memory_allocated": lambda *_: self.peak,
            "reset_peak_memory_stats": lambda *_: setattr(self, "peak", self.allocated),
            "mem_get_info": lambda *_: (self.gpu.memory_bytes, self.gpu.memory_bytes),
            "is_bf16_supported": lambda *_: True,
            "Event": lambda **_: Event(self),
            "Stream": lambda *_, **__: SimpleNamespace(wait_stream=lambda _: None),
            "current_stream": lambda *_: SimpleNamespace(wait_stream=lambda _: None),
            "stream": lambda *_: contextlib.nullcontext(),
            "CUDAGraph": lambda: Graph(self),
            "graph": self._graph,
        }
        for name, value in cuda.items():
            patch(torch.cuda, name, value)
        patch(torch.accelerator, "is_available", lambda: False)  # a loader that pins would ask the real one
        patch(torch.accelerator, "current_stream", lambda *_: SimpleNamespace(is_capturing=lambda: False))
        patch(torch.version, "cuda", "13.2")
        patch(torch.backends.cudnn, "version", lambda: 91_200)
        patch(torch.profiler, "profile", lambda *_, **__: Profile(self))

    @contextlib.contextmanager
    def _graph(self, graph: Graph, **_: Any) -> Iterator[None]:
        self.recording = graph.launches
        try:
            yield
        finally:
            self.recording = None


class Event:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda, self.at = cuda, 0.0

    def record(self, *_stream: Any) -> None:
        self.at = max(self.cuda.clock.perf_counter(), self.cuda.free_at)

    def synchronize(self) -> None:
        self.cuda.clock.sleep(max(0.0, self.at - self.cuda.clock.perf_counter()))

    def elapsed_time(self, end: Event) -> float:
        return (end.at - self.at) * 1e3


class Graph:
    """What was launched while it recorded; a replay launches it again, for one launch of the host."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda, self.launches = cuda, []

    def replay(self) -> None:
        for launch in self.launches:
            launch()


class Profile:
    """The kernels that ran meanwhile, as torch.profiler tells of them: in microseconds."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def __enter__(self) -> Profile:
        self.first = len(self.cuda.kernels)
        return self

    def __exit__(self, *_error: object) -> None:
        self.cuda.synchronize()

    def events(self) -> list[Any]:
        return [
            SimpleNamespace(
                name="kernel",
                device_type=torch.autograd.DeviceType.CUDA,
                time_range=SimpleNamespace(start=begin * 1e6, end=end * 1e6),
            )
            for begin, end in self.cuda.kernels[self.first :]
        ]


class OnTheCpu(TorchFunctionMode):
    """What is asked of a GPU is computed on the CPU, as kernels that take as long as the CPU does.

    Args:
        out_of_memory_at: the linear layer, counted from 1, at which memory runs out.
        out_of_memory_for: the name of the function for which memory never suffices.
        product_ms: what a product of two matrices takes, whatever their size, without being computed.
    """

    def __init__(
        self,
        cuda: FakeCuda,
        out_of_memory_at: int | None = None,
        out_of_memory_for: str | None = None,
        product_ms: float | None = None,
    ) -> None:
        super().__init__()
        self.cuda, self.left = cuda, out_of_memory_at
        self.never, self.product_ms = out_of_memory_for, product_ms

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.device:
            return function(*args, **(kwargs or {}))
        if function.__name__ == self.never:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        moved = [_moved(value) for value in args]
        named = {name: _moved(value) for name, value in (kwargs or {}).items()}
        if moved != list(args) or named != (kwargs or {}):
            self.cuda.initialised = True
        if function is torch.Tensor.pin_memory:
            return args[0]
        if function is torch.nn.functional.linear and self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        if function is torch.mm and self.product_ms:
            self.cuda.launch(0.0, self.product_ms)
            return named["out"]
        begin = self.cuda.clock.perf_counter()
        result = function(*moved, **named)
        end = self.cuda.clock.perf_counter()
        self.cuda.kernels.append((begin, end))
        if self.cuda.recording is not None:
            self.cuda.recording.append(lambda: self.cuda.run((end - begin) * 1e3))
        return result


def _moved(value: Any) -> Any:
    is_cuda = (isinstance(value, torch.device) and value.type == "cuda") or (
        isinstance(value, str) and (value == "cuda" or value.startswith("cuda:"))
    )
    return "cpu" if is_cuda else value


def install(patch: Any, clock: Any = time, *, nvml: FakeNvml | None = None, **options: Any) -> FakeCuda:
    """A GPU for the rest of the test; `patch` is pytest's monkeypatch. Without `nvml` there is no NVML."""
    cuda = FakeCuda(clock, gpu=nvml.gpus[0] if nvml else None, **options)
    cuda.replace(patch.setattr)
    patch.setitem(__import__("sys").modules, "pynvml", nvml)
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return cuda


def fake_gpu_environment(**options: Any) -> dict[str, str]:
    """Variables with which every Python process sees a GPU.

    Args:
        options: `count` of GPUs, `nvml` whether there is NVML, `cuda_error` why PyTorch can use none, what OnTheCpu
            takes, and fields of FakeGpu.
    """
    path = os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {VARIABLE: json.dumps(options), "PYTHONPATH": path}


def start(options: dict[str, Any]) -> None:
    """For the whole process, once PyTorch is imported."""
    if "cuda_error" in options:
        torch.cuda.init = partial(_fail, options["cuda_error"])  # type: ignore[method-assign]
        return
    cuda = FakeCuda(count=options.get("count", 1), gpu=gpu_of(options))
    cuda.replace(setattr)
    known = ("out_of_memory_at", "out_of_memory_for", "product_ms")
    OnTheCpu(cuda, **{name: options[name] for name in known if name in options}).__enter__()


def _fail(message: str) -> None:
    raise RuntimeError(message)


def gpu_of(options: dict[str, Any]) -> FakeGpu:
    return FakeGpu(**{name: value for name, value in options.items() if name in FakeGpu.__dataclass_fields__})
