"""The Python interface."""

from vlbench.api.comparing import ModuleComparison, assert_not_slower, compare
from vlbench.api.measurement import Measurement
from vlbench.api.models import Model, build, load
from vlbench.api.modules import count, measure
from vlbench.errors import InputError, WorkerError
from vlbench.measuring.module_counts import ModuleCounts
from vlbench.report.frames import Results, read

__all__ = [
    "InputError",
    "Measurement",
    "Model",
    "ModuleComparison",
    "ModuleCounts",
    "Results",
    "WorkerError",
    "assert_not_slower",
    "build",
    "compare",
    "count",
    "load",
    "measure",
    "read",
]
