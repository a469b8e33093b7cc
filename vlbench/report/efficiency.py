"""How well a measurement uses its machine: examples per second, model FLOPs utilisation, share of the bandwidth, energy
and how long the GPU is busy. docs/methodology.md has the formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from vlbench.runner.peaks import Peaks
from vlbench.runner.records import Result
from vlbench.tables.numbers import any_number, counted, percent, short_number
from vlbench.tables.table import TableColumn

LEAST_GPU_BUSY_SHARE = 0.80  # a pass in which the GPU computes for less is bound by the host
GRAPH_BACKEND = "cuda-graph"  # launches a pass at once


class Roof(NamedTuple):
    """What a machine's peaks depend on."""

    machine: str
    device: str
    precision: str
    threads: int


class Peak(NamedTuple):
    """The most that was reached under a roof."""

    gflops_per_second: float
    gigabytes_per_second: float


Roofs = Mapping[Roof, Peak]
NO_ROOFS: Roofs = {}


def roof_of(measured: Result | Peaks) -> Roof:
    threads = measured.threads if isinstance(measured, Peaks) else measured.machine.threads
    return Roof(measured.machine.in_few_words(), measured.device, measured.precision, threads)


def highest_peaks(peaks: Iterable[Peaks]) -> Roofs:
    """The peaks of each roof; the highest, if it was measured several times."""
    highest: dict[Roof, Peak] = {}
    for each in peaks:
        roof, peak = roof_of(each), Peak(each.gflops_per_second, each.gigabytes_per_second)
        highest[roof] = Peak(*map(max, peak, highest.get(roof, peak)))
    return highest


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """None where a measurement failed, or something that the figure is made of is unknown.

    Attributes:
        mfu, bandwidth_share: shares of the machine's peaks, which can exceed 1.
        joules: of one pass of the whole batch.
        gpu_busy_share: share of a pass in which the GPU computes.
    """

    examples_per_second: float | None
    mfu: float | None
    bandwidth_share: float | None
    joules: float | None
    joules_per_example: float | None
    gpu_busy_share: float | None


def efficiency(result: Result, roofs: Roofs) -> Efficiency:
    seconds = result.latency_ms.median / 1000 if result.status == "ok" and result.latency_ms else None
    peak = roofs.get(roof_of(result)) if roofs else None
    flops = None if result.macs is None else 2 * result.macs
    launch = result.launch
    return Efficiency(
        examples_per_second=_over(result.batch, seconds),
        mfu=_over(_over(flops, seconds), peak and 1e9 * peak.gflops_per_second),
        bandwidth_share=_over(_over(result.bytes_moved, seconds), peak and 1e9 * peak.gigabytes_per_second),
        joules=result.joules,
        joules_per_example=_over(result.joules, result.batch),
        gpu_busy_share=launch.gpu_busy_share if launch and launch.wall_ms else None,
    )


def _over(value: float | None, divisor: float | None) -> float | None:
    return None if value is None or not divisor else value / divisor


def efficiency_columns(roofs: Roofs) -> tuple[TableColumn[Result], ...]:
    """A terminal shows what fits beside the latency; files have them all."""

    def of_result(column: TableColumn[Efficiency]) -> TableColumn[Result]:
        return column.of(lambda result: efficiency(result, roofs))

    return tuple(map(of_result, COLUMNS))


def _column(name: str, field: str, write: Callable[[float], str], *, in_terminal: bool) -> TableColumn[Efficiency]:
    return TableColumn(name, attrgetter(field), write, shown="always" if in_terminal else "files")


COLUMNS = (
    _column("examples/s", "examples_per_second", any_number, in_terminal=True),
    _column("MFU %", "mfu", percent, in_terminal=True),
    _column("bandwidth %", "bandwidth_share", percent, in_terminal=False),
    _column("J a pass", "joules", any_number, in_terminal=False),
    _column("J an example", "joules_per_example", any_number, in_terminal=True),
    _column("GPU busy %", "gpu_busy_share", percent, in_terminal=False),
)


def gpu_cautions(result: Result) -> Iterator[str]:
    """Whether the host, heat or the power supply held the GPU back."""
    launch, busy = result.launch, efficiency(result, NO_ROOFS).gpu_busy_share
    if launch and busy is not None and busy < LEAST_GPU_BUSY_SHARE:
        graph = "" if GRAPH_BACKEND in result.backend else f"--backend {GRAPH_BACKEND} or "
        times = f"wall {short_number(launch.wall_ms)} ms, launched after {short_number(launch.host_ms)} ms"
        words = f"the GPU computes for {busy:.0%} of a pass ({times}); {graph}a larger --batch helps"
        yield f"bound by the host: {words}"
    discarded = [restart.interference.gpu_discarded_samples or 0 for restart in result.restarts if restart.interference]
    if any(discarded):
        samples = (
            f"{counted(sum(discarded), 'sample')} in {sum(map(bool, discarded))} of {len(result.restarts)} restarts"
        )
        yield f"discarded {samples}, as heat or the power supply lowered the GPU's clock meanwhile"
