"""Which result of HEAD is compared with which of BASE, and what forbids it: another machine, other settings. Whether
the machine itself changed between two results shows in the reference kernel that every restart times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import median
from typing import Any

from vlbench.errors import InputError
from vlbench.measure.machine import HARDWARE, Machine
from vlbench.regression.compare.effects import Effect, independent
from vlbench.runner.records import Result, undisturbed_restarts

SETTINGS = ("device", "precision", "backend", "batch", "image_size", "text_tokens", "threads", "image_sha256", "text")
LONGEST = 40  # characters of a value that a message shows

Key = tuple[str, tuple[Any, ...]]
Names = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One cell, measured on both sides. `name` tells it from the others: its model, and settings where these vary."""

    name: str
    base: Result
    head: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Pairs in the order of BASE, names of what one side lacks, what --force allowed, and what may be of interest."""

    pairs: tuple[Pair, ...]
    only_in_base: tuple[str, ...]
    only_in_head: tuple[str, ...]
    differences: tuple[str, ...]
    notes: tuple[str, ...]


def match(base: Sequence[Result], head: Sequence[Result], *, names: Names, force: bool = False) -> Matched:
    """Pairs the cells of two folders by model and settings; of several lines for a cell, the last that is ok.

    Raises InputError where no cell is in both, or, unless forced, where hardware differs or a model that both hold
    was measured with other settings. Forced, cells of one model whose settings differ least are paired.

    Args:
        names: what messages call the two folders.
    """
    first, second = _by_key(base), _by_key(head)
    keys = [(key, key) for key in first if key in second]
    others = _with_other_settings(
        [key for key in first if key not in second], [key for key in second if key not in first]
    )
    differences = [
        *dict.fromkeys(
            line
            for one, other in [*keys, *others]
            for line in _differences_of_hardware(first[one].machine, second[other].machine, names)
        ),
        *(_settings_in_words(one, other, names) for one, other in others),
    ]
    if differences and not force:
        raise InputError(f"{differences[0]}{_and_more(differences)}; measure both alike, or add --force")
    paired = [*keys, *others]
    if not paired:
        raise InputError(
            f"no cell is in both: {names[0]} holds {_models(first)}, {names[1]} {_models(second)}; "
            "measure the same models with the same settings"
        )
    labels = _labels([*first, *(key for key in second if key not in first)])
    pairs = [Pair(name=labels[one], base=first[one], head=second[other]) for one, other in paired]
    return Matched(
        pairs=tuple(pairs),
        only_in_base=tuple(labels[key] for key in first if key not in {one for one, _ in paired}),
        only_in_head=tuple(labels[key] for key in second if key not in {other for _, other in paired}),
        differences=tuple(differences),
        notes=tuple(_notes(pairs)),
    )


def _by_key(results: Sequence[Result]) -> dict[Key, Result]:
    found: dict[Key, Result] = {}
    for result in results:
        key = (result.model, tuple(_setting(result, name) for name in SETTINGS))
        if key not in found or result.status == "ok" or found[key].status != "ok":
            found[key] = result
    return found


def _setting(result: Result, name: str) -> Any:
    return result.machine.threads if name == "threads" else getattr(result, name)


def _with_other_settings(base: Sequence[Key], head: Sequence[Key]) -> list[tuple[Key, Key]]:
    """Pairs of one model that differ in settings, those that differ least first, each key once."""
    candidates = [(one, other) for one in base for other in head if one[0] == other[0]]
    candidates.sort(key=lambda pair: len(_differing(pair)))
    pairs: list[tuple[Key, Key]] = []
    for one, other in candidates:
        if not any(one == first or other == second for first, second in pairs):
            pairs.append((one, other))
    return sorted(pairs, key=lambda pair: base.index(pair[0]))


def _differing(keys: Sequence[Key]) -> list[int]:
    """The places in SETTINGS at which keys differ."""
    return [place for place in range(len(SETTINGS)) if len({settings[place] for _, settings in keys}) > 1]


def _settings_in_words(one: Key, other: Key, names: Names) -> str:
    told = [
        f"{SETTINGS[place]} {_shown(one[1][place])} in {names[0]}, {_shown(other[1][place])} in {names[1]}"
        for place in _differing((one, other))
    ]
    return f"{one[0]} was measured with other settings: {'; '.join(told)}"


def _differences_of_hardware(base: Machine, head: Machine, names: Names) -> list[str]:
    return [
        f"another machine: {name} {_shown(getattr(base, name))} in {names[0]}, "
        f"{_shown(getattr(head, name))} in {names[1]}"
        for name in base.differing_hardware(head)
    ]


def _notes(pairs: Sequence[Pair]) -> list[str]:
    """Differences that are what a maintainer may want to compare: software, and what the models are made of."""
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
    """The model's name, and each setting in which the cells of this model differ: `vilt-b32, batch 4`."""
    labels = {}
    for key in keys:
        varied = _differing([other for other in keys if other[0] == key[0]])
        labels[key] = ", ".join([key[0], *(f"{SETTINGS[place]} {_shown(key[1][place])}" for place in varied)])
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
LEAST_SHARE = 1 / 4  # of the model's change; what slows a small kernel down can slow a model down more


def why_the_machine(base: Result, head: Result, effect: Effect) -> str | None:
    """Why a change of latency may be the machine's own: its reference kernel moved for sure, the same way, and not by
    much less. None where it did not, and where nothing tells: on a GPU, of older schemas, with another NumPy."""
    of_base, of_head = (_references_ms(result) for result in (base, head))
    if head.device != "cpu" or _numpy(base) != _numpy(head) or not of_base or not of_head:
        return None
    own = independent(of_base, of_head, CONFIDENCE)
    alike = (own.ratio > 1) == (effect.ratio > 1)
    if not (own.real and alike and abs(log(own.ratio)) >= LEAST_SHARE * abs(log(effect.ratio))):
        return None
    moved = f"{abs(own.ratio - 1):.1%} {'slower' if own.ratio > 1 else 'faster'}"
    return (
        f"the machine itself was {moved} in HEAD, as its reference kernel says; measure both again, or use vlbench ab"
    )


def _numpy(result: Result) -> str | None:
    """The version that the kernel ran on."""
    return (result.machine.model_extra or {}).get("numpy")


def _references_ms(result: Result) -> list[float]:
    """Of each restart that counts; none where one was not observed."""
    interference = [restart.interference for restart in undisturbed_restarts(result.restarts)]
    references = [median(one.reference_kernel_ms) for one in interference if one and one.reference_kernel_ms]
    return references if len(references) == len(interference) else []
