"""Records of what is measured: the cost of one forward pass, precisions, and the speed of a machine."""

from __future__ import annotations

from typing import Literal

from vlbench.frozen import Frozen
from vlbench.measuring.machine import Machine
from vlbench.measuring.nvml import GpuSettings, GpuState


class Counts(Frozen):
    """Parameters of a model, and multiply-accumulates of one forward pass of a whole batch, in total and by stage.

    `flops` is 2 x `macs`. `params_table6`, `macs_table6` and `flops_table6` are those of the parts and tokens that
    ViLT's Table 6 counts for one example, the FLOPs in its own convention (docs/table6.md); None for architectures that
    are not in the table. `operators` counts the operators that PyTorch dispatches, the cheap ones included.
    `unknown_operators` says how often each ran whose MACs are not known, so that `macs` lacks them; None if none did.

    `bytes_moved` is what these operators read and write, each by itself, with elements of the size of the measured
    precision (docs/methodology.md); None if it was not counted.
    """

    image_tokens: int | None
    text_tokens: int
    params_total: int
    params_trainable: int
    params_by_stage: dict[str, int]
    macs: int
    macs_by_stage: dict[str, int]
    flops: int
    operators: int
    unknown_operators: dict[str, int] | None = None
    bytes_moved: int | None = None
    bytes_moved_by_stage: dict[str, int] | None = None
    params_table6: int | None = None
    macs_table6: int | None = None
    flops_table6: int | None = None


class Launch(Frozen):
    """How a pass on a GPU divides between the host and the GPU: medians of separate passes, in milliseconds.

    Attributes:
        wall_ms: from the call until the GPU was done.
        host_ms: until the call returned, so that everything was launched.
        gpu_busy_ms: time in which at least one kernel ran; None if the profiler gave no kernels.
    """

    wall_ms: float
    host_ms: float
    gpu_busy_ms: float | None = None

    @property
    def gpu_busy_share(self) -> float | None:
        """Share of the pass in which the GPU computed."""
        return None if self.gpu_busy_ms is None else min(1.0, self.gpu_busy_ms / self.wall_ms)


# int8: weights in 8 bits, and activations by ranges that each pass measures; int8-static: by calibrated ranges
Precision = Literal["fp32", "bf16", "fp16", "int8", "int8-static"]
Scope = Literal["stages", "model"]  # what of a model a backend converts: each stage by itself, or all of it at once
ELEMENT_BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2, "fp16": 2}  # of the others no tensor has one size


class ProcessSpeed(Frozen):
    """Milliseconds of the reference kernel and of a Transformer layer with `threads` threads, in one fresh process."""

    reference_kernel_ms: tuple[float, ...]
    layer_ms: tuple[float, ...]


class MachineSpeed(Frozen):
    """Peak rates of this machine, and how fast fresh processes are.

    Attributes:
        threads: PyTorch's, for all but `gemm_gflops_per_second_one_thread`.
        gemm_gflops_per_second_one_thread, gemm_gflops_per_second: fp32 product of two 2048 x 2048 matrices, 2 x 2048^3
            operations, in 10^9 per second; the best of at least three.
        copy_gigabytes_per_second: a copy of 256 MiB in 10^9 bytes per second; bytes read and bytes written both count,
            as in STREAM; the best of at least three.
        processes: one after the other.
        sees_gpu: whether PyTorch can use a GPU.
    """

    threads: int
    gemm_gflops_per_second_one_thread: float
    gemm_gflops_per_second: float
    copy_gigabytes_per_second: float
    processes: tuple[ProcessSpeed, ...]
    sees_gpu: bool = False


class GpuLoad(Frozen):
    """What a GPU did while it multiplied matrices without a pause.

    Attributes:
        tflops_per_second: the rate of each tenth of a second, one after the other, in 10^12 operations per second.
        states: what NVML showed meanwhile, as often; empty without NVML.
    """

    tflops_per_second: tuple[float, ...]
    states: tuple[GpuState, ...]


class GpuSpeed(Frozen):
    """How fast a GPU is.

    Attributes:
        tflops_per_second: of products of square matrices by precision, in 10^12 operations per second; fp32 is without
            TF32.
        memory_gigabytes_per_second: within its memory in 10^9 bytes per second; bytes read and bytes written both
            count.
        host_gigabytes_per_second: of copies from the host, out of pinned and out of pageable memory.
        load: what it kept up for some seconds.
    """

    tflops_per_second: dict[Precision, float]
    memory_gigabytes_per_second: float
    host_gigabytes_per_second: dict[Literal["pinned", "pageable"], float]
    load: GpuLoad


class GpuReport(Frozen):
    """The GPU that `--device cuda` takes, and how it is used.

    Attributes:
        machine: with this GPU.
        device, uuid: as PyTorch names it.
        visible: how many GPUs PyTorch sees.
        settings, at_rest: what NVML shows of it, and showed before it computed; None without NVML.
        others: processes of others that computed there meanwhile, or, if that is unknown, hold a context.
        holders: name and number of each process that holds a context, as far as they are known.
        speed: None if it could not be measured; `error` says why.
    """

    machine: Machine
    device: str
    uuid: str
    visible: int
    settings: GpuSettings | None
    at_rest: GpuState | None
    others: int | None
    holders: tuple[str, ...]
    speed: GpuSpeed | None
    error: str | None
