"""The runtimes that execute a model: each module of this folder is one, and docs/backends.md shows how to add another.

Importing this package imports neither PyTorch nor any backend.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.errors import InputError, nearest

if TYPE_CHECKING:
    from vlbench.runner.conversion import Backend

EAGER = "eager"


def _class_name(module: str) -> str:
    return "".join(word.title() for word in module.split("_")) + "Backend"


BACKENDS = {
    path.stem.replace("_", "-"): f"{__name__}.{path.stem}:{_class_name(path.stem)}"
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py"))
}  # name -> "module:Class", imported on first use


def check_backend(name: str) -> str:
    """The name itself. Raises InputError if there is no such backend."""
    if name not in BACKENDS:
        raise InputError(f"--backend {name}: no such backend; {nearest(name, BACKENDS)}")
    return name


def load_backend(name: str) -> Backend:
    """Imports a backend. Raises InputError if there is none of that name, or its runtime is not installed."""
    module, _, class_name = BACKENDS[check_backend(name)].partition(":")
    try:
        backend: Backend = getattr(import_module(module), class_name)()
    except ImportError as error:
        raise InputError(f"--backend {name}: cannot be imported ({error}); install it, or use {EAGER}") from error
    return backend
