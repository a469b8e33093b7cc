"""`peaks.jsonl` of a results folder: the peak compute and memory speed of the machine, for a roofline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from pydantic import BaseModel, Field

from vlbench.errors import InputError, WorkerError
from vlbench.measuring.machine import Machine
from vlbench.measuring.records import Precision
from vlbench.runner.backends import QUANTISED
from vlbench.runner.reader import PEAKS, read_lines, warn
from vlbench.runner.records import Result
from vlbench.runner.schemas import ResultLine
from vlbench.runner.store import append_line, cut_off_fragment
from vlbench.runner.worker_client import Worker

SILENCE_SECONDS = 60


class Setting(NamedTuple):
    """What peaks depend on besides the machine."""

    device: Literal["cpu", "cuda"]
    precision: Precision
    threads: int


class Peaks(ResultLine):
    """One line of `peaks.jsonl`; docs/results.md explains each key.

    Attributes:
        threads: of PyTorch, as in the cells that these peaks are for.
        gflops_per_second: the fastest of several kernels (`vlbench.measuring.peaks.KINDS`), in 10^9 operations per
            second. A MAC is two operations; fp32 is without TF32.
        gigabytes_per_second: the fastest copy, sum or fill in the device's memory, in 10^9 bytes per second. Bytes
            read and bytes written both count, as in STREAM.
    """

    device: Literal["cpu", "cuda"]
    precision: Precision
    threads: int
    gflops_per_second: float = Field(gt=0)
    gigabytes_per_second: float = Field(gt=0)
    machine: Machine
    measured_at: str
    vlbench_version: str

    @property
    def setting(self) -> Setting:
        return Setting(self.device, self.precision, self.threads)


def read_peaks(folder: Path) -> list[Peaks]:
    """All peaks of a folder, in the order measured; none if there is no file.

    Raises InputError, naming file and line, if a line is damaged. A last line that was cut off is left out with a
    warning.
    """
    return read_lines(folder / PEAKS, Peaks)


def settings_without_peaks(results: Sequence[BaseModel], known: Sequence[Peaks], machine: Machine) -> list[Setting]:
    """The settings under which models were measured on this machine, but for which no peaks are known."""
    measured = {peaks.setting for peaks in known if peaks.machine.same_hardware_and_software(machine)}
    settings = [
        Setting(cast(Any, result.device), cast(Any, result.precision), result.machine.threads)
        for result in results
        if isinstance(result, Result)
        and result.status == "ok"
        and result.precision not in QUANTISED
        and result.machine.same_hardware_and_software(machine)
    ]
    return [setting for setting in dict.fromkeys(settings) if setting not in measured]


def keep_peaks(setting: Setting, folder: Path, worker: Worker) -> None:
    """Measures peaks in a worker and appends their line. If that fails, it warns: the results are valid without."""
    path = folder / PEAKS
    try:
        (message,) = worker.run_job({"action": "peaks", "setting": setting._asdict()}, SILENCE_SECONDS)
        peaks = Peaks.model_validate(message["peaks"])
        cut_off_fragment(path)
        with path.open("ab", buffering=0) as file:
            append_line(file, peaks.to_line())
    except (WorkerError, InputError, OSError, ValueError) as error:  # ValueError: a peak that is no number
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warn(f"the machine's peaks could not be measured, so {PEAKS} has none: {reason}")
