"""The backend `cuda-graph`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from vlbench.errors import InputError
from vlbench.runner.conversion import PreparedWorkload, Workload

PASSES_BEFORE = 3  # libraries allocate and choose kernels in the first ones, which a graph cannot record


class CudaGraphBackend:
    """CUDA records the kernels of one pass and launches all of them at once, so that a pass does not wait for the host.

    The whole pass is one graph, which can only be timed as a whole.
    """

    def prepare(self, workload: Workload) -> PreparedWorkload:
        """Raises InputError on a CPU, and for a model whose pass asks the host for something, as suppression does."""
        if workload.device.type != "cuda":
            raise InputError("--backend cuda-graph: needs a GPU, and this computes on the CPU; --backend eager works")
        with torch.inference_mode():
            graph, output = _captured(workload.forward)

        def replay() -> Any:
            graph.replay()
            return output

        return PreparedWorkload(forward=replay, stages={})


def _captured(forward: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
    """The graph, and where each replay writes its output."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(PASSES_BEFORE):
            forward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            output = forward()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"--backend cuda-graph: this model cannot be recorded, as a pass asks the host ({reason}); "
            "--backend eager works"
        ) from error
    return graph, output
