"""How the test runs each command that a page shows: `treatments.yaml`, read and held together."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml
from pydantic import Field, model_validator

from vlbench.frozen import Frozen


class Treatment(Frozen):
    """One command, and what is changed so that it runs in seconds.

    Attributes:
        command: as the page has it, see `shown`.
        why: what is changed, or why it does not run, for whoever reads the page and this file side by side.
        place: what the page presumes, by names of `places`.
        replace: words in place of the page's.
        add: options that make it short, beside those of `short` for its kind.
        set: shell variables of the page's script.
        catalogue: `small` has tiny models under the published names.
        exit: the exit code, or those that may be.
        says: what it must print, on standard output or error.
        leaves: files that it must leave.
        only_parsed: its options are read, and nothing is done.
        elsewhere: it is not touched here; `why` says what runs it.
    """

    command: str
    why: str = ""
    place: tuple[str, ...] = ()
    replace: dict[str, str] = Field(default_factory=dict)
    add: str = ""
    set: dict[str, str] = Field(default_factory=dict)
    catalogue: str = "small"
    exit: tuple[int, ...] = (0,)
    says: str = ""
    leaves: tuple[str, ...] = ()
    only_parsed: bool = False
    elsewhere: bool = False

    @model_validator(mode="after")
    def _reasons(self) -> Treatment:
        if (self.only_parsed or self.elsewhere or self.replace) and not self.why:
            raise ValueError(f"{self.command}: why?")
        if self.exit == (2,) and not self.says:
            raise ValueError(f"{self.command}: what does it say?")
        return self


class Treatments(Frozen):
    """`short`: options that are added to every command of a kind, `run` or `train`."""

    short: dict[str, str]
    commands: tuple[Treatment, ...]


@cache
def treatments() -> Treatments:
    return Treatments.model_validate(yaml.safe_load((Path(__file__).parent / "treatments.yaml").read_text()))


@cache
def by_command() -> dict[str, Treatment]:
    return {one.command: one for one in treatments().commands}
