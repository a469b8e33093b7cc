"""The verdict on synthetic interference and latencies whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median

import pytest

from vlbench.measuring.noise import Interference, Noise, judge, others_limit, undisturbed, why_contended
from vlbench.measuring.statistics import median_interval


def interference(**values: object) -> Interference:
    """Of a calm restart of half a second on two cores, but for `values`."""
    calm = {
        "wall_seconds": 0.5,
        "cpu_seconds": 0.5,
        "cores": 2,
        "involuntary_context_switches": 2,
        "waiting_threads": 0.001,
        "other_processes_cores": 0.02,
        "steal_cores": 0.0,
        "cpu_pressure": 0.001,
        "quota_throttled_share": 0.0,
        "reference_kernel_ms": (0.331, 0.332, 0.330),
    }
    return Interference(**calm | values)


CALM, BURNT = interference(), interference(other_processes_cores=1.0)


def verdict(
    latencies: Sequence[float], found: Sequence[Interference | None] | None = None, within: float = 0.02
) -> Noise:
    """As a runner asks for it: the interval is of the restarts that stand."""
    found = [CALM] * len(latencies) if found is None else found
    standing = sorted(latencies[number] for number in undisturbed(found))
    return judge(latencies, found, within=within, ci95=median_interval(standing))


def restarts(count: int, *, seed: int, noise: float = 0.008, states: Sequence[float] = (0.0,)) -> list[float]:
    """Medians around 10 ms, each of a state drawn at random."""
    draw = random.Random(seed)
    return [10 * (1 + draw.choice(states)) * (1 + draw.gauss(0, noise)) for _ in range(count)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"other_processes_cores": 1.0}, "other processes kept 1.00 of 2 cores busy on average"),
        ({"other_processes_cores": 0.2}, "0.20 of 2 cores"),
        ({"other_processes_cores": 0.67, "waiting_threads": 0.6}, "0.60 of its threads waited for a core"),
        ({"other_processes_cores": 0.1, "waiting_threads": None, "cpu_pressure": 0.4}, "0.10 of its threads waited"),
        ({"other_processes_cores": 0.09, "waiting_threads": 0.07}, "0.07 of its threads waited"),
        ({"steal_cores": 0.3}, "the hypervisor kept 0.30 cores for others"),
        ({"quota_throttled_share": 0.25}, "its processor quota held it back 25% of the time"),
        ({"gpu_other_processes": 1}, "other processes on the GPU: 1"),
        (
            {"gpu_throttle_reasons": ("power cap", "hardware thermal slowdown")},
            "lowered its clock: hardware thermal slowdown",
        ),
    ],
)
def test_a_disturbed_restart_is_told_with_its_figures(values: dict[str, object], words: str) -> None:
    assert words in (why_contended(interference(**values)) or "")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"other_processes_cores": 0.08},
        {"other_processes_cores": 0.08, "waiting_threads": 0.04},
        {"steal_cores": 0.08},  # 40 ms, of which two ticks may be rounding
        {"other_processes_cores": 1.0, "cores": 64},  # 1.6% of that machine
        {"wall_seconds": 0.02, "other_processes_cores": 0.9},  # two ticks of the kernel's clock, rounded
        {"waiting_threads": 3.0},  # more threads than cores, and nobody else: the process holds itself up
        {"waiting_threads": None, "cpu_pressure": 0.9},
        {"involuntary_context_switches": 5_000},
        {"gpu_throttle_reasons": ("power cap",), "gpu_other_processes": 0},
    ],
)
def test_a_calm_restart_is_not_called_contended(values: dict[str, object]) -> None:
    assert why_contended(interference(**values)) is None


def test_a_system_that_tells_nothing_contends_nothing() -> None:
    assert why_contended(Interference(wall_seconds=1, cpu_seconds=1)) is None


def test_the_tolerated_load_grows_with_the_machine() -> None:
    assert [others_limit(cores) for cores in (None, 1, 2, 16, 64)] == pytest.approx([0.1, 0.1, 0.1, 0.48, 1.92])


def test_alike_restarts_on_a_calm_machine_are_stable() -> None:
    assert verdict(restarts(15, seed=1)) == Noise(verdict="stable")


def test_restarts_beside_a_burner_are_contended_and_told_by_kind() -> None:
    found = [interference(other_processes_cores=1.1, waiting_threads=0.9)] + [BURNT] * 6
    noise = verdict(restarts(7, seed=1), found)
    assert noise.verdict == "contended"
    assert noise.contended_restarts == 7
    assert noise.reasons == (
        "7 of 7 restarts were disturbed",
        "other processes kept 1.10 of 2 cores busy on average (the most of 7 restarts)",
        "0.90 of its threads waited for a core on average",
    )


@pytest.mark.parametrize(
    ("calm", "burnt", "expected"),
    [
        (15, 0, "stable"),
        (12, 3, "stable"),  # the rest stands alone
        (8, 7, "stable"),
        (7, 7, "contended"),  # half
        (5, 3, "contended"),  # eight carry an interval, five do not
        (6, 1, "stable"),
        (2, 1, "noisy"),  # three never carried one, and the median is a calm one
        (1, 1, "contended"),
        (1, 0, "noisy"),
    ],
)
def test_how_many_disturbed_restarts_make_a_contended_cell(calm: int, burnt: int, expected: str) -> None:
    found = [BURNT] * burnt + [CALM] * calm
    noise = verdict(restarts(calm + burnt, seed=3, noise=0.002), found)
    assert (noise.verdict, noise.contended_restarts) == (expected, burnt)


def test_only_undisturbed_restarts_are_judged_where_enough_remain() -> None:
    latencies = [15.0, *restarts(9, seed=4), 22.0, 19.0]
    found = [BURNT, *[CALM] * 9, BURNT, BURNT]
    assert undisturbed(found) == list(range(1, 10))
    assert verdict(latencies, found) == Noise(verdict="stable", contended_restarts=3)
    assert undisturbed([BURNT] * 3) == [0, 1, 2]


def test_contention_is_judged_without_looking_at_the_latency() -> None:
    found = [BURNT] * 4 + [CALM] * 3
    latencies = restarts(7, seed=5)
    slower = [value * 3 for value in latencies[:4]] + latencies[4:]
    assert verdict(latencies, found) == verdict(slower, found)


@pytest.mark.parametrize(("high", "known"), [(10.4, "4.0"), (10.004, "2.02")])
def test_an_interval_wider_than_asked_is_noisy(high: float, known: str) -> None:
    noise = judge([10.0, 10.4, 9.6, 10.2, 9.8, 10.1, 9.9], [CALM] * 7, within=0.02, ci95=(9.6, high))
    assert noise == Noise(verdict="noisy", reasons=(f"the median is known to ±{known}%, not to ±2.0%",))


def test_no_interval_is_noisy() -> None:
    noise = verdict([10.0] * 5)
    assert noise.verdict == "noisy"
    assert noise.reasons == ("5 restarts; a 95% interval needs 6",)


def test_a_drift_is_told_with_its_size_and_one_within_the_precision_is_not() -> None:
    rising = [10 + 0.03 * number for number in range(15)]  # +4.1% in all, of the median
    noise = judge(rising, [CALM] * 15, within=0.03, ci95=(10.1, 10.3))
    assert noise.verdict == "noisy"
    assert "latency drifted by +4.1% from the first restart to the last" in noise.reasons[0]
    assert judge(rising, [CALM] * 15, within=0.05, ci95=(10.1, 10.3)).verdict == "stable"


def test_speed_states_are_told_as_modes() -> None:
    latencies = [8.3, 10.0, 11.7, 10.1, 8.35, 9.95, 11.75, 10.05, 8.28, 11.65, 10.02, 8.32]
    noise = verdict(latencies)
    assert noise.verdict == "noisy"
    assert "restarts fall into 3 modes: 4 at 8.31 ms, 5 at 10 ms, 3 at 11.7 ms" in noise.reasons


def test_a_rare_second_mode_leaves_a_cell_stable() -> None:
    assert verdict([*restarts(13, seed=6, noise=0.004), 11.7, 11.72], within=0.02).verdict == "stable"


def test_a_reference_that_moves_between_restarts_is_noisy_but_the_odd_one_is_not() -> None:
    fast, slow = CALM, interference(reference_kernel_ms=(0.36, 0.361, 0.359))
    latencies = restarts(12, seed=7)
    noise = verdict(latencies, [fast, slow] * 6)
    assert noise.verdict == "noisy"
    assert "the reference kernel differed by 8." in noise.reasons[0]
    assert verdict(latencies, [slow, *[fast] * 11]).verdict == "stable"


def test_a_gpu_clock_that_moves_between_restarts_is_noisy() -> None:
    found = [interference(gpu_clock_mhz=clock) for clock in (1980, 1500) * 4]
    assert any("GPU's clock differed" in reason for reason in verdict(restarts(8, seed=8), found).reasons)


def test_missing_evidence_is_no_contention() -> None:
    assert verdict(restarts(9, seed=9), [None] * 9).verdict == "stable"


@pytest.mark.parametrize(("latencies", "found"), [([], []), ([10.0, 10.1], [None])])
def test_restarts_and_evidence_must_match(latencies: list[float], found: list[None]) -> None:
    with pytest.raises(ValueError, match="restarts with"):
        judge(latencies, found, within=0.02, ci95=None)


def test_verdicts_over_many_cells_are_right() -> None:
    """Of 200 cells each: 0.8% noise is stable, three states 17% apart are noisy and named as modes."""
    calm = [verdict(restarts(15, seed=seed)).verdict for seed in range(200)]
    assert calm.count("stable") >= 194
    spread = [restarts(15, seed=seed, states=(-0.17, 0.0, 0.17)) for seed in range(200)]
    noisy = [verdict(latencies) for latencies in spread]
    assert sum(noise.verdict == "noisy" for noise in noisy) >= 190
    assert sum(any("modes" in reason for reason in noise.reasons) for noise in noisy) >= 180
    assert all(noise.contended_restarts == 0 for noise in noisy)
    assert median(median(latencies) for latencies in spread) == pytest.approx(10, rel=0.05)
