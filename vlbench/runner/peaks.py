"""`peaks.jsonl` of a results folder: what the machine itself reaches, which a roofline holds its models against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from pydantic import BaseModel, Field

from vlbench.errors import InputError, WorkerError
from vlbench.measure.machine import Machine
from vlbench.measure.records import Precision
from vlbench.runner.records import Result
from vlbench.runner.schemas import ResultLine
from vlbench.runner.store import PEAKS, append_line, cut_off_fragment, read_lines, warn
from vlbench.runner.worker_client import Worker

SILENCE_SECONDS = 60


class Setting(NamedTuple):
    """What peaks depend on beside the machine."""

    device: Literal["cpu", "cuda"]
    precision: Precision
    threads: int


class Peaks(ResultLine):
    """One line of `peaks.jsonl`; docs/results.md explains each key.

    Attributes:
        threads: PyTorch's, as of the cells that these peaks are for.
        gflops_per_second: the most that a product of two square matrices or, on a CPU, a convolution reached, in 10^9
            operations a second, a MAC being two; fp32 without TF32.
        gigabytes_per_second: the most that a copy from and to the device's memory reached; bytes read and bytes written
            both count, as STREAM counts them, in 10^9 a second.
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
    """All peaks of a folder, in the order measured; none where there is no file.

    Raises InputError, naming file and line, where a line is damaged; a last one that was cut off is told and left out.
    """
    return read_lines(folder / PEAKS, Peaks)


def settings_without_peaks(results: Sequence[BaseModel], held: Sequence[Peaks], machine: Machine) -> list[Setting]:
    """Those under which models were measured on this machine, whose peaks are not held yet."""
    known = {peaks.setting for peaks in held if peaks.machine.same_hardware_and_software(machine)}
    settings = [
        Setting(cast(Any, result.device), cast(Any, result.precision), result.machine.threads)
        for result in results
        if isinstance(result, Result) and result.status == "ok" and result.machine.same_hardware_and_software(machine)
    ]
    return [setting for setting in dict.fromkeys(settings) if setting not in known]


def keep_peaks(setting: Setting, folder: Path, worker: Worker) -> None:
    """Has peaks measured and adds their line; where that fails, it is told, and nothing else is lost for it."""
    path = folder / PEAKS
    try:
        (message,) = worker.ask({"action": "peaks", "setting": setting._asdict()}, SILENCE_SECONDS)
        peaks = Peaks.model_validate(message["peaks"])
        cut_off_fragment(path)
        with path.open("ab", buffering=0) as file:
            append_line(file, peaks.to_line())
    except (WorkerError, InputError, OSError, ValueError) as error:  # ValueError: a peak of infinity or none
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warn(f"the machine's peaks could not be measured, so {PEAKS} has none: {reason}")
