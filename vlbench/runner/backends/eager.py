"""The backend `eager`."""

from __future__ import annotations

from vlbench.runner.conversion import PreparedWorkload, Workload


class EagerBackend:
    """PyTorch executes one operator after the other; nothing is converted."""

    def prepare(self, workload: Workload) -> PreparedWorkload:
        return PreparedWorkload(forward=workload.forward, stages=workload.stages)
