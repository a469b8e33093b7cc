"""The stage that moved: which stage's change in milliseconds is most of the change end to end."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from math import log
from statistics import median

from vlbench.measure.statistics import LatencySummary
from vlbench.regression.compare.outcomes import Moved

TOTAL, BETWEEN = "total", "between the stages"
MOST = 0.5  # of the change, that a stage must explain to be named
ALIKE = 0.6  # of a stage's own change, that all the rest must have made for it to be no change of that stage

Summaries = Mapping[str, LatencySummary]


def moved_stage(base: Summaries, head: Summaries, ratio: float) -> Moved | None:
    """The leaf stage that explains most of a change end to end; None where the pass by stage was not measured.

    A stage's share of the pass is taken within each restart, so that the speed that a process has drawn, which scales
    all its stages alike, cancels out. With `ratio` head/base end to end, and a stage that took the share b of the pass
    and now takes h, it explains (ratio h - b) / (ratio - 1) of the change; over all leaves these add up to 1.
    """
    before, after = leaf_shares(base), leaf_shares(head)
    names = list(dict.fromkeys([*before, *after]))
    if not names or ratio == 1:
        return None
    explained = {name: (ratio * after.get(name, 0.0) - before.get(name, 0.0)) / (ratio - 1) for name in names}
    name = max(explained, key=lambda name: explained[name])
    share = explained[name]
    if share < MOST:
        return Moved(stage=None, share=None, text="no single stage")
    if _alike(before.get(name, 0.0), after.get(name, 0.0), ratio):
        return Moved(stage=None, share=None, text="all stages alike")
    beside = " beside its steps" if any(other.startswith(f"{name}.") for other in names) else ""
    return Moved(stage=name, share=share, text=f"{name}{beside}, {_of_the_change(share)}")


def leaf_shares(stages: Summaries) -> dict[str, float]:
    """The share of the pass that each leaf takes: steps, stages without steps, and what lies between.

    `visual` beside `visual.backbone` and others stands for what they leave of it. Empty where there is no total.
    """
    if TOTAL not in stages:
        return {}
    total = stages[TOTAL].by_restart
    shares = {name: _share(summary.by_restart, total) for name, summary in stages.items() if name != TOTAL}
    leaves = {**shares, BETWEEN: 1.0}
    for name, share in shares.items():
        leaves[_within(name, shares)] -= share
    return leaves


def _within(name: str, names: Container[str]) -> str:
    """The stage that a step belongs to; a stage of its own lies in the pass as a whole."""
    while "." in name:
        name = name.rpartition(".")[0]
        if name in names:
            return name
    return BETWEEN


def _share(stage: Sequence[float], total: Sequence[float]) -> float:
    """Within each restart where both were measured in all of them."""
    if len(stage) != len(total):
        return median(stage) / median(total)
    return median(part / whole for part, whole in zip(stage, total, strict=True))


def _alike(before: float, after: float, ratio: float) -> bool:
    """Whether everything but this stage changed nearly as much as it did."""
    if min(before, after, 1 - before, 1 - after) <= 0:
        return False
    own, others = log(ratio * after / before), log(ratio * (1 - after) / (1 - before))
    return others / own >= ALIKE if own else False


def _of_the_change(share: float) -> str:
    return "all of the change" if share >= 0.995 else f"{100 * share:.0f}% of the change"
