"""The values within a call's arguments or its output, each with a name: a program calls its inputs and outputs so."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import chain, repeat
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str, ...]  # the argument, and the fields or keys within it

SHAPE_SUFFIX = re.compile(r"_[A-Z0-9]+$")


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Everything in a value that holds nothing else, with its path; items of a list have that of the list."""
    items: Iterable[tuple[Path, Any]]
    if isinstance(value, Mapping):
        items = (((*path, str(key)), item) for key, item in value.items())
    elif is_dataclass(value) and not isinstance(value, type):
        items = (((*path, item.name), getattr(value, item.name)) for item in fields(value))
    elif isinstance(value, list | tuple):
        items = ((path, item) for item in value)
    else:
        yield path, value
        return
    for inner, item in items:
        yield from leaves(item, inner)


def argument_leaves(
    function: Callable[..., Any], positional: Iterable[Any], named: Mapping[str, Any]
) -> Iterator[tuple[Path, Any]]:
    """The leaves of the arguments of a call, in their order; a path begins with the function's name for the argument,
    without the suffix that says its shape."""
    parameters = chain(inspect.signature(function).parameters, repeat("input"))
    for name, value in chain(zip(parameters, positional, strict=False), named.items()):
        yield from leaves(value, (SHAPE_SUFFIX.sub("", name),))


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, with those before it where several end alike; then with a number."""
    names = [path[-1] for path in paths]
    for length in range(2, 1 + max(map(len, paths), default=0)):
        counts = Counter(names)
        names = [
            "_".join(path[-length:]) if counts[name] > 1 else name for path, name in zip(paths, names, strict=True)
        ]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        names[index] = name if seen[name] == 1 else f"{name}_{seen[name]}"
    return names
