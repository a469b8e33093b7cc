"""How much slower is too slow: for all cells, or by model in a YAML file."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from vlbench.catalog import catalog, nearest, read_yaml
from vlbench.errors import InputError
from vlbench.shares import share_of

DEFAULT = 0.05
WORKS = "5% or 0.05 works"


def parse_threshold(value: object) -> float:
    """`5%` and `0.05` are 0.05. Raises ValueError for what lies outside of 0% to 100% or is no number."""
    share = None if isinstance(value, bool) else share_of(value)
    if share is None or not 0 < share <= 1:
        raise ValueError(f"a slowdown above 0% and up to 100% is needed ({WORKS})")
    return share


Threshold = Annotated[float, BeforeValidator(parse_threshold)]


class Thresholds(BaseModel):
    """`default` for all models but those that `models` names, by name or glob; the name itself goes before a glob,
    and of globs the first that matches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Threshold = DEFAULT
    models: dict[str, Threshold] = {}

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
        thresholds = read_yaml(path, Thresholds, "thresholds: the file must be a mapping with default and models")
    if option is None:
        return thresholds
    try:
        return thresholds.model_copy(update={"default": parse_threshold(option)})
    except ValueError as error:
        raise InputError(f"--threshold {option}: {error}") from error


def check_globs(thresholds: Thresholds, models: Iterable[str], where: str) -> None:
    """Raises InputError for a name or glob that matches neither a compared model nor one of the catalogue."""
    compared = set(models)
    for glob in thresholds.models:
        if not fnmatch.filter(compared, glob) and not fnmatch.filter(catalog(), glob):
            raise InputError(f"{where}: models: {glob!r} matches no model; {nearest(glob, compared)}")
