"""What a search leaves: every step that was measured, and where each cell became slower."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vlbench.ab.revisions import Commit
from vlbench.compare.effects import Effect

SCHEMA = 1
Verdict = Literal["slower", "faster", "same", "unknown", "failed"]
Status = Literal["culprit", "range", "not slower", "unknown"]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(Record):
    """One cell at one commit, against the good one. `effect` is None where it failed; `reason` says why no verdict is
    possible."""

    commit: Commit
    cell: str
    verdict: Verdict
    effect: Effect | None = None
    moved: str | None = None
    reason: str | None = None

    @property
    def skipped(self) -> bool:
        return self.verdict in ("unknown", "failed")


class Found(Record):
    """Where a cell became slower.

    Attributes:
        status: `culprit`: with the one commit of `commits`; `range`: with one of them, for all but the last could not
            be measured; `not slower`: nowhere; `unknown`: whether the bad commit is slower cannot be told.
        step: the measurement of the last of `commits`, or of the bad commit where there are none.
    """

    cell: str
    status: Status
    commits: tuple[Commit, ...]
    step: Step


class Bisection(Record):
    """The whole. `between` counts the steps from good to bad; `steps` are those measured, in that order.

    The exit code is 1 where a culprit was found, else 3 where something cannot be told, else 0.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    good: Commit
    bad: Commit
    between: int
    found: tuple[Found, ...]
    steps: tuple[Step, ...]

    @property
    def exit_code(self) -> int:
        statuses = {found.status for found in self.found}
        if "culprit" in statuses:
            return 1
        return 3 if statuses & {"range", "unknown"} else 0
