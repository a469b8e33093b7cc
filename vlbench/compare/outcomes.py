"""What a comparison found, as data: the form in which it is printed, written as JSON and read back."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vlbench.compare.effects import Effect

SCHEMA = 1
Verdict = Literal["faster", "slower", "same", "unknown"]
GateVerdict = Literal["same", "changed", "regression", "not compared"]
Overall = Literal["regression", "cannot tell", "no regression"]
EXIT_CODES: dict[Overall, int] = {"no regression": 0, "regression": 1, "cannot tell": 3}


class Outcome(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Gate(Outcome):
    """An exact figure on both sides. `regression`: it grew; `changed`: it shrank; the message says by how much."""

    figure: str
    base: int | str | None
    head: int | str | None
    verdict: GateVerdict
    message: str


class StageOutcome(Outcome):
    """A stage's medians of the pass by stage, and its verdict at the confidence for stages."""

    stage: str
    base_ms: float
    head_ms: float
    effect: Effect
    verdict: Verdict


class Moved(Outcome):
    """Where the end-to-end change happened. `stage` is None where no single stage explains half of it.

    `share` is the stage's part of the change, 0.9 for nine milliseconds of ten; `text` says it in words.
    """

    stage: str | None
    share: float | None
    text: str


class CellOutcome(Outcome):
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


class Comparison(Outcome):
    """Two results folders side by side. `exit_code` is 0, 1 or 3 as `verdict` says.

    Attributes:
        confidence: of each cell's interval, such that all end-to-end verdicts together are wrong in 5% at most.
        stage_confidence: of each stage's interval, such that all stage verdicts together are.
        differences: what was refused but for --force.
        notes: differences of software and of descriptions, which are what a comparison may be about.
        remarks: what else there is to say, a line each.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
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
