"""The backend `compile`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from vlbench.runner.conversion import Part, PreparedWorkload, Workload, convert_workload

CACHE = "TORCHINDUCTOR_CACHE_DIR"


class CompileBackend:
    """torch.compile with its default backend, Inductor.

    Compilation is lazy, so that its time is that of the first pass.
    """

    def prepare(self, workload: Workload) -> PreparedWorkload:
        os.environ[CACHE] = str(workload.target.folder)
        return convert_workload(workload, _compiled)


def _compiled(part: Part) -> Callable[..., Any]:
    return torch.compile(part.eager)
