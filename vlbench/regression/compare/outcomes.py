"""What a comparison found, as data: the form in which it is printed, written as JSON and read back; and the thresholds,
for all models or by model in a YAML file."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from vlbench.errors import InputError, nearest
from vlbench.frozen import Frozen
from vlbench.regression.compare.effects import Effect
from vlbench.tables.numbers import share_of

COMPARISON_SCHEMA = 1
Verdict = Literal["faster", "slower", "same", "unknown"]
GateVerdict = Literal["same", "changed", "regression", "not compared"]
Overall = Literal["regression", "cannot tell", "no regression"]
EXIT_CODES: dict[Overall, int] = {"no regression": 0, "regression": 1, "cannot tell": 3}


class Gate(Frozen):
    """An exact figure on both sides. `regression`: it grew; `changed`: it shrank; the message says by how much."""

    figure: str
    base: int | str | None
    head: int | str | None
    verdict: GateVerdict
    message: str


class StageOutcome(Frozen):
    """A stage's medians of the pass by stage, and its verdict at the confidence for stages."""

    stage: str
    base_ms: float
    head_ms: float
    effect: Effect
    verdict: Verdict


class Moved(Frozen):
    """Where the end-to-end change happened. `stage` is None where no single stage explains half of it.

    `share` is the stage's part of the change, 0.9 for nine milliseconds of ten; `text` says it in words.
    """

    stage: str | None
    share: float | None
    text: str


class CellOutcome(Frozen):
    """A cell that both sides hold. `base_ms` and `head_ms` are medians over restarts; None where a side has none.

    `effect` is None where nothing could be compared; `reason` says why a verdict is `unknown`.
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
    """Two results folders side by side. `exit_code` is 0, 1 or 3 as `verdict` says.

    Attributes:
        confidence: of each cell's interval, such that all end-to-end verdicts together are wrong in 5% at most.
        stage_confidence: of each stage's interval, such that all stage verdicts together are.
        differences: what was refused but for --force.
        notes: differences of software and of descriptions, which are what a comparison may be about.
        remarks: what else there is to say, a line each.
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
        return self.model_dump_json(by_alias=True, indent=1) + "\n"


DEFAULT = 0.05
WORKS = "5% or 0.05 works"


def parse_threshold(value: object) -> float:
    """`5%` and `0.05` are 0.05. Raises ValueError for what lies outside of 0% to 100% or is no number."""
    share = None if isinstance(value, bool) else share_of(value)
    if share is None or not 0 < share <= 1:
        raise ValueError(f"a slowdown above 0% and up to 100% is needed ({WORKS})")
    return share


Threshold = Annotated[float, BeforeValidator(parse_threshold)]


class Thresholds(Frozen):
    """`default` for all models but those that `models` names, by name or glob; the name itself goes before a glob,
    and of globs the first that matches."""

    default: Threshold = DEFAULT
    models: dict[str, Threshold] = Field(default_factory=dict)

    def of(self, model: str) -> float:
        if model in self.models:
            return self.models[model]
        matching = (value for glob, value in self.models.items() if fnmatch.fnmatchcase(model, glob))
        return next(matching, self.default)


def thresholds_from(option: str | None, path: Path | None) -> Thresholds:
    """From the command line's `--threshold`, which goes before a file's default, and from `--thresholds FILE`.

    Raises InputError, in one line, for what is no threshold or no such file.
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
    """Raises InputError for a name or glob that matches neither a compared model nor one of the catalogue."""
    if not thresholds.models:
        return
    from vlbench.specs.catalog import catalog  # noqa: PLC0415  slow to import

    compared = set(models)
    for glob in thresholds.models:
        if not fnmatch.filter(compared, glob) and not fnmatch.filter(catalog(), glob):
            raise InputError(f"{where}: models: {glob!r} matches no model; {nearest(glob, compared)}")
