"""Finds the stage whose change in milliseconds is most of the end-to-end change."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from math import log
from statistics import median

from vlbench.measuring.statistics import LatencySummary, reaches
from vlbench.regression.compare.outcomes import Moved

TOTAL, BETWEEN = "total", "between the stages"
MOST = 0.5  # the share of the change that a stage must explain to be named
ALIKE = 0.6  # if everything else changes by this share of a stage's change, the change is not the stage's

Summaries = Mapping[str, LatencySummary]


def moved_stage(base: Summaries, head: Summaries, ratio: float) -> Moved | None:
    """The leaf stage that explains most of an end-to-end change; None where stages were not timed.

    The share of a stage in the forward pass is computed within each restart. So the speed of the process, which scales
    all its stages alike, cancels out. If HEAD takes `ratio` times as long as BASE, and the share of a stage goes from b
    to h, the stage explains (ratio h - b) / (ratio - 1) of the change. Over all leaves this adds up to 1.
    """
    before, after = leaf_shares(base), leaf_shares(head)
    names = list(dict.fromkeys([*before, *after]))
    if not names or ratio == 1:
        return None
    explained = {name: (ratio * after.get(name, 0.0) - before.get(name, 0.0)) / (ratio - 1) for name in names}
    name = max(explained, key=lambda name: explained[name])
    share = explained[name]
    if not reaches(share, MOST):
        return Moved(stage=None, share=None, text="no single stage")
    if _alike(before.get(name, 0.0), after.get(name, 0.0), ratio):
        return Moved(stage=None, share=None, text="all stages alike")
    outside = " outside its steps" if any(other.startswith(f"{name}.") for other in names) else ""
    return Moved(stage=name, share=share, text=f"{name}{outside}, {_of_the_change(share)}")


def leaf_shares(stages: Summaries) -> dict[str, float]:
    """The share of the forward pass that each leaf takes: steps, stages without steps, and the time between stages.

    If `visual` has steps such as `visual.backbone`, its own share is what they leave. Empty where there is no total.
    """
    if TOTAL not in stages:
        return {}
    total = stages[TOTAL].by_restart
    shares = {name: _share(summary.by_restart, total) for name, summary in stages.items() if name != TOTAL}
    leaves = {**shares, BETWEEN: 1.0}
    for name, share in shares.items():
        leaves[_parent(name, shares)] -= share
    return leaves


def _parent(name: str, names: Container[str]) -> str:
    """The stage that a step belongs to; for a stage, the pass as a whole."""
    while "." in name:
        name = name.rpartition(".")[0]
        if name in names:
            return name
    return BETWEEN


def _share(stage: Sequence[float], total: Sequence[float]) -> float:
    """The median over restarts of the share in each, if there are equally many; else the share of the medians."""
    if len(stage) != len(total):
        return median(stage) / median(total)
    return median(part / whole for part, whole in zip(stage, total, strict=True))


def _alike(before: float, after: float, ratio: float) -> bool:
    """Whether everything else changed nearly as much as this stage."""
    if min(before, after, 1 - before, 1 - after) <= 0:
        return False
    stage, others = log(ratio * after / before), log(ratio * (1 - after) / (1 - before))
    return reaches(others / stage, ALIKE) if stage else False


def _of_the_change(share: float) -> str:
    return "all of the change" if share >= 0.995 else f"{100 * share:.0f}% of the change"
