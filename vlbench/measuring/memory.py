"""Peak memory of this process: the kernel's own high-water mark on a CPU, the allocator's on a GPU."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from pathlib import Path

import psutil
import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Peak of the bytes in use since this object was made, above those in use at that time.

    On a CPU it is the resident set's high-water mark, which includes even the shortest peak; create this object in a
    fresh process before the model is built. On a GPU it is the most that PyTorch's allocator held.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.baseline = torch.cuda.memory_allocated(device)
        else:
            _reset_high_water()
            self.baseline = psutil.Process().memory_info().rss

    def forget(self) -> None:
        """Restarts the search for the peak above the same baseline.

        Memory that has been freed, such as the file of a model's weights, then does not count.
        """
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        gc.collect()
        if sys.platform == "linux":
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other libraries return freed memory
            if trim is not None:
                trim(0)
        _reset_high_water()

    def read_bytes(self) -> int:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return torch.cuda.max_memory_allocated(self.device) - self.baseline
        return max(0, _high_water() - self.baseline)


def _reset_high_water() -> None:
    """Resets the mark to what is resident now, if the kernel allows it (Linux: proc(5), clear_refs)."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def _high_water() -> int:
    try:
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
