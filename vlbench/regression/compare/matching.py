"""Pairs the results of HEAD with those of BASE, unless the machine or the settings differ.

Whether the machine itself became slower is judged by the reference kernel that every restart times.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log
from statistics import median
from typing import Any

from vlbench.errors import InputError
from vlbench.measuring.machine import HARDWARE, Machine
from vlbench.measuring.statistics import reaches
from vlbench.regression.compare.effects import Effect, independent
from vlbench.runner.records import Result, undisturbed_restarts

SETTINGS = (
    "device",
    "precision",
    "backend",
    "scope",
    "batch",
    "l2",
    "image_size",
    "text_tokens",
    "threads",
    "image_sha256",
    "text",
)
LONGEST = 40  # characters of a value that a message shows

Key = tuple[str, tuple[Any, ...]]
Names = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A measurement that is in both folders. `name` is its model, with the settings that vary between measurements."""

    name: str
    base: Result
    head: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What is compared.

    Attributes:
        pairs: in the order of BASE.
        only_in_base, only_in_head: the names of measurements without a counterpart.
        differences: of hardware and settings, which only --force allows.
        notes: differences of software and of models.
    """

    pairs: tuple[Pair, ...]
    only_in_base: tuple[str, ...]
    only_in_head: tuple[str, ...]
    differences: tuple[str, ...]
    notes: tuple[str, ...]


def match(base: Sequence[Result], head: Sequence[Result], *, names: Names, force: bool = False) -> Matched:
    """Pairs the measurements of two folders by model and settings. Of several lines of one, the last that is ok counts.

    Raises InputError where no measurement is in both folders. Unless forced, raises it also where the hardware differs,
    or a model in both folders was measured with different settings. If forced, measurements of a model whose settings
    differ least are paired.

    Args:
        names: of the two folders, for messages.
    """
    first, second = _by_key(base), _by_key(head)
    keys = [(key, key) for key in first if key in second]
    others = _with_other_settings(
        [key for key in first if key not in second], [key for key in second if key not in first]
    )
    differences = [
        *dict.fromkeys(
            line
            for key, other in [*keys, *others]
            for line in _differences_of_hardware(first[key].machine, second[other].machine, names)
        ),
        *(_settings_in_words(key, other, names) for key, other in others),
    ]
    if differences and not force:
        raise InputError(f"{differences[0]}{_and_more(differences)}; measure both alike, or add --force")
    paired = [*keys, *others]
    if not paired:
        raise InputError(
            f"no measurement is in both: {names[0]} holds {_models(first)}, {names[1]} {_models(second)}; "
            "measure the same models with the same settings"
        )
    labels = _labels([*first, *(key for key in second if key not in first)])
    in_base, in_head = ({pair[side] for pair in paired} for side in (0, 1))
    pairs = [Pair(name=labels[key], base=first[key], head=second[other]) for key, other in paired]
    return Matched(
        pairs=tuple(pairs),
        only_in_base=tuple(labels[key] for key in first if key not in in_base),
        only_in_head=tuple(labels[key] for key in second if key not in in_head),
        differences=tuple(differences),
        notes=tuple(_notes(pairs)),
    )


def _by_key(results: Sequence[Result]) -> dict[Key, Result]:
    by_key: dict[Key, Result] = {}
    for result in results:
        key = (result.model, tuple(_setting(result, name) for name in SETTINGS))
        if key not in by_key or result.status == "ok" or by_key[key].status != "ok":
            by_key[key] = result
    return by_key


def _setting(result: Result, name: str) -> Any:
    if name == "scope":
        return result.scope or "stages"  # eager PyTorch converts nothing, but is timed by stage
    return result.machine.threads if name == "threads" else getattr(result, name)


def _with_other_settings(base: Sequence[Key], head: Sequence[Key]) -> list[tuple[Key, Key]]:
    """Pairs of the same model that differ in settings, each key once. Those that differ least are paired first."""
    of_model: dict[str, tuple[list[Key], list[Key]]] = defaultdict(lambda: ([], []))
    for side, keys in enumerate((base, head)):
        for key in keys:
            of_model[key[0]][side].append(key)
    pairs = {key: other for sides in of_model.values() for key, other in _closest(*sides).items()}
    return [(key, pairs[key]) for key in base if key in pairs]


def _closest(base: Sequence[Key], head: Sequence[Key]) -> dict[Key, Key]:
    """Pairs of one model. Keys are looked up by the settings that they share, as there may be thousands."""
    pairs: dict[Key, Key] = {}
    taken: set[int] = set()
    varying = _differing([*base, *head])
    for shared_count in reversed(range(len(varying))):
        lookups = []
        for shared in combinations(varying, shared_count):
            groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
            for index in reversed(range(len(head))):  # the first is the last of its group, where it is quick to remove
                if index not in taken:
                    groups[_settings_of(head[index], shared)].append(index)
            lookups.append((shared, groups))
        for key in base:
            if key in pairs or len(taken) == len(head):
                continue
            alike = [group for shared, groups in lookups if (group := groups.get(_settings_of(key, shared)))]
            for group in alike:
                while group and group[-1] in taken:
                    group.pop()
            if first := [group[-1] for group in alike if group]:
                pairs[key] = head[min(first)]
                taken.add(min(first))
    return pairs


def _settings_of(key: Key, indices: Sequence[int]) -> tuple[Any, ...]:
    return tuple([key[1][index] for index in indices])


def _differing(keys: Sequence[Key]) -> list[int]:
    """The indices in SETTINGS at which the keys differ."""
    return [index for index in range(len(SETTINGS)) if len({settings[index] for _, settings in keys}) > 1]


def _settings_in_words(key: Key, other: Key, names: Names) -> str:
    differences = [
        f"{SETTINGS[index]} {_shown(key[1][index])} in {names[0]}, {_shown(other[1][index])} in {names[1]}"
        for index in _differing((key, other))
    ]
    return f"{key[0]} was measured with other settings: {'; '.join(differences)}"


def _differences_of_hardware(base: Machine, head: Machine, names: Names) -> list[str]:
    return [
        f"another machine: {name} {_shown(getattr(base, name))} in {names[0]}, "
        f"{_shown(getattr(head, name))} in {names[1]}"
        for name in base.differing_hardware(head)
    ]


def _notes(pairs: Sequence[Pair]) -> list[str]:
    """Differences that a comparison may be made for: of software, and of the models' own descriptions."""
    lines: dict[str, None] = {}
    for pair in pairs:
        before, after = _software(pair.base), _software(pair.head)
        for name in dict.fromkeys([*before, *after]):
            if before.get(name) != after.get(name):
                lines[f"{name}: {_shown(before.get(name))} in BASE, {_shown(after.get(name))} in HEAD"] = None
    changed = [pair.name for pair in pairs if pair.base.spec_hash != pair.head.spec_hash]
    if changed:
        lines[f"the model's own description differs: {', '.join(changed)}"] = None
    return list(lines)


