"""The runtimes that execute a model; docs/backends.md shows how to add another.

Importing this package imports neither PyTorch nor any backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal, cast

from vlbench.errors import InputError, first_line, nearest
from vlbench.measuring.records import FLOATS, QUANTISED, Precision

if TYPE_CHECKING:
    from vlbench.runner.conversion import Backend

EAGER = "eager"
Scope = Literal["stages", "model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo:
    """What is known of a backend without importing it.

    Attributes:
        target: its class, as "module:Class".
        precisions: that it computes in, by device.
        package: the distribution of the runtime, whose version is recorded; empty for PyTorch itself.
        extra: of vlbench, which installs it.
        converts_precision: whether it is given the model in fp32 whatever the precision, and converts it itself.
        scopes: what it can convert.
    """

    target: str
    precisions: Mapping[str, tuple[Precision, ...]]
    package: str = ""
    extra: str = ""
    converts_precision: bool = False
    scopes: tuple[Scope, ...] = ("stages", "model")

    def requirements(self, precision: str) -> tuple[str, ...]:
        """The extras of vlbench that it takes in this precision."""
        return (*filter(None, [self.extra]), *(("int8",) if precision in QUANTISED else ()))


BACKENDS = {
    "eager": BackendInfo(
        target=f"{__name__}.eager:EagerBackend",
        precisions={"cpu": (*FLOATS, "int8"), "cuda": FLOATS},
        scopes=("stages",),
    ),
    "compile": BackendInfo(
        target=f"{__name__}.compile:CompileBackend", precisions={"cpu": (*FLOATS, "int8"), "cuda": FLOATS}
    ),
    "onnxruntime": BackendInfo(
        target=f"{__name__}.onnxruntime:OnnxRuntimeBackend",
        precisions={"cpu": ("fp32", *QUANTISED)},
        package="onnxruntime",
        extra="onnx",
        converts_precision=True,
    ),
    "openvino": BackendInfo(
        target=f"{__name__}.openvino:OpenVinoBackend",
        precisions={"cpu": ("fp32", "bf16", *QUANTISED)},
        package="openvino",
        extra="openvino",
        converts_precision=True,
    ),
    "cuda-graph": BackendInfo(
        target=f"{__name__}.cuda_graph:CudaGraphBackend", precisions={"cuda": FLOATS}, scopes=("model",)
    ),
}


def check_backend(name: str) -> str:
    """The name itself. Raises InputError if there is no such backend."""
    if name not in BACKENDS:
        raise InputError(f"--backend {name}: no such backend; {nearest(name, BACKENDS)}")
    return name


def check_pair(name: str, precision: str, device: str) -> None:
    """Raises InputError where the backend does not compute on the device, or not in the precision."""
    info = BACKENDS[check_backend(name)]
    if device not in info.precisions:
        where = "a GPU" if device == "cpu" else "the CPU"
        raise InputError(f"--backend {name}: runs on {where} alone, and this measures on {device}; {EAGER} works")
    if precision not in info.precisions[device]:
        known = ", ".join(info.precisions[device])
        raise InputError(f"--precision {precision}: {name} does not compute in it on {device}; it does in {known}")


def scope_of(name: str, scope: Scope) -> Scope:
    """What the backend converts: as it is asked, or else the only thing that it can."""
    scopes = BACKENDS[name].scopes
    return scope if scope in scopes else scopes[0]


def is_converted(name: str, precision: Precision) -> bool:
    """Whether a model is changed before it is measured."""
    return name != EAGER or precision in QUANTISED


def model_precision(name: str, precision: Precision) -> Precision:
    """In which a backend is given the model."""
    return "fp32" if BACKENDS[name].converts_precision or precision in QUANTISED else precision


def runtime_version(name: str) -> str | None:
    """`onnxruntime 1.27.0`; None for what PyTorch itself executes, whose version the machine has, or without it."""
    package = BACKENDS[name].package
    try:
        return f"{package} {version(package)}" if package else None
    except PackageNotFoundError:
        return None


def load_backend(name: str) -> Backend:
    """Imports a backend. Raises InputError if there is none of that name, or its runtime is not installed."""
    info = BACKENDS[check_backend(name)]
    module, _, class_name = info.target.partition(":")
    try:
        return cast("Backend", getattr(import_module(module), class_name)())
    except ImportError as error:
        raise missing(name, error) from error


def missing(name: str, error: ImportError) -> InputError:
    """Of a backend whose runtime cannot be imported."""
    extra = BACKENDS[name].extra
    remedy = f"pip install 'vlbench[{extra}]' installs it" if extra else "install it"
    return InputError(f"--backend {name}: cannot be imported ({first_line(error)}); {remedy}, or use {EAGER}")
