"""What backends made of models: a table of conversions, and notes on the stages that stayed in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vlbench.runner.records import Conversion, Equality, Result
from vlbench.tables.numbers import any_number, scaled
from vlbench.tables.table import Table, TableColumn

CAPTION = "Conversion; a difference is a share of the largest value of eager PyTorch's output"


def difference(value: float) -> str:
    """`2.7e-06`, `0.032`"""
    return f"{value:.2g}"


def _largest(equality: Equality) -> str:
    return "not alike" if equality.largest is None else difference(equality.largest)


def _converted(column: TableColumn[Conversion]) -> TableColumn[Result]:
    return column.of(lambda result: result.conversion)


def _equality(column: TableColumn[Equality]) -> TableColumn[Result]:
    return column.of(lambda result: result.conversion and result.conversion.equality)


def conversion_table(results: Sequence[Result]) -> Table:
    """One row per result that a backend converted; empty if there is none."""
    columns = (
        TableColumn[Result]("model", lambda result: result.model),
        TableColumn[Result]("backend", lambda result: result.backend),
        TableColumn[Result]("precision", lambda result: result.precision),
        TableColumn[Result]("scope", lambda result: result.scope),
        _converted(TableColumn("converted s", lambda conversion: conversion.seconds, any_number)),
        _converted(TableColumn("first pass ms", lambda conversion: conversion.first_pass_ms, any_number)),
        _converted(TableColumn("size MiB", lambda conversion: conversion.size_bytes, scaled(2**20, 0))),
        _equality(TableColumn("largest difference", _largest, str)),
        _equality(TableColumn("mean difference", lambda equality: equality.mean, difference, shown="wide")),
        _equality(TableColumn("allowed", lambda equality: equality.tolerance, difference, shown="wide")),
        _converted(TableColumn("eager stages", lambda conversion: len(conversion.eager_stages) or None, str)),
    )
    converted = [result for result in results if result.conversion]
    return Table.of(columns, converted, caption=CAPTION if converted else "")


def eager_stage_notes(results: Sequence[Result]) -> Iterator[str]:
    """Why stages stayed in PyTorch: a line for each model and set of reasons, with the backends that have them."""
    backends: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.conversion and result.conversion.eager_stages:
            reasons = _reasons(result.conversion)
            backends.setdefault((result.model, reasons), []).append(result.backend)
    for (model, reasons), names in backends.items():
        yield f"{model}: stays in PyTorch with {', '.join(dict.fromkeys(names))}: {reasons}"


def _reasons(conversion: Conversion) -> str:
    """`visual.rpn, visual.nms (select by scores)`"""
    return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in conversion.stages_by_reason.items())


def flat_conversion(conversion: Conversion) -> dict[str, str]:
    """What is one text in a CSV file, as its keys differ from backend to backend."""
    return {
        "options": "; ".join(f"{name}={value}" for name, value in conversion.options.items()),
        "eager_stages": "; ".join(f"{stage}: {reason}" for stage, reason in conversion.eager_stages.items()),
    }
