"""Whether something interfered with a measurement: what is recorded while samples are taken, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median, quantiles
from typing import Literal

from pydantic.dataclasses import dataclass as record

from vlbench.frozen import COMPACT, Frozen
from vlbench.measuring.nvml import SLOWDOWNS
from vlbench.measuring.statistics import LEAST_RESTARTS, drift, modes, reaches

Verdict = Literal["stable", "noisy", "contended"]

# Other processes may use 3% of the machine, or a tenth of a core if that is more. Caches, memory and clocks are shared
# in about that proportion, so this moves a latency by less than 2%, the default of --within. An idle system stays well
# below it; a process that keeps one of two cores busy is ten times as much.
OTHERS_SHARE, OTHERS_CORES = 0.03, 0.10
# A thread that waits for a core delays all others at the next barrier. That happens on idle systems, too, in bursts of
# about ten milliseconds that affect few samples: at 5% of the time the median of a restart moves by less than 1%. If
# it affects every sample, the median moves by 5% at most. A busy loop takes 50% of two threads' cores.
WAITING_SHARE = STEAL_SHARE = 0.05
# A quota stops all threads at once, for most of its period of 100 ms.
QUOTA_SHARE = 0.01
# The kernel counts busy and stolen time in ticks of 10 ms; a difference of two ticks can be rounding.
TICKS_SECONDS = 0.02
# One measurement in a hundred shows such a trend by chance. It counts only if it is larger than --within.
DRIFT_P = 0.01
# With this share of restarts in the largest mode, the median of 15 restarts lies in that mode 98 times in 100.
MODE_MAJORITY = 0.75
# At a constant clock the reference kernel repeats within 1%. The limit applies to the middle half of the restarts.
REFERENCE_SPREAD, GPU_CLOCK_SPREAD = 0.03, 0.05


@record(frozen=True, slots=True, kw_only=True, config=COMPACT)
class Interference:
    """What else ran, and what held the process back, while one restart took its samples. None: unknown on this system.

    Attributes:
        wall_seconds: how long taking the samples took.
        cpu_seconds: processor time of the measuring process, all its threads.
        cores: of the machine, of which `other_processes_cores` is a part.
        involuntary_context_switches: how often the kernel took a core away from the process. No verdict depends on it:
            it happens on idle machines, too.
        waiting_threads: threads of the process that were ready to run but had no core, on average.
        other_processes_cores: cores kept busy by everything else on the machine, on average.
        steal_cores: cores that the hypervisor gave to other machines, on average.
        cpu_pressure: share of the time in which some task waited for a core (Linux pressure stall information); tasks
            include the threads of the measuring process.
        quota_throttled_share: share of the time in which the control group's processor quota stopped the process.
        reference_kernel_ms: times of a fixed kernel before, between and after the blocks of samples.
        gpu_clock_mhz: the lowest SM clock seen.
        gpu_throttle_reasons: NVML's reasons for lowered clocks.
        gpu_other_processes: other processes that computed on the GPU, or, if the driver does not report that, that hold
            a context on it.
        gpu_discarded_samples: samples that were discarded because the GPU lowered its clock meanwhile.
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
    gpu_discarded_samples: int | None = None


