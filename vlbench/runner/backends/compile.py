"""The backend `compile`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import torch
from torch._dynamo.exc import FailOnRecompileLimitHit

from vlbench.runner.backends import QUANTISED
from vlbench.runner.conversion import NotConvertibleError, Part, PreparedWorkload, Workload
from vlbench.runner.parts import convert_workload
from vlbench.runner.quantisation import quantised

CACHE = "TORCHINDUCTOR_CACHE_DIR"
MOST_COMPILATIONS = 64  # of one function: of all layers of a kind, for arguments of any size


class CompileBackend:
    """torch.compile with its default backend, Inductor.

    Compilation is lazy, so that its time is that of the first pass. int8 is of linear layers alone.
    """

    def prepare(self, workload: Workload) -> PreparedWorkload:
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        os.environ[CACHE] = str(workload.target.folder)
        torch._dynamo.config.recompile_limit = MOST_COMPILATIONS
        torch._dynamo.config.fail_on_recompile_limit_hit = True  # it would go on in eager PyTorch without a word
        return convert_workload(workload, _compiled)


def _compiled(part: Part) -> Callable[..., Any]:
    if part.target.precision in QUANTISED:
        with suppress(NotConvertibleError):  # without linear layers it is compiled in fp32
            quantised(part)
    compiled = torch.compile(part.eager, dynamic=None if part.target.fixed_shapes else True)

    @wraps(part.eager)  # code that generates text looks at its arguments
    def forward(*positional: Any, **named: Any) -> Any:
        try:
            return compiled(*positional, **named)
        except FailOnRecompileLimitHit as error:
            raise NotConvertibleError(f"it would be compiled more than {MOST_COMPILATIONS} times") from error

    return forward
