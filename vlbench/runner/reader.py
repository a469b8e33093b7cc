"""Reads the files of a results folder, `cells.jsonl` and others: one line per result. `store` writes them."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from vlbench.errors import InputError, shortened
from vlbench.files.json_files import parse_json
from vlbench.files.text import read_byte_lines
from vlbench.runner.execution import execution_of
from vlbench.runner.nms_records import SUPPRESSIONS, SuppressionResult
from vlbench.runner.records import EVALUATIONS, Evaluation, Result, UnsampledResult
from vlbench.runner.schemas import ResultLine, SchemaOfLine, check_schema
from vlbench.system.console import print_error

CELLS, PEAKS = "cells.jsonl", "peaks.jsonl"
FILES: dict[type[ResultLine], str] = {Result: CELLS, SuppressionResult: SUPPRESSIONS, Evaluation: EVALUATIONS}
Model = TypeVar("Model", bound=ResultLine)
LONGEST = 100  # characters of a reason in a message
REMEDY = "restore the line, or move it to another file to read the others"


def warn(message: str) -> None:
    """Prints a message for the user on standard error."""
    print_error(message)


def read_results(folder: Path, warn: Callable[[str], None] = warn) -> list[Result]:
    """All results of a folder with their samples, in the order measured.

    A last line that was cut off is left out with a warning. Raises InputError, naming file and line, if another line is
    damaged.
    """
    return read_lines(_cells(folder), Result, warn)


def each_result(folder: Path) -> Iterator[Result]:
    """The same one by one, so that the samples of only one need memory; of a folder that was read before, so without
    its warning."""
    return _each_line(_cells(folder), Result, lambda warning: None)


def with_samples(results: Sequence[Result], folder: Path) -> list[Result]:
    """The same results of a folder, in the same order, with their samples."""
    lines = {(result.cell_hash, result.measured_at): result for result in results}
    for line in each_result(folder):
        if (line.cell_hash, line.measured_at) in lines:
            lines[line.cell_hash, line.measured_at] = line
    return [lines[result.cell_hash, result.measured_at] for result in results]


def read_unsampled(folder: Path, warn: Callable[[str], None] = warn) -> list[Result]:
    """The same without the samples, which are most of a file: they are neither kept nor checked."""
    return list(read_lines(_cells(folder), UnsampledResult, warn))


def _cells(folder: Path) -> Path:
    if not (folder / CELLS).exists():
        raise InputError(f"{folder}: no {CELLS} here; name a folder that vlbench run wrote")
    return folder / CELLS


def read_evaluations(folder: Path, warn: Callable[[str], None] = warn) -> list[Evaluation]:
    """The latest evaluation of each model, backend, precision, task and split, in the order first made; none if there
    is no file."""
    lines = read_lines(folder / EVALUATIONS, Evaluation, warn)
    latest = {line.evaluation_hash: line for line in lines}.values()
    return list({(execution_of(line), line.accuracy.task, line.accuracy.split): line for line in latest}.values())


def read_lines(path: Path, kind: type[Model], warn: Callable[[str], None] = warn) -> list[Model]:
    """The lines of a file of a results folder; none without a file.

    A last line that was cut off is left out with a warning. Raises InputError, naming file and line, if another line
    is damaged or of another schema.
    """
    with _paused_collector():
        return list(_each_line(path, kind, warn))


def _each_line(path: Path, kind: type[Model], warn: Callable[[str], None]) -> Iterator[Model]:
    lines = existing_lines(path)
    for number, line in lines:
        try:
            yield _parsed(line, kind, f"{path} line {number}")
        except NotJsonError as error:
            if next(lines, None) is None:
                warn(f"{path} line {number}: cut off in the middle and left out; the others are kept")
                return
            raise InputError(f"{error}; {REMEDY}") from error


def existing_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, if there is one. A pipe or a device in its place raises InputError; a folder is no file."""
    return read_byte_lines(path) if os.path.lexists(path) and not path.is_dir() else iter(())


class NotJsonError(InputError):
    """A line that is cut off or damaged."""


def _parsed(line: bytes, kind: type[Model], where: str) -> Model:
    try:
        result = kind.model_validate_json(line, strict=True)
    except ValidationError as error:
        (fault, *_) = error.errors(include_input=False, include_url=False, include_context=False)
        try:
            content = parse_json(line, where)
        except InputError as reason:
            raise (NotJsonError if fault["type"] == "json_invalid" else InputError)(str(reason)) from error
        check_schema(content, where)
        key = shortened(".".join(map(str, fault["loc"])))
        raise InputError(f"{where}: {key}: {shortened(fault['msg'], LONGEST)}; {REMEDY}") from error
    if "schema_version" not in result.model_fields_set:
        check_schema({}, where)
    return result


@contextmanager
def _paused_collector() -> Iterator[None]:
    """Otherwise the garbage collector visits all lines again and again, which takes most of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def check_schemas(folder: Path) -> None:
    """Raises InputError, naming file and line, if a file of results holds a line of another schema.

    Lines without a schema are left to those who read them.
    """
    paths = [folder / name for name in (*FILES.values(), PEAKS)]
    for path in (*paths, *map(journal_of, paths)):
        for number, line in existing_lines(path):
            try:
                schema = SchemaOfLine.model_validate_json(line).schema_version
            except ValidationError:  # not JSON, or no object
                continue
            if isinstance(schema, int):
                check_schema({"schema": schema}, f"{path} line {number}")


def journal_of(path: Path) -> Path:
    """The file that keeps the restarts of unfinished cells until they are in this file."""
    return path.with_suffix(".unfinished.jsonl")
