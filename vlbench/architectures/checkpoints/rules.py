"""Rules that map tensors from published names to ours, strictly.

Each of theirs is used once, each of ours is filled, and every exception is reported by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vlbench.errors import InputError

State = Mapping[str, Tensor]
VARIABLE = re.compile(r"\\\{(\w+)\\\}")  # {n} in a name, after re.escape
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")  # of a layer
VALUES = {"n": r"\d+", "m": r"\d+", "p": "weight|bias", "s": "weight|bias|running_mean|running_var", "any": ".+"}
COUNTER = ".num_batches_tracked"
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True, slots=True)
class Rule:
    """One of our tensors from theirs.

    Names may hold {n} and {m}, numbers; {p}, weight or bias; {s}, all that BatchNorm applies; {any}, whatever it is.

    Attributes:
        ours: the name here.
        theirs: the name there; several tensors are concatenated.
        make: computes ours from theirs, if it is something else.
        again: whether another rule uses the same tensor, on purpose.
    """

    ours: str
    theirs: str | tuple[str, ...]
    make: Callable[..., Tensor] | None = None
    again: bool = False

    def names(self) -> tuple[str, ...]:
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs

    def made(self, tensors: Sequence[Tensor]) -> Tensor:
        if self.make is not None:
            return self.make(*tensors)
        return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


@dataclass(frozen=True, slots=True)
class Dropped:
    """Tensors of theirs that nothing here needs, and the reason."""

    theirs: str
    reason: str


COUNTERS = Dropped(f"*{COUNTER}", "counts batches for a BatchNorm whose momentum is their mean, as here none is")


@dataclass(frozen=True, slots=True)
class Untouched:
    """Tensors of ours that such a checkpoint does not hold, so that they keep their values, and the reason."""

    ours: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The names that one published implementation gives its tensors.

    Attributes:
        title: as a message names it.
        signature: names that only its checkpoints hold; all of them.
        rules: for each of our tensors the first that fits.
        dropped: tensors of theirs that are left out on purpose.
        untouched: tensors of ours that keep their values on purpose.
        heads: kinds of head that it fills; empty if it fills any.
        implies: fields of a spec, by dotted names, that its tensors need and that their shapes do not determine.
        configs: the kinds of config that lie next to it (`config.CONFIGS`).
        trained_eps: of the interaction's LayerNorms, where its code has another than
            `implies`; it is applied.
        when: distinguishes it from a family of the same names, by the shapes of its signature.
    """

    title: str
    signature: tuple[str, ...]
    rules: tuple[Rule, ...]
    dropped: tuple[Dropped, ...] = ()
    untouched: tuple[Untouched, ...] = ()
    heads: tuple[str, ...] = ()
    implies: Mapping[str, Any] = field(default_factory=dict)
    configs: tuple[str, ...] = ()
    trained_eps: float | None = None
    when: Callable[[State], bool] | None = None

    def fits(self, state: State) -> bool:
        """Whether a checkpoint is of this family."""
        return all(name in state for name in self.signature) and (self.when is None or self.when(state))

    def knows(self, ours: str) -> bool:
        """Whether it covers one of our tensors, by a rule or on purpose not."""
        return _rule_for(self, ours)[0] is not None or self.leaves(ours)

    def theirs(self, ours: str) -> tuple[str, ...]:
        """Their tensors that one of ours is made of; empty if it has no rule."""
        rule, values = _rule_for(self, ours)
        return () if rule is None else tuple(name.format(**values) for name in rule.names())

    def leaves(self, ours: str) -> bool:
        """Whether one of our tensors keeps its values on purpose."""
        return any(_pattern(rule.ours).fullmatch(ours) for rule in self.untouched)


