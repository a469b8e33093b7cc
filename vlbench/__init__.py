"""vlbench: parameters, MACs, memory and latency of vision-and-language architectures, stage by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlbench.version import __version__

if TYPE_CHECKING:
    from vlbench.api import (
        InputError,
        Measurement,
        Model,
        ModuleComparison,
        ModuleCounts,
        Results,
        WorkerError,
        assert_not_slower,
        build,
        compare,
        count,
        load,
        measure,
        read,
    )

__all__ = [
    "InputError",
    "Measurement",
    "Model",
    "ModuleComparison",
    "ModuleCounts",
    "Results",
    "WorkerError",
    "__version__",
    "assert_not_slower",
    "build",
    "compare",
    "count",
    "load",
    "measure",
    "read",
]


def __getattr__(name: str) -> Any:
    """Imports the interface when it is first asked for, so that the command line starts at once."""
    if name in __all__:
        from vlbench import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
