"""Whether a measurement was disturbed: what is observed while samples are taken, and the verdict on it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Verdict = Literal["stable", "noisy", "contended"]


class Evidence(BaseModel):
    """What was observed while one restart took its samples. None: this system does not tell.

    Attributes:
        wall_seconds: how long that took.
        cpu_seconds: processor time of the measuring process, all its threads.
        involuntary_switches: how often the kernel took a core away from it.
        others_cores: cores kept busy by everything else on the machine, on average.
        steal_cores: cores that the hypervisor kept for others, on average.
        cpu_pressure: share of the time in which some task waited for a core (Linux pressure stall information).
        reference_ms: a fixed kernel, timed before, between and after the blocks of samples.
        gpu_clock_mhz: the lowest SM clock seen.
        gpu_throttled: reasons for which NVML said that clocks were lowered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wall_seconds: float
    cpu_seconds: float
    involuntary_switches: int | None = None
    others_cores: float | None = None
    steal_cores: float | None = None
    cpu_pressure: float | None = None
    reference_ms: tuple[float, ...] = ()
    gpu_clock_mhz: float | None = None
    gpu_throttled: tuple[str, ...] = ()


class Noise(BaseModel):
    """The verdict on a cell, and why, a sentence a reason; none where it is stable.

    `contended`: something else ran on the machine meanwhile. `noisy`: undisturbed, but the restarts differ so much, or
    drift so, that the interval is wider than was asked. `stable`: neither.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    contended_restarts: int = 0


def why_contended(evidence: Evidence) -> str | None:
    return None


def judge(by_restart_ms, evidence, *, within, ci95) -> Noise:
    return Noise(verdict="stable")
