"""A backend in a few lines, whose stages take at least 5 ms each; the head is eager."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from vlbench.architectures.heads import ImageTextMatching
from vlbench.runner.conversion import NotConvertibleError, PreparedWorkload, StageInputs, Workload, convert_stages

STAGE_MS = 5


class ToyBackend:
    def prepare(self, workload: Workload) -> PreparedWorkload:
        return replace(convert_stages(workload, slower), size_bytes=7)


def slower(module: nn.Module, inputs: StageInputs) -> Callable[..., Any]:
    forward = module.forward
    if isinstance(module, ImageTextMatching):
        raise NotConvertibleError("a toy has no heads")

    def converted(*positional: Any, **named: Any) -> Any:
        time.sleep(STAGE_MS / 1e3)
        return forward(*positional, **named)

    return converted
