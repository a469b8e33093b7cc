"""YAML files that describe models and suites: where they are, and how one is read, before any schema checks it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from vlbench.errors import InputError, SpecError

MODEL = "a model: the file must be a mapping with name, family, input, visual, ..."

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeys(_Loader):
    """YAML forbids the same key twice in a mapping; PyYAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} a second time in one mapping; keep one", problem_mark=key.start_mark
                )
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


@cache
def models_folder() -> Path:
    """`models/` of the checkout, or the copy in an installed package."""
    return data_folder("_models", "models")


def data_folder(installed: str, checked_out: str) -> Path:
    """A folder of YAML files: within an installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / installed, package.parent / checked_out):
        if folder.is_dir():
            return folder
    raise InputError(f"{package}: no {checked_out}/ folder beside the package; reinstall vlbench")


def read_mapping(path: Path, expected: str) -> dict[str, Any]:
    """Reads a YAML file whose top level is a mapping; `expected` says in messages what the file should be.

    Raises SpecError, in one line, that names the file, the line and what is wrong.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not a text file in UTF-8") from error
    except (yaml.YAMLError, ValueError) as error:  # a scalar such as 2024-13-45 is a plain ValueError
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise SpecError(f"{path}:{where} not valid YAML: {problem}") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path}: not {expected}")
    return content
