"""The backend `eager`."""

from __future__ import annotations

from vlbench.measuring.records import QUANTISED
from vlbench.runner.conversion import PreparedWorkload, Workload
from vlbench.runner.parts import convert_workload
from vlbench.runner.quantisation import quantised


class EagerBackend:
    """PyTorch executes one operator after the other; nothing but the precision is converted."""

    def prepare(self, workload: Workload) -> PreparedWorkload:
        if workload.target.precision in QUANTISED:
            return convert_workload(workload, quantised)
        return PreparedWorkload(forward=workload.forward, stages=workload.stages)
