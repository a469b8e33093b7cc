"""Reproduces suites: collects what they need, and compares it to the papers."""

from __future__ import annotations

from collections.abc import Sequence

from vlbench.suites.collect import SuiteRequest, collect
from vlbench.suites.evaluate import evaluate
from vlbench.suites.outcomes import Reproduction
from vlbench.suites.reader import LoadedSuite


def reproduce_suites(suites: Sequence[LoadedSuite], request: SuiteRequest) -> tuple[Reproduction, list[str], bool]:
    """Collects the figures of the suites and compares them to those of the papers.

    Returns:
        The outcome; the names of the measurements that were kept from an earlier run; whether Ctrl-C ended it.
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
    outcome = Reproduction(suites=tuple(outcomes), machine=collected.machine, settings=settings, quick=request.quick)
    return outcome, collected.kept, collected.interrupted
