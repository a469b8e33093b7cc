"""What the results say of training."""

from __future__ import annotations

from collections.abc import Mapping

from vlbench.evaluation.processes import Process
from vlbench.running.evaluations import Training
from vlbench.training.loop import Trained
from vlbench.training.settings import TrainingSettings


def recorded(
    phases: Mapping[str, Trained], settings: TrainingSettings, *, preset: str, device: str, process: Process
) -> Training:
    """Of all phases in their order, the last of which trained the model itself with these settings.

    MACs are None where those of a phase are not known, rather than too few.
    """
    spent = [one.spent for one in phases.values()]
    return Training(
        preset=preset,
        samples=spent[-1].samples,
        steps=spent[-1].steps,
        batch=settings.batch,
        seconds=sum(one.seconds for one in spent),
        seconds_by_phase={name: one.spent.seconds for name, one in phases.items()},
        macs=sum(one.macs for one in spent) if all(one.macs for one in spent) else None,
        seed=settings.seed,
        device=device,
        precision=settings.precision,
        processes=process.world,
        threads=settings.threads,
    )
