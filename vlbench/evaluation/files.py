"""Files that belong to some of the models asked: FILE for those that bring none of their own, MODEL=FILE for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlbench.catalog import not_asked, places
from vlbench.errors import InputError
from vlbench.specs import AnySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesByModel:
    """Attributes:
    named: by the model's name; they come before what its weights bring.
    otherwise: for models whose weights bring none.
    """

    named: Mapping[str, Path] = field(default_factory=dict)
    otherwise: Path | None = None


NO_FILES = FilesByModel()


def files_by_model(option: str, given: Sequence[str], specs: Sequence[AnySpec]) -> FilesByModel:
    """What an option means that is given as FILE or MODEL=FILE, as often as need be.

    Raises InputError where a file is not there, a model is none of those asked, or one has two files.
    """
    words = {word: specs[place].name for word, place in places(specs).items()}
    named: dict[str, Path] = {}
    otherwise: Path | None = None
    for one in given:
        name, equals, source = one.partition("=")
        path = Path(source if equals else one).expanduser()
        if equals and name not in words:
            raise not_asked(f"{option} {one}", name, words)
        if not path.exists():
            raise InputError(f"{option} {path}: no such file")
        if words[name] in named if equals else otherwise:
            raise InputError(f"{option} {one}: {'a second file for ' + name if equals else 'a second file'}; keep one")
        if equals:
            named[words[name]] = path
        else:
            otherwise = path
    return FilesByModel(named=named, otherwise=otherwise)
