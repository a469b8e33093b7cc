"""YAML files, such as those that describe models and suites: where they are, and how one is read before its schema."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from vlbench.errors import InputError, SpecError, shortened
from vlbench.files.json_files import in_range, leaves
from vlbench.files.text import read_text

MODEL = "a model: the file must be a mapping with name, family, input, visual, ..."
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tabs and line ends
MOST_BYTES, MOST_DEPTH, MOST_VALUES = 1 << 20, 50, 100_000

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
    package = Path(__file__).resolve().parents[1]
    for folder in (package / installed, package.parent / checked_out):
        if folder.is_dir():
            return folder
    raise InputError(f"{package}: no {checked_out}/ folder beside the package; reinstall vlbench")


def read_mapping(path: Path, expected: str) -> dict[str, Any]:
    """Reads a YAML file whose top level is a mapping; `expected` says in messages what the file should be.

    Raises SpecError, in one line, that names the file, the line and what is wrong.
    """
    try:
        text = read_text(path, most_bytes=MOST_BYTES)
    except InputError as error:
        raise SpecError(str(error)) from error
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise SpecError(f"{path}: not {expected}")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text: mappings with text as keys, lists and scalars.

    Raises SpecError for what YAML allows beyond that: tags, a collection within itself, deep nesting, aliases that
    expand to very many values; for a number out of range, and for a control character in a text or a key.

    Args:
        where: begins the message, such as a path.
    """
    try:
        _check_events(text, where)
        content = yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:  # a scalar such as 2024-13-45 is a plain ValueError
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise SpecError(f"{where}:{line} not valid YAML: {problem}") from error
    _check_values(content, where)
    return content


def to_yaml(content: dict[str, Any]) -> str:
    """A mapping as YAML, in its own order; each innermost list or mapping is a line."""
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _check_events(text: str, where: str) -> None:
    """Refuses what would exhaust PyYAML's composer, which is recursive and in C, before it starts."""
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]  # the anchor of a collection, and its values so far
    values_of: dict[str | None, int] = {}
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        line = f"{where}: line {event.start_mark.line + 1}"
        if getattr(event, "tag", None) not in (None, "!"):
            raise SpecError(f"{line} has the tag {event.tag}; write the value without a tag")
        anchor = getattr(event, "anchor", None)
        values = 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((anchor, 0))
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == name for name, _ in open_nodes):
                raise SpecError(f"{line}: *{anchor} is within itself; write its content")
            values = values_of.get(event.anchor, 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, values = open_nodes.pop()
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionEndEvent):
            values += 1
            if anchor:
                values_of[anchor] = values
        name, before = open_nodes[-1]
        open_nodes[-1] = name, before + values
        if len(open_nodes) > MOST_DEPTH:
            raise SpecError(f"{line} is nested more than {MOST_DEPTH} deep")
        if before + values > MOST_VALUES:
            raise SpecError(f"{line}: more than {MOST_VALUES:,} values, aliases expanded")


def _check_values(content: Any, where: str) -> None:
    for path, leaf in leaves(content):
        if isinstance(leaf, int) and not in_range(leaf):
            raise SpecError(
                f"{where}: {shortened(path) or 'the number'} is out of range; integers of up to 64 bits work"
            )
        if isinstance(leaf, str) and (control := CONTROL.search(leaf)):
            raise SpecError(f"{where}: {shortened(path) or 'the text'} holds the control character {control[0]!r}")
