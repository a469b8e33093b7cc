"""Names of cells: the model, and those settings by which it differs from the model's other cells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import count

from vlbench.running.cells import Result

SETTINGS: dict[str, Callable[[Result], str]] = {
    "image": lambda one: "x".join(map(str, one.image_size)),
    "tokens": lambda one: f"{one.text_tokens}+{'?' if one.image_tokens is None else one.image_tokens} tokens",
    "batch": lambda one: f"batch {one.batch}",
    "device": lambda one: one.device,
    "precision": lambda one: one.precision,
    "backend": lambda one: one.backend,
    "threads": lambda one: f"{one.machine.threads} thread{'s' if one.machine.threads > 1 else ''}",
    "weights": lambda one: one.weights,
    "machine": lambda one: one.machine.in_few_words(),
    "torch": lambda one: f"torch {one.machine.torch}",
    "vlbench": lambda one: f"vlbench {one.vlbench_version}",
    "spec": lambda one: one.spec_hash[:6],
}


def cell_names(results: Sequence[Result]) -> list[str]:
    """A name for each, no two alike: `vilt-b32`; `vilt-b32, batch 8` where that model has cells of other batches."""
    return tell_apart(results, [one.model for one in results])


def tell_apart(results: Sequence[Result], names: Sequence[str], without: Collection[str] = ()) -> list[str]:
    """The names, and behind those that several have, the settings by which these differ; no two alike.

    Settings `without` which it must do are not named.
    """
    settings = [setting for name, setting in SETTINGS.items() if name not in without]
    told = list(names)
    by_name: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        by_name.setdefault(name, []).append(place)
    for places in by_name.values():
        for setting in settings:
            if len({told[place] for place in places}) == len(places):
                break
            values = {place: setting(results[place]) for place in places}
            if _separates(told, values):
                for place, value in values.items():
                    told[place] += f", {value}"
    return _numbered(told)


def _separates(names: Sequence[str], values: dict[int, str]) -> bool:
    """Whether a setting tells apart any two that have the same name so far."""
    return len({(names[place], value) for place, value in values.items()}) > len({names[place] for place in values})


def _numbered(names: Sequence[str]) -> list[str]:
    """Those that are alike, and only those, are numbered from the second on, past any name that is there already."""
    taken, found = set(names), []
    seen: set[str] = set()
    for name in names:
        own = name
        if name in seen:
            own = next(one for number in count(2) if (one := f"{name} ({number})") not in taken)
        seen.add(name)
        taken.add(own)
        found.append(own)
    return found