def _software(result: Result) -> dict[str, Any]:
    machine = result.machine.model_dump(exclude={*HARDWARE, "threads"})
    return {"vlbench": result.vlbench_version, **machine}


def _labels(keys: Sequence[Key]) -> dict[Key, str]:
    """The model's name, and each setting in which its measurements differ: `vilt-b32, batch 4`."""
    of_model: dict[str, list[Key]] = defaultdict(list)
    for key in keys:
        of_model[key[0]].append(key)
    varying = {model: _differing(of_one) for model, of_one in of_model.items()}
    labels = {}
    for key in keys:
        varied = varying[key[0]]
        labels[key] = ", ".join([key[0], *(f"{SETTINGS[index]} {_shown(key[1][index])}" for index in varied)])
    return labels


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    text = "none" if value is None else str(value)
    if " " in text:
        text = f"'{text}'"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _models(cells: Mapping[Key, Result]) -> str:
    models = list(dict.fromkeys(model for model, _ in cells))
    return ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")


def _and_more(lines: Sequence[str]) -> str:
    return f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""


CONFIDENCE = 0.95
LEAST_SHARE = 1 / 4  # of the model's change; a slower machine can slow a model down more than a small kernel


def why_the_machine(base: Result, head: Result, effect: Effect) -> str | None:
    """Why a change of latency may come from the machine: its reference kernel changed in the same direction, by enough.

    None where it did not, and where that is unknown: on a GPU, or with another version of NumPy.
    """
    of_base, of_head = (_references_ms(result) for result in (base, head))
    if head.device != "cpu" or _numpy(base) != _numpy(head) or not of_base or not of_head:
        return None
    kernel = independent(of_base, of_head, CONFIDENCE)
    alike = (kernel.ratio > 1) == (effect.ratio > 1)
    if not (kernel.real and alike and reaches(abs(log(kernel.ratio)), LEAST_SHARE * abs(log(effect.ratio)))):
        return None
    moved = f"{abs(kernel.ratio - 1):.1%} {'slower' if kernel.ratio > 1 else 'faster'}"
    return (
        f"the machine itself was {moved} in HEAD, as its reference kernel says; measure both again, or use vlbench ab"
    )


def _numpy(result: Result) -> str | None:
    """The version of NumPy, which runs the kernel."""
    return (result.machine.model_extra or {}).get("numpy")


def _references_ms(result: Result) -> list[float]:
    """The median time of the kernel in each restart that counts; empty where a restart has none."""
    interference = [restart.interference for restart in undisturbed_restarts(result.restarts)]
    references = [
        median(record.reference_kernel_ms) for record in interference if record and record.reference_kernel_ms
    ]
    return references if len(references) == len(interference) else []
