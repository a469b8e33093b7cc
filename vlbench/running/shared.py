"""Several small things in one worker process: counts, quick measurements, suppressions. Starting one takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vlbench.errors import WorkerError
from vlbench.measure.counts import Counts
from vlbench.measure.machine import Machine
from vlbench.running.cells import Cell, Result
from vlbench.running.runner import SILENCE_SECONDS, Listener, converse, failed_result, now
from vlbench.running.suppressions import SuppressionCell, SuppressionResult, suppression_result
from vlbench.specs import ModelSpec

SuppressionListener = Callable[[SuppressionCell, str, int], None]


def count_specs(
    wanted: Sequence[tuple[ModelSpec, int]], report: Callable[[str], None] = lambda name: None
) -> list[Counts | str]:
    """What a batch of each spec costs, or why it cannot be counted. Raises WorkerError where the worker fails."""
    if not wanted:
        return []
    jobs = [{"spec": spec.model_dump(mode="json"), "batch": batch} for spec, batch in wanted]
    for message in converse({"action": "count", "jobs": jobs}, 1, SILENCE_SECONDS):
        if "phase" in message:
            report(message["phase"])
            continue
        return [found if isinstance(found, str) else Counts.model_validate(found) for found in message["counts"]]
    raise AssertionError("a worker's conversation ends with counts or an error")


def run_together(
    cells: Sequence[Cell], machine: Machine, listen: Listener = lambda cell, phase, samples: None
) -> Iterator[Result]:
    """Measures cells one after the other in one process: quick, and without peak memory, which they would share."""
    for cell, found in _stream("measure_together", cells, listen):
        yield Result.model_validate(found) if isinstance(found, dict) else failed_result(cell, machine, found)


def run_suppressions(
    cells: Sequence[SuppressionCell],
    machine: Machine,
    listen: SuppressionListener = lambda cell, phase, samples: None,
) -> Iterator[SuppressionResult]:
    """Times every method on each cell in turn, in one process."""
    for cell, found in _stream("suppress", cells, listen):
        if isinstance(found, dict):
            yield SuppressionResult.model_validate(found)
        else:
            yield suppression_result(cell, machine, now(), error=found)


def _stream(action: str, cells: Sequence[Any], listen: Callable[[Any, str, int], None]) -> Iterator[tuple[Any, Any]]:
    """Each cell with its result as JSON, or the reason why there is none. What follows a dead worker fails with it."""
    waiting = list(cells)
    if not waiting:
        return
    job = {"action": action, "cells": [cell.model_dump(mode="json") for cell in waiting]}
    silence = max(cell.budget_seconds for cell in waiting) + SILENCE_SECONDS
    listen(waiting[0], "start", 0)
    try:
        for message in converse(job, waiting[0].threads, silence):
            if "found" in message:
                yield waiting.pop(0), message["found"]
            elif waiting and "phase" in message:
                listen(waiting[0], message["phase"], message["samples"])
    except WorkerError as error:
        yield from ((cell, str(error)) for cell in waiting)
