"""The outcome of a comparison, which is printed, written as JSON and read back; and its thresholds."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass as record

from vlbench.errors import InputError, nearest, quoted
from vlbench.frozen import COMPACT, Frozen
from vlbench.regression.compare.effects import Effect
from vlbench.tables.numbers import share_of
from vlbench.tables.writers import model_to_json

COMPARISON_SCHEMA = 1
Verdict = Literal["faster", "slower", "same", "unknown"]
GateVerdict = Literal["same", "changed", "regression", "not compared"]
Overall = Literal["regression", "cannot tell", "no regression"]
EXIT_CODES: dict[Overall, int] = {"no regression": 0, "regression": 1, "cannot tell": 3}


@record(frozen=True, slots=True, kw_only=True, config=COMPACT)
class Gate:
    """An exact figure on both sides. `regression`: it grew; `changed`: it shrank. The message says by how much."""

    figure: str
    base: int | str | None
    head: int | str | None
    verdict: GateVerdict
    message: str


@record(frozen=True, slots=True, kw_only=True, config=COMPACT)
class StageOutcome:
    """The median latencies of a stage, and its verdict at the confidence for stages."""

    stage: str
    base_ms: float
    head_ms: float
    effect: Effect
    verdict: Verdict


class Moved(Frozen):
    """The stage that an end-to-end change comes from.

    Attributes:
        stage: None where no single stage explains half of the change.
        share: the stage's part of the change, such as 0.9 for nine milliseconds of ten.
        text: the same in words.
    """

    stage: str | None
    share: float | None
    text: str


class CellOutcome(Frozen):
    """A measurement that is in both folders.

    Attributes:
        base_ms, head_ms: medians over restarts; None where a side has none.
        effect: None where there is nothing to compare.
        reason: why the verdict is `unknown`.
    """

    cell: str
    model: str
    threshold: float
    restarts: tuple[int, int]
    base_ms: float | None
    head_ms: float | None
    effect: Effect | None
    verdict: Verdict
    reason: str | None
    moved: Moved | None
    stages: tuple[StageOutcome, ...]
    gates: tuple[Gate, ...]

    @property
    def regressions(self) -> list[Gate]:
        return [gate for gate in self.gates if gate.verdict == "regression"]

    @property
    def regressed(self) -> bool:
        return self.verdict == "slower" or bool(self.regressions)


class Comparison(Frozen):
    """The comparison of two results folders. `exit_code` is 0, 1 or 3, as `verdict` says.

    Attributes:
        confidence: of the interval of each measurement, such that unchanged code gets a wrong end-to-end verdict in at
            most 5% of comparisons.
        stage_confidence: of the interval of each stage, the same for the verdicts on stages.
        differences: of hardware and settings, which only --force allows.
        notes: differences of software and of models, which a comparison may be made for.
        remarks: further lines to print.
    """

    schema_version: int = Field(default=COMPARISON_SCHEMA, alias="schema")
    base: str
    head: str
    verdict: Overall
    exit_code: int
    confidence: float
    stage_confidence: float
    cells: tuple[CellOutcome, ...]
    only_in_base: tuple[str, ...]
    only_in_head: tuple[str, ...]
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def to_json(self) -> str:
        return model_to_json(self)


DEFAULT = 0.05
WORKS = "5% or 0.05 works"


def parse_threshold(value: object) -> float:
    """`5%` or `0.05` as 0.05. Raises ValueError for anything that is not a number above 0% and up to 100%."""
    share = None if isinstance(value, bool) else share_of(value)
    if share is None or not 0 < share <= 1:
        raise ValueError(f"a slowdown above 0% and up to 100% is needed ({WORKS})")
    return share


Threshold = Annotated[float, BeforeValidator(parse_threshold)]


class Thresholds(Frozen):
    """The threshold of each model: `models` by name or glob, else `default`.

    A name takes precedence over globs, and the first matching glob over the others.
    """

    default: Threshold = DEFAULT
    models: dict[str, Threshold] = Field(default_factory=dict)

    def of(self, model: str) -> float:
        if model in self.models:
            return self.models[model]
        matching = (value for glob, value in self.models.items() if fnmatch.fnmatchcase(model, glob))
        return next(matching, self.default)


def thresholds_from(option: str | None, path: Path | None) -> Thresholds:
    """From `--threshold`, which overrides the default of a file, and from `--thresholds FILE`.

    Raises InputError, in one line, where either is invalid.
    """
    thresholds = Thresholds()
    if path:
        from vlbench.specs.catalog import read_yaml  # noqa: PLC0415  the schemas of models are slow to import

        thresholds = read_yaml(path, Thresholds, "thresholds: the file must be a mapping with default and models")
    if option is None:
        return thresholds
    try:
        return thresholds.model_copy(update={"default": parse_threshold(option)})
    except ValueError as error:
        raise InputError(f"--threshold {option}: {error}") from error


def check_globs(thresholds: Thresholds, models: Iterable[str], where: str) -> None:
    """Raises InputError for a name or glob that matches neither a compared model nor one in the catalogue."""
    if not thresholds.models:
        return
    from vlbench.specs.catalog import catalog  # noqa: PLC0415  slow to import

    compared = set(models)
    for glob in thresholds.models:
        if not fnmatch.filter(compared, glob) and not fnmatch.filter(catalog(), glob):
            raise InputError(f"{where}: models: {quoted(glob)} matches no model; {nearest(glob, compared)}")
