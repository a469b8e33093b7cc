"""The backend `compile`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from vlbench.measuring.records import QUANTISED
from vlbench.runner.conversion import NotConvertibleError, Part, PreparedWorkload, Workload
from vlbench.runner.parts import convert_workload
from vlbench.runner.quantisation import quantised

CACHE = "TORCHINDUCTOR_CACHE_DIR"


class CompileBackend:
    """torch.compile with its default backend, Inductor.

    Compilation is lazy, so that its time is that of the first pass. int8 is of linear layers alone.
    """

    def prepare(self, workload: Workload) -> PreparedWorkload:
        os.environ[CACHE] = str(workload.target.folder)
        return convert_workload(workload, _compiled)


def _compiled(part: Part) -> Callable[..., Any]:
    if part.target.precision in QUANTISED:
        with suppress(NotConvertibleError):  # without linear layers it is compiled in fp32
            quantised(part)
    return torch.compile(part.eager)
