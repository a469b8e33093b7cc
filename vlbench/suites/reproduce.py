"""`reproduce`: suites in, how they stand out."""

from __future__ import annotations

from collections.abc import Sequence

from vlbench.suites.collect import SuiteRequest, collect
from vlbench.suites.evaluate import evaluate
from vlbench.suites.outcomes import Reproduction
from vlbench.suites.reader import LoadedSuite


def reproduce(suites: Sequence[LoadedSuite], request: SuiteRequest) -> tuple[Reproduction, list[str], bool]:
    """Gathers what the suites need and holds it against the papers.

    Returns:
        How all stands; the cells that were kept from an earlier run; whether Ctrl-C ended the measuring.
    """
    collected = collect(suites, request)
    outcomes = [
        evaluate(
            loaded.suite,
            {row.label: collected.evidence[loaded.suite.name, row.label] for row in loaded.suite.rows},
            request.categories,
            quick=request.quick,
        )
        for loaded in suites
    ]
    settings = None
    if collected.machine:
        settings = {
            "device": collected.device,
            "precision": request.settings.precision,
            "threads": request.settings.threads,
            "budget_seconds": request.budget_seconds,
        }
    found = Reproduction(suites=tuple(outcomes), machine=collected.machine, settings=settings, quick=request.quick)
    return found, collected.kept, collected.interrupted


__all__ = ["SuiteRequest", "reproduce"]
