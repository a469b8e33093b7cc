"""The backend `eager`."""

from __future__ import annotations

from functools import partial

from vlbench.runner.conversion import PreparedWorkload, Workload


class EagerBackend:
    """PyTorch executes one operator after the other; nothing is converted."""

    def prepare(self, workload: Workload) -> PreparedWorkload:
        return PreparedWorkload(forward=partial(workload.model, *workload.inputs), stages=workload.stages)
