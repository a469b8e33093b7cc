"""Whether the machine itself changed between two results, told by the kernel that every restart times."""

from __future__ import annotations

from math import log
from statistics import median

from vlbench.compare.effects import Effect, independent
from vlbench.running.cells import Result
from vlbench.running.conclusions import counting

CONFIDENCE = 0.95
LEAST_SHARE = 1 / 4  # of the model's change; what slows a small kernel down can slow a model down more


def why_the_machine(base: Result, head: Result, effect: Effect) -> str | None:
    """Why a change of latency may be the machine's own: its reference kernel moved for sure, the same way, and not by
    much less. None where it did not, and where nothing tells: on a GPU, of older schemas, with another NumPy."""
    of_base, of_head = (_references_ms(result) for result in (base, head))
    if head.device != "cpu" or _numpy(base) != _numpy(head) or not of_base or not of_head:
        return None
    own = independent(of_base, of_head, CONFIDENCE)
    alike = (own.ratio > 1) == (effect.ratio > 1)
    if not (own.real and alike and abs(log(own.ratio)) >= LEAST_SHARE * abs(log(effect.ratio))):
        return None
    moved = f"{abs(own.ratio - 1):.1%} {'slower' if own.ratio > 1 else 'faster'}"
    return (
        f"the machine itself was {moved} in HEAD, as its reference kernel says; measure both again, or use vlbench ab"
    )


def _numpy(result: Result) -> str | None:
    """The version that the kernel ran on."""
    return (result.machine.model_extra or {}).get("numpy")


def _references_ms(result: Result) -> list[float]:
    """Of each restart that counts; none where one was not observed."""
    evidence = [restart.evidence for restart in counting(result.restarts)]
    references = [median(one.reference_ms) for one in evidence if one and one.reference_ms]
    return references if len(references) == len(evidence) else []
