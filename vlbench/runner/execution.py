"""Which accuracies belong to which latencies: those of the same model, executed alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, get_args

from vlbench.measuring.records import Precision
from vlbench.runner.backends import BACKENDS, EAGER
from vlbench.runner.records import Evaluation, Result

REFERENCE = "fp32"  # the precision in which outputs of backends are equal to those of eager PyTorch, but for rounding

BACKEND_ORDER = {name: index for index, name in enumerate(BACKENDS)}
PRECISION_ORDER: dict[str, int] = {name: index for index, name in enumerate(get_args(Precision))}


class Execution(NamedTuple):
    """What a result and an evaluation share if the accuracy is that of what was timed."""

    spec_hash: str
    backend: str  # without the engine of a detector
    precision: str


def is_reference(backend: str, precision: str) -> bool:
    """Whether that is eager PyTorch in fp32, to which all others are compared."""
    return (backend, precision) == (EAGER, REFERENCE)


def runtime_of(measured: Result | Evaluation) -> str:
    """The name of the backend, without the engine of a detector."""
    return measured.backend.partition("+")[0]


def execution_order(result: Result) -> tuple[int, int, bool]:
    """Sorts eager PyTorch in fp32 first; backends and precisions in the order in which vlbench lists them."""
    backend = BACKEND_ORDER.get(runtime_of(result), len(BACKEND_ORDER))
    return backend, PRECISION_ORDER.get(result.precision, len(PRECISION_ORDER)), result.scope == "model"


def in_order(results: Sequence[Result]) -> list[Result]:
    """As they are; if backends, precisions or scopes differ, those of each model one after the other, eager PyTorch in
    fp32 first."""
    if len({execution_order(result) for result in results}) <= 1:
        return list(results)
    models = {model: index for index, model in enumerate(dict.fromkeys(result.model for result in results))}
    return sorted(results, key=lambda result: (models[result.model], execution_order(result)))


def execution_of(measured: Result | Evaluation) -> Execution:
    return Execution(measured.spec_hash, runtime_of(measured), measured.precision)


def evaluated_execution(result: Result, evaluated: Collection[Execution]) -> Execution | None:
    """Whose accuracy is that of a result: its own; or else, in fp32, if its outputs were checked to be equal to those
    of eager PyTorch, that of eager PyTorch. None if neither was evaluated."""
    itself = execution_of(result)
    if itself in evaluated:
        return itself
    eager = itself._replace(backend=EAGER)
    return eager if eager in evaluated and _is_equal_to_eager(result) else None


def _is_equal_to_eager(result: Result) -> bool:
    equality = result.conversion.equality if result.conversion else None
    return result.precision == REFERENCE and equality is not None and equality.within_tolerance
