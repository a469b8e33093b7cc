"""How fast the machine computes and copies, and how alike fresh processes are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ProcessSpeed(BaseModel):
    """One fresh process: the reference kernel, and a Transformer layer with `threads` threads, in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference_ms: tuple[float, ...]
    layer_ms: tuple[float, ...]


class MachineSpeed(BaseModel):
    """Peaks that this machine reached, and the spread of fresh processes.

    Attributes:
        threads: PyTorch's, for all but `gemm_gflops_one_thread`.
        gemm_gflops_one_thread, gemm_gflops: fp32 product of two 2048 x 2048 matrices, 2 x 2048^3 operations, in 10^9 a
            second; the best of at least three.
        copy_gigabytes_per_second: 256 MiB copied to another place; bytes read and bytes written both count, as STREAM
            counts them, in 10^9 a second; the best of at least three.
        processes: fresh processes, one after the other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int
    gemm_gflops_one_thread: float
    gemm_gflops: float
    copy_gigabytes_per_second: float
    processes: tuple[ProcessSpeed, ...]
