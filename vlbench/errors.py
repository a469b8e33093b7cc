"""Errors that the command line prints as one line: bad input (exit code 2) and a worker that failed (exit code 1)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

# Characters that a message echoes of a word, of a list of words, and of what a library says
LONGEST_WORD, LONGEST_LIST, LONGEST_REASON = 60, 150, 160

ADVICE_ENDS = "## Exception summary"  # in an error of PyTorch's ONNX exporter, before its reason

# What PyTorch and its libraries write into a RuntimeError where the device failed, and not the program
OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "std::bad_alloc", "Cannot allocate memory", "_ALLOC_FAILED")
GPU_FAILED = ("CUDA error", "CUDA driver error", "cuDNN error", "CUDNN_STATUS_", "CUBLAS_STATUS_", "NCCL error")


class InputError(Exception):
    """Bad input. The message says where, what is wrong, and what would work."""


class SpecError(InputError):
    """A model or suite file that does not describe something vlbench can build."""


class WorkerError(Exception):
    """A measuring process ended without a result; the message is the reason."""


class HeadError(WorkerError):
    """Of two compared versions, the new one cannot be measured while the old one can."""


class DeviceError(WorkerError):
    """Memory ran out, or a GPU failed, in this process; the message is the reason, and what would work."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation needed more memory than there is, on a CPU or a GPU."""
    if isinstance(error, MemoryError) or _has_type(error, "OutOfMemoryError"):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)


def device_failure(error: BaseException) -> str | None:
    """Why the device, and not the program, ended a computation; None for any other error."""
    lines = str(error).strip().splitlines()
    on_gpu = [line.strip() for line in lines if any(sign in line for sign in (*GPU_FAILED, "CUDA out of memory"))]
    if is_out_of_memory(error):
        amount = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
        where = "the GPU is out of memory" if on_gpu or _has_type(error, "OutOfMemoryError") else "out of memory"
        return f"{where} (tried to allocate {amount[1]})" if amount else where
    if isinstance(error, RuntimeError) and (on_gpu or _has_type(error, "AcceleratorError")):
        return (on_gpu or lines or ["the GPU failed"])[0]
    return None


def _has_type(error: BaseException, name: str) -> bool:
    """By the name of PyTorch's class, which not every version has, and which is not imported for this."""
    return any(kind.__name__ == name for kind in type(error).__mro__)


@contextmanager
def device_errors_in_one_line(less_memory: str, kept: Callable[[], str] = str) -> Iterator[None]:
    """Raises DeviceError where memory runs out or a GPU fails; any other error stays what it is.

    Args:
        less_memory: what would need less memory.
        kept: gives the end of the message, what of the work so far is kept.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = device_failure(error)
        if reason is None:
            raise
        remedy = less_memory if is_out_of_memory(error) else "--device cpu works without the GPU"
        raise DeviceError(f"{reason}; {remedy}{kept()}") from error


def nearest(word: str, known: Iterable[str], *, amount: int = 1) -> str:
    """For the end of a message: `did you mean X?`, or the known words, as far as they fit, where none is similar."""
    known = sorted(known)
    close = difflib.get_close_matches(word[:LONGEST_WORD], known, n=amount, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    listed = ", ".join(known)
    if len(listed) > LONGEST_LIST:
        listed = f"{listed[:LONGEST_LIST].rpartition(',')[0]}, ..."
    return f"known: {listed}"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type if it says nothing.

    Errors of OpenVINO say where they were raised first, and why last; those of PyTorch's ONNX exporter give advice
    before the reason.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if ADVICE_ENDS in lines[:-1]:
        return lines[lines.index(ADVICE_ENDS) + 1]
    if not lines:
        return type(error).__name__
    return lines[-1] if lines[0].startswith("Exception from ") else lines[0]


def shortened(text: str, longest: int = LONGEST_WORD) -> str:
    """The text, or its start and three dots, if it is longer than this."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def quoted(value: object) -> str:
    """An external value as a message echoes it: in one short line, without control characters."""
    return shortened(repr(value[: 2 * LONGEST_WORD] if isinstance(value, str) else value))