def mapped(family: Family, state: State, expected: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Our tensors by our names, in the shapes of `expected`, without those that the family leaves untouched.

    Raises InputError, in one line with their names, where one of ours has none, one of theirs is not used, or a shape
    differs; ValueError where two rules use a tensor of theirs and neither says that it does so again. The batches that
    a BatchNorm counted are expected of nobody.

    Args:
        state: theirs.
        expected: our state dict, of which only names and shapes count; it may lie on the meta device.
        source: of the checkpoint, for messages.
    """
    filled: dict[str, Tensor] = {}
    used: dict[str, bool] = {}  # by name, whether by a rule that does not say so
    missing: list[str] = []
    for ours in expected:
        if ours.endswith(COUNTER):
            continue
        rule, names = _rule_for(family, ours)[0], family.theirs(ours)
        if rule is None or any(name not in state for name in names):
            if not family.leaves(ours):
                missing.append(ours)
            continue
        filled[ours] = _made(family, rule, {name: state[name] for name in names}, source)
        twice = [name for name in names if used.get(name) and not rule.again]
        if twice:
            raise ValueError(f"{family.title}: {twice[0]} is used a second time, for {ours}")
        used |= {name: used.get(name, False) or not rule.again for name in names}
    refuse_shapes(family.title, source, filled, expected)
    unused = [name for name in state if name not in used and not _is_dropped(family, name)]
    refuse_gaps(family.title, source, missing, unused)
    return filled


def _made(family: Family, rule: Rule, tensors: State, source: str) -> Tensor:
    refuse_values(family.title, source, tensors)
    try:
        return rule.made(list(tensors.values()))
    except (IndexError, RuntimeError) as error:
        theirs = ", ".join(f"{name} of {_size(tensor)}" for name, tensor in tensors.items())
        raise InputError(f"weights {source}: {family.title}, but {rule.ours} cannot be made of {theirs}") from error


def _rule_for(family: Family, ours: str) -> tuple[Rule | None, dict[str, str]]:
    for rule in family.rules:
        match = _pattern(rule.ours).fullmatch(ours)
        if match:
            return rule, match.groupdict()
    return None, {}


def _is_dropped(family: Family, name: str) -> bool:
    return any(_pattern(rule.theirs).fullmatch(name) for rule in family.dropped)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """A regular expression; VALUES has the values of a variable, and * is anything."""
    escaped = re.escape(template).replace(r"\*", ".*")
    seen: set[str] = set()

    def group(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{VALUES[name]})"

    return re.compile(VARIABLE.sub(group, escaped))


def refuse_gaps(title: str, source: str, missing: Sequence[str], unused: Sequence[str]) -> None:
    """Raises InputError with all names, if there are any."""
    parts = []
    if missing:
        parts.append(f"has nothing for {_listed(missing)}")
    if unused:
        parts.append(f"holds {_listed(unused)}, which this model has no place for")
    if parts:
        raise InputError(f"weights {source}: {title}, but it {' and '.join(parts)}")


def refuse_shapes(title: str, source: str, filled: State, expected: State) -> None:
    """Raises InputError with the first tensor that does not have the expected shape."""
    wrong = [name for name, tensor in filled.items() if tensor.shape != expected[name].shape]
    if wrong:
        name = wrong[0]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        sizes = f"{_size(filled[name])} there and {_size(expected[name])} here{more}"
        raise InputError(f"weights {source}: {title}, but {name} is {sizes}; another size of model?")


def refuse_values(title: str, source: str, tensors: State) -> None:
    """Raises InputError with the first tensor whose values are no numbers that a model computes with."""
    for name, tensor in tensors.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        if tensor.dtype not in FLOATS:
            remedy = "a quantised checkpoint? The one in float32 works"
            raise InputError(f"weights {source}: {title}, but {name} is {kind}, no float of 16 bits or more; {remedy}")
        if not tensor.is_meta and not bool(tensor.isfinite().all()):
            raise InputError(f"weights {source}: {title}, but {name} holds NaN or infinity; a training that diverged?")


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _listed(names: Sequence[str]) -> str:
    """All names; those that differ only in a number or in their last word are grouped."""
    by_stem: dict[str, list[str]] = {}
    for name in names:
        stem, _, last = name.rpartition(".")
        by_stem.setdefault(stem, []).append(last)
    numbers: dict[tuple[str, str], list[int]] = {}
    for stem, lasts in by_stem.items():
        last = lasts[0] if len(lasts) == 1 else f"({'|'.join(sorted(lasts, reverse=True))})"
        name = f"{stem}.{last}".removeprefix(".")
        number = NUMBER.search(name)
        before, after = (name[: number.start()], name[number.end() :]) if number else (name, "")
        numbers.setdefault((before, after), []).extend([int(number[0])] if number else [])
    return ", ".join(before + _ranges(group) + after for (before, after), group in numbers.items())


def _ranges(numbers: Sequence[int]) -> str:
    """`0-3,5` for 0, 1, 2, 3, 5."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def recognised(families: Sequence[Family], state: State) -> Iterator[Family]:
    """The families that have these names."""
    return (family for family in families if family.fits(state))