class Noise(Frozen):
    """The verdict on a measurement, with one sentence per reason; none if it is stable.

    `contended`: something else used the machine, or the process was held back, in so many restarts that the others are
    too few. `noisy`: not contended, but the restarts differ or drift too much for a median that is precise to the
    requested `within`. `stable`: neither. `contended_restarts` counts the disturbed restarts, whatever the verdict.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    contended_restarts: int = 0

    @property
    def contention(self) -> str | None:
        """`contended: ` and why; None for the other verdicts."""
        if self.verdict != "contended":
            return None
        return f"contended: {'; '.join(self.reasons) or 'something else used the machine'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Disturbance:
    kind: str
    size: float
    sentence: str


def why_contended(interference: Interference) -> str | None:
    """What disturbed a restart, with the figures; None if nothing did, or nothing is known."""
    return "; ".join(disturbance.sentence for disturbance in _disturbances(interference)) or None


def undisturbed(interference: Sequence[Interference | None]) -> list[int]:
    """The indices of the restarts to summarise: the undisturbed ones; all of them if the measurement is contended."""
    calm = [index for index, known in enumerate(interference) if known is None or not any(_disturbances(known))]
    return list(range(len(interference))) if _too_few(len(calm), len(interference)) else calm


def judge(
    by_restart_ms: Sequence[float],
    interference: Sequence[Interference | None],
    *,
    within: float,
    ci95: tuple[float, float] | None,
) -> Noise:
    """The verdict on a measurement.

    Contention is judged by the interference alone, never by the latency, so that a verdict does not depend on the
    result. A restart whose interference is unknown counts as undisturbed.

    Args:
        by_restart_ms: median of each restart, in the order run.
        interference: of each restart; None if it is unknown.
        within: requested half-width of the interval, as a share of the median.
        ci95: interval of the median over the restarts that `undisturbed` names; None if they are too few.

    Raises:
        ValueError: no restarts, or another number of interferences.
    """
    if not by_restart_ms or len(by_restart_ms) != len(interference):
        raise ValueError(f"{len(by_restart_ms)} restarts with {len(interference)} interferences")
    disturbances = [list(_disturbances(known)) if known else [] for known in interference]
    count = sum(map(bool, disturbances))
    if _too_few(len(interference) - count, len(interference)):
        return Noise(verdict="contended", reasons=tuple(_contention(disturbances)), contended_restarts=count)
    calm = undisturbed(interference)
    reasons = (
        *_imprecision([by_restart_ms[index] for index in calm], within, ci95),
        *_unsteady_machine([known for index in calm if (known := interference[index])]),
    )
    return Noise(verdict="noisy" if reasons else "stable", reasons=reasons, contended_restarts=count)


def others_limit(cores: int | None) -> float:
    """How many cores other processes may keep busy on a machine with so many cores."""
    return max(OTHERS_CORES, OTHERS_SHARE * (cores or 1))


def _too_few(calm: int, restarts: int) -> bool:
    """Whether the undisturbed restarts cannot be summarised alone.

    If half of the restarts are disturbed, their median can be a disturbed one; or the undisturbed ones are too few for
    an interval, while all of them are enough.
    """
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
    """How many of the process's threads waited because of other processes, on average.

    Other processes must have run meanwhile: the threads of a process with more threads than cores wait for each other,
    which is no contention. Pressure is used if waiting is unknown.
    """
    waiting = interference.cpu_pressure if interference.waiting_threads is None else interference.waiting_threads
    if waiting is None or interference.other_processes_cores is None:
        return 0.0
    return min(waiting, interference.other_processes_cores)


def _contention(by_restart: Sequence[Sequence[_Disturbance]]) -> Iterator[str]:
    """How many restarts were disturbed, then the worst disturbance of each kind, the most frequent kind first."""
    yield f"{sum(map(bool, by_restart))} of {len(by_restart)} restarts were disturbed"
    disturbances = list(chain.from_iterable(by_restart))
    for kind, count in Counter(disturbance.kind for disturbance in disturbances).most_common():
        of_kind = [disturbance for disturbance in disturbances if disturbance.kind == kind]
        worst = max(of_kind, key=lambda disturbance: disturbance.size)
        yield f"{worst.sentence} (the most of {count} restarts)" if count > 1 else worst.sentence


def _imprecision(by_restart_ms: Sequence[float], within: float, ci95: tuple[float, float] | None) -> Iterator[str]:
    """Why the median over restarts is not known to `within`."""
    middle, count = median(by_restart_ms), len(by_restart_ms)
    if ci95 is None:
        yield f"{count} restart{'s' if count > 1 else ''}; a 95% interval needs {LEAST_RESTARTS}"
    elif not reaches(within, half := (ci95[1] - ci95[0]) / 2 / middle):
        digits = 2 if f"{half:.1%}" == f"{within:.1%}" else 1
        yield f"the median is known to ±{half:.{digits}%}, not to ±{within:.1%}"
    trend = drift(by_restart_ms)
    if trend.p < DRIFT_P and abs(trend.total) > within:
        yield f"latency drifted by {trend.total:+.1%} from the first restart to the last (p = {trend.p:.2g})"
    groups = modes(by_restart_ms)
    if len(groups) > 1 and max(map(len, groups)) < MODE_MAJORITY * count:
        sizes = ", ".join(f"{len(group)} at {float(f'{median(group):.3g}'):,g} ms" for group in groups)
        yield f"restarts fall into {len(groups)} modes: {sizes}"


def _unsteady_machine(interference: Sequence[Interference]) -> Iterator[str]:
    """What changed on the machine between restarts without a counter that shows why."""
    spread = _middle_spread([median(known.reference_kernel_ms) for known in interference if known.reference_kernel_ms])
    if spread > REFERENCE_SPREAD:
        yield f"the reference kernel differed by {spread:.1%} between restarts: the clock, or an unseen neighbour"
    spread = _middle_spread([known.gpu_clock_mhz for known in interference if known.gpu_clock_mhz])
    if spread > GPU_CLOCK_SPREAD:
        yield f"the GPU's clock differed by {spread:.1%} between restarts"


def _middle_spread(values: Sequence[float]) -> float:
    """The interquartile range as a share of the median, which a few outliers do not move; 0 for fewer than four."""
    if len(values) < 4:
        return 0.0
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / middle
