"""From the restarts of a cell to its result: whether there are enough of them, and what they amount to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any, Literal, Protocol

from vlbench.measuring.machine import Machine
from vlbench.measuring.noise import Interference, Noise, judge, why_contended
from vlbench.measuring.records import Counts, Launch
from vlbench.measuring.statistics import LEAST_RESTARTS, LatencySummary, enough, summarise
from vlbench.runner.cells import Cell, blank_result
from vlbench.runner.nms_records import SuppressionCell, SuppressionRestart, SuppressionResult, suppression_result
from vlbench.runner.records import Conversion, Restart, Result, undisturbed_restarts


@dataclass(frozen=True, slots=True)
class RestartFailure:
    """Why a cell cannot be measured; `invalid` if it ran, but its latency would be meaningless."""

    reason: str
    status: Literal["failed", "invalid"] = "failed"


class Observed(Protocol):
    """A restart of any kind."""

    @property
    def interference(self) -> Interference | None: ...


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def series(restart: Restart | SuppressionRestart) -> Mapping[str, Sequence[float]]:
    """Samples, in milliseconds, of everything whose interval must be narrow before measuring stops."""
    return restart.latency_ms if isinstance(restart, SuppressionRestart) else {"end to end": restart.latency_ms}


def finished(cell: Cell | SuppressionCell, restarts: Sequence[Any], spent_seconds: float) -> bool:
    """Whether a cell needs no further restart: it has the number requested, or a narrow interval, or no time left."""
    if cell.restarts is not None:
        return len(restarts) >= cell.restarts
    if len(restarts) < LEAST_RESTARTS:
        return False
    if spent_seconds >= cell.budget_seconds:
        return True
    undisturbed = [
        series(restart) for restart in restarts if not (restart.interference and why_contended(restart.interference))
    ]
    if len(undisturbed) < LEAST_RESTARTS:
        return False
    return all(enough([median(samples[name]) for samples in undisturbed], cell.within) for name in undisturbed[0])


def summarise_cell(
    cell: Cell,
    machine: Machine,
    restarts: Sequence[Restart],
    counts: Counts | None,
    failure: RestartFailure | None = None,
    conversion: Conversion | None = None,
) -> Result:
    """The result of a cell. `failure` says why measuring stopped early, or why there are no counts."""
    machine = machine.model_copy(update={"threads": cell.threads})
    fields: dict[str, Any] = {
        "restarts": tuple(restarts),
        "measured_at": restarts[-1].measured_at if restarts else now(),
        "seconds_by_phase": _total_seconds(restarts),
        "conversion": conversion,
    }
    if restarts:
        peaks = [restart.peak_memory_bytes for restart in restarts if restart.peak_memory_bytes is not None]
        fields |= {
            "detector_load": restarts[0].detector_load,
            "peak_memory_bytes": int(median(peaks)) if peaks else None,
        }
    if counts:
        fields |= counts.model_dump(exclude={"text_tokens"})
    if failure:
        return blank_result(cell, machine, status=failure.status, error=failure.reason, **fields)
    counted = undisturbed_restarts(restarts)
    fields |= {
        "joules": _median_of_known([restart.joules for restart in counted]),
        "launch": _median_launch([restart.launch for restart in counted if restart.launch]),
    }
    latency_ms = summarise([restart.latency_ms for restart in counted])
    names = counted[0].latency_ms_by_stage
    inputs = [restart.input_ms for restart in counted if restart.input_ms]
    return blank_result(
        cell,
        machine,
        status="ok",
        latency_ms=latency_ms,
        latency_ms_by_stage={
            name: summarise([restart.latency_ms_by_stage[name] for restart in counted]) for name in names
        },
        input_ms=summarise(inputs) if inputs else None,
        noise=_noise(cell, restarts, [restart.latency_ms for restart in restarts], latency_ms),
        **fields,
    )


def summarise_suppression(
    cell: SuppressionCell,
    machine: Machine,
    restarts: Sequence[SuppressionRestart],
    failure: RestartFailure | None = None,
) -> SuppressionResult:
    """The result of a suppression cell."""
    measured_at = restarts[-1].measured_at if restarts else now()
    if failure:
        reason = failure.reason
        return suppression_result(cell, machine, measured_at, status="failed", error=reason, restarts=tuple(restarts))
    counted = undisturbed_restarts(restarts)
    latency_ms = {name: summarise([restart.latency_ms[name] for restart in counted]) for name in counted[0].latency_ms}
    widest = max(latency_ms, key=lambda name: _width(latency_ms[name]))
    return suppression_result(
        cell,
        machine,
        measured_at,
        status="ok",
        latency_ms=latency_ms,
        noise=_noise(cell, restarts, [restart.latency_ms[widest] for restart in restarts], latency_ms[widest]),
        restarts=tuple(restarts),
    )


def _width(latency: LatencySummary) -> float:
    return (latency.ci95[1] - latency.ci95[0]) / latency.median if latency.ci95 else float("inf")


def _noise(
    cell: Cell | SuppressionCell,
    restarts: Sequence[Observed],
    samples_ms: Sequence[Sequence[float]],
    latency: LatencySummary,
) -> Noise:
    interference = [restart.interference for restart in restarts]
    return judge(list(map(median, samples_ms)), interference, within=cell.within, ci95=latency.ci95)


def _median_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _median_launch(launches: Sequence[Launch]) -> Launch | None:
    if not launches:
        return None
    return Launch(
        wall_ms=median(launch.wall_ms for launch in launches),
        host_ms=median(launch.host_ms for launch in launches),
        gpu_busy_ms=_median_of_known([launch.gpu_busy_ms for launch in launches]),
    )


def _total_seconds(restarts: Sequence[Restart]) -> dict[str, float]:
    names = dict.fromkeys(name for restart in restarts for name in restart.seconds_by_phase)
    return {name: round(sum(restart.seconds_by_phase.get(name, 0.0) for restart in restarts), 3) for name in names}
