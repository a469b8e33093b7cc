"""Whether a measurement was disturbed: what is observed while samples are taken, and the verdict on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal

from vlbench.frozen import Frozen
from vlbench.measure.nvml import SLOWDOWNS
from vlbench.measure.statistics import LEAST_RESTARTS, drift, modes

Verdict = Literal["stable", "noisy", "contended"]

# What may run beside a measurement: 3% of the machine, at least a tenth of a core. Caches, memory and clocks are shared
# in about that proportion, so that it moves a latency by less than the 2% that are asked; and an idle system stays well
# below. A process on one of two cores is ten times as much.
OTHERS_SHARE, OTHERS_CORES = 0.03, 0.10
# A thread that is kept from its core holds up all others at the next barrier. Idle systems do that, too, in bursts of
# some ten milliseconds, which few samples meet: at 5% of the time the median of a restart moves by less than 1%, and
# what comes at every sample moves it by no more than those 5%. A burner takes 50% of two threads' cores.
WAITING_SHARE = STEAL_SHARE = 0.05
# A quota stops all threads at once, for most of its period of 100 ms; no quota, no stop.
QUOTA_SHARE = 0.01
# The kernel counts busy and stolen time in ticks of 10 ms: two of them can be rounding.
TICKS_SECONDS = 0.02
# One cell in a hundred would show such a trend by chance; it counts only where it is larger than the asked precision.
DRIFT_P = 0.01
# With this share of restarts in the largest mode, the median of 15 falls into it 98 times in 100.
MODE_MAJORITY = 0.75
# The reference kernel repeats within 1% on one clock: the middle half of its restarts must.
REFERENCE_SPREAD, GPU_CLOCK_SPREAD = 0.03, 0.05


class Interference(Frozen):
    """What else ran, and what held the process back, while one restart took its samples. None: unknown on this system.

    Attributes:
        wall_seconds: how long that took.
        cpu_seconds: processor time of the measuring process, all its threads.
        cores: of the machine, of which `other_processes_cores` is a part.
        involuntary_context_switches: how often the kernel took a core away from the process. No verdict depends on it:
            it happens on idle machines, too.
        waiting_threads: threads of the process that were ready to run but had no core, on average.
        other_processes_cores: cores kept busy by everything else on the machine, on average.
        steal_cores: cores that the hypervisor kept for others, on average.
        cpu_pressure: share of the time in which some task waited for a core (Linux pressure stall information); the
            measuring process's own threads are among them.
        quota_throttled_share: share of the time for which the control group's processor quota held it back.
        reference_kernel_ms: a fixed kernel, timed before, between and after the blocks of samples.
        gpu_clock_mhz: the lowest SM clock seen.
        gpu_throttle_reasons: reasons for which NVML said that clocks were lowered.
        gpu_other_processes: other processes that computed on the GPU, or hold it where the driver does not tell more.
    """

    wall_seconds: float
    cpu_seconds: float
    cores: int | None = None
    involuntary_context_switches: int | None = None
    waiting_threads: float | None = None
    other_processes_cores: float | None = None
    steal_cores: float | None = None
    cpu_pressure: float | None = None
    quota_throttled_share: float | None = None
    reference_kernel_ms: tuple[float, ...] = ()
    gpu_clock_mhz: float | None = None
    gpu_throttle_reasons: tuple[str, ...] = ()
    gpu_other_processes: int | None = None


class Noise(Frozen):
    """The verdict on a cell, and why, a sentence a reason; none where it is stable.

    `contended`: something else ran on the machine meanwhile, or it held the process back, in so many restarts that the
    rest cannot stand alone. `noisy`: not so, but the restarts differ so much, or drift so, that their median is no
    figure to the asked precision. `stable`: neither. `contended_restarts` is how many restarts were disturbed, whatever
    the verdict.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    contended_restarts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Disturbance:
    kind: str
    size: float
    sentence: str


def why_contended(interference: Interference) -> str | None:
    """What disturbed a restart, with the figures; None where nothing did, or nothing is known."""
    return "; ".join(found.sentence for found in _disturbances(interference)) or None


def undisturbed(interference: Sequence[Interference | None]) -> list[int]:
    """The restarts, by number, that a summary should stand on: the undisturbed ones; all of them where the cell is
    contended."""
    calm = [number for number, one in enumerate(interference) if one is None or not any(_disturbances(one))]
    return list(range(len(interference))) if _cannot_stand(len(calm), len(interference)) else calm


def judge(
    by_restart_ms: Sequence[float],
    interference: Sequence[Interference | None],
    *,
    within: float,
    ci95: tuple[float, float] | None,
) -> Noise:
    """The verdict on a cell.

    Contention is judged by the interference alone, never by the latency, so that no verdict depends on which way a
    result went. A restart whose interference is unknown counts as undisturbed.

    Args:
        by_restart_ms: median of each restart, in the order run.
        interference: of each restart; None where it is unknown.
        within: half-width of the interval that was asked for, as a share of the median.
        ci95: interval of the median over the restarts that `undisturbed` names; None where they were too few.

    Raises:
        ValueError: no restarts, or another number of interferences.
    """
    if not by_restart_ms or len(by_restart_ms) != len(interference):
        raise ValueError(f"{len(by_restart_ms)} restarts with {len(interference)} interferences")
    found = [list(_disturbances(one)) if one else [] for one in interference]
    count = sum(map(bool, found))
    if _cannot_stand(len(interference) - count, len(interference)):
        return Noise(verdict="contended", reasons=tuple(_contention(found)), contended_restarts=count)
    calm = undisturbed(interference)
    reasons = (
        *_imprecision([by_restart_ms[number] for number in calm], within, ci95),
        *_unsteady_machine([one for number in calm if (one := interference[number])]),
    )
    return Noise(verdict="noisy" if reasons else "stable", reasons=reasons, contended_restarts=count)


def others_limit(cores: int | None) -> float:
    """Cores that everything else may keep busy on a machine of so many."""
    return max(OTHERS_CORES, OTHERS_SHARE * (cores or 1))


def _cannot_stand(calm: int, restarts: int) -> bool:
    """Half of the restarts disturbed, and their median can be a disturbed one; or too few left for an interval, where
    there would have been enough."""
    return calm < restarts and (2 * calm <= restarts or calm < LEAST_RESTARTS <= restarts)


def _disturbances(interference: Interference) -> Iterator[_Disturbance]:
    rounding = TICKS_SECONDS / max(interference.wall_seconds, 1e-6)
    others = interference.other_processes_cores
    if others is not None and others > others_limit(interference.cores) + rounding:
        of = f" of {interference.cores}" if interference.cores else ""
        yield _Disturbance(
            kind="others", size=others, sentence=f"other processes kept {others:.2f}{of} cores busy on average"
        )
    waiting = _kept_waiting(interference)
    if waiting > WAITING_SHARE:
        yield _Disturbance(
            kind="waiting", size=waiting, sentence=f"{waiting:.2f} of its threads waited for a core on average"
        )
    steal = interference.steal_cores or 0.0
    if steal > STEAL_SHARE + rounding:
        yield _Disturbance(kind="steal", size=steal, sentence=f"the hypervisor kept {steal:.2f} cores for others")
    stopped = interference.quota_throttled_share or 0.0
    if stopped > QUOTA_SHARE:
        yield _Disturbance(
            kind="quota", size=stopped, sentence=f"its processor quota held it back {stopped:.0%} of the time"
        )
    yield from _gpu_disturbances(interference)


def _gpu_disturbances(interference: Interference) -> Iterator[_Disturbance]:
    if interference.gpu_other_processes:
        yield _Disturbance(
            kind="gpu others",
            size=interference.gpu_other_processes,
            sentence=f"other processes on the GPU: {interference.gpu_other_processes}",
        )
    slowed = sorted(SLOWDOWNS & set(interference.gpu_throttle_reasons))
    if slowed:
        yield _Disturbance(kind="gpu clock", size=1, sentence=f"the GPU lowered its clock: {', '.join(slowed)}")


def _kept_waiting(interference: Interference) -> float:
    """Share of the time that own threads waited because of others, who must have run meanwhile: a process with more
    threads than cores keeps itself waiting, which is no contention. Pressure stands in where waiting is not told."""
    waiting = interference.cpu_pressure if interference.waiting_threads is None else interference.waiting_threads
    if waiting is None or interference.other_processes_cores is None:
        return 0.0
    return min(waiting, interference.other_processes_cores)


def _contention(found: Sequence[Sequence[_Disturbance]]) -> Iterator[str]:
    """How many restarts were disturbed, then each kind at its worst, most frequent first."""
    yield f"{sum(map(bool, found))} of {len(found)} restarts were disturbed"
    every = [one for restart in found for one in restart]
    for kind, count in Counter(one.kind for one in every).most_common():
        worst = max((one for one in every if one.kind == kind), key=lambda one: one.size)
        yield f"{worst.sentence} (the most of {count} restarts)" if count > 1 else worst.sentence


def _imprecision(by_restart_ms: Sequence[float], within: float, ci95: tuple[float, float] | None) -> Iterator[str]:
    """Why the median over restarts is not known to `within`."""
    middle, count = median(by_restart_ms), len(by_restart_ms)
    if ci95 is None:
        yield f"{count} restart{'s' if count > 1 else ''} carry no 95% interval, which takes {LEAST_RESTARTS}"
    elif (half := (ci95[1] - ci95[0]) / 2 / middle) > within:
        yield f"the median is known to ±{half:.1%}, not to ±{within:.1%}"
    trend = drift(by_restart_ms)
    if trend.p < DRIFT_P and abs(trend.total) > within:
        yield f"latency drifted by {trend.total:+.1%} from the first restart to the last (p = {trend.p:.2g})"
    groups = modes(by_restart_ms)
    if len(groups) > 1 and max(map(len, groups)) < MODE_MAJORITY * count:
        sizes = ", ".join(f"{len(group)} at {float(f'{median(group):.3g}'):,g} ms" for group in groups)
        yield f"restarts fall into {len(groups)} modes: {sizes}"


def _unsteady_machine(interference: Sequence[Interference]) -> Iterator[str]:
    """What moved on the machine from restart to restart though no counter tells why."""
    spread = _middle_spread([median(one.reference_kernel_ms) for one in interference if one.reference_kernel_ms])
    if spread > REFERENCE_SPREAD:
        yield f"the reference kernel differed by {spread:.1%} between restarts: the clock, or an unseen neighbour"
    spread = _middle_spread([one.gpu_clock_mhz for one in interference if one.gpu_clock_mhz])
    if spread > GPU_CLOCK_SPREAD:
        yield f"the GPU's clock differed by {spread:.1%} between restarts"


def _middle_spread(values: Sequence[float]) -> float:
    """Between the quartiles, as a share of the median: the odd restart may differ. 0 for fewer than four."""
    if len(values) < 4:
        return 0.0
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / middle
