"""Runs grouped into comparable series, what changed in each, and how series and machines are named for a reader."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from string import ascii_uppercase
from typing import TYPE_CHECKING

from vlbench.errors import InputError
from vlbench.regression.history.change_points import SHORTEST, Changes, fewest_values, find_changes
from vlbench.regression.history.runs import Hardware, HistoryRun, SeriesSettings
from vlbench.tables.numbers import share_of

if TYPE_CHECKING:
    pass


SIGNIFICANCE = 0.01  # of a whole history: its series that are long enough to be tested share it


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change of software or of the model's definition with run `index`, such as "torch 2.14.0 -> 2.15.0"."""

    index: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A change point of a series: with run `index` (from 0) the level became `after_ms`.

    `events` are those with that run, or since the last run that counts before it; `nearby` those of one run more on
    either side, as a change point may be found one run off.
    """

    index: int
    before_ms: float
    after_ms: float
    change: float
    events: tuple[Event, ...]
    nearby: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One model with one set of settings on one machine, in the order measured.

    `fewest` is how many judged runs a change point takes; `shifts` and `drift` are empty under that.
    """

    model: str
    settings: SeriesSettings
    hardware: Hardware
    runs: tuple[HistoryRun, ...]
    events: tuple[Event, ...]
    shifts: tuple[Shift, ...]
    drift: float | None
    fewest: int

    @property
    def timed(self) -> list[HistoryRun]:
        return [run for run in self.runs if run.latency_ms is not None]

    @property
    def judged(self) -> list[HistoryRun]:
        return [run for run in self.runs if run.judged]


def build_series(runs: Iterable[HistoryRun], *, threshold: float) -> tuple[Series, ...]:
    """Series of runs that are in order, sorted by model, settings and machine; changes of at least `threshold`."""
    groups: dict[tuple[str, SeriesSettings, Hardware], list[HistoryRun]] = defaultdict(list)
    for run in runs:
        groups[run.model, run.settings, run.hardware].append(run)
    parts = {key: part for group in groups.values() for key, part in _by_variant(group).items()}
    tested = sum(sum(run.judged for run in part) >= SHORTEST for part in parts.values())
    significance = SIGNIFICANCE / max(1, tested)
    return tuple(_series(*key, parts[key], threshold, significance) for key in sorted(parts))


def select(runs: Sequence[HistoryRun], *, models: str | None = None, device: str | None = None) -> list[HistoryRun]:
    """The runs of models that any of the comma-separated patterns names, on a device."""
    patterns = [pattern.strip() for pattern in models.split(",")] if models else ["*"]
    return [
        run
        for run in runs
        if any(fnmatchcase(run.model, pattern) for pattern in patterns) and device in (None, run.settings.device)
    ]


def parse_threshold(text: str) -> float:
    """0.05 of `5%` or `0.05`. Raises InputError where it is neither, or not from 0 to under 1."""
    share = share_of(text)
    if share is None or share >= 1:
        hint = f"{text}%" if share is not None and not text.endswith("%") else "5%"
        raise InputError(f"--threshold {text}: not a share below 1; {hint} or 0.05 works")
    return share


def _by_variant(group: list[HistoryRun]) -> dict[tuple[str, SeriesSettings, Hardware], list[HistoryRun]]:
    """Splits definitions that share a name and alternate, as in a suite. An edited definition stays one series.

    Definitions alternate if one folder has two of them, or if one returns after another.
    """
    first = group[0]
    in_source: dict[str, set[str]] = defaultdict(set)
    for run in group:
        in_source[run.source].add(run.definition)
    turns = sum(run.definition != before.definition for before, run in pairwise(group))
    definitions = {run.definition for run in group}
    if turns < len(definitions) and all(len(hashes) == 1 for hashes in in_source.values()):
        return {(first.model, first.settings, first.hardware): group}
    return {
        (first.model, replace(first.settings, variant=definition), first.hardware): [
            run for run in group if run.definition == definition
        ]
        for definition in sorted(definitions)
    }


def _series(
    model: str,
    settings: SeriesSettings,
    hardware: Hardware,
    runs: list[HistoryRun],
    threshold: float,
    significance: float,
) -> Series:
    judged = [index for index, run in enumerate(runs) if run.judged]
    changes = find_changes(
        [run.latency_ms for run in runs if run.judged and run.latency_ms],
        threshold=threshold,
        significance=significance,
    )
    events = _events(runs)
    return Series(
        model=model,
        settings=settings,
        hardware=hardware,
        runs=tuple(runs),
        events=events,
        shifts=_shifts(changes, judged, events),
        drift=changes.drift,
        fewest=fewest_values(significance),
    )


def _shifts(changes: Changes, judged: list[int], events: tuple[Event, ...]) -> tuple[Shift, ...]:
    shifts = []
    for point in changes.points:
        index = judged[point.index]
        since = judged[point.index - 1] + 1
        earlier = judged[point.index - 2] + 1 if point.index > 1 else 0
        later = judged[point.index + 1] if point.index + 1 < len(judged) else index
        shifts.append(
            Shift(
                index=index,
                before_ms=point.before,
                after_ms=point.after,
                change=point.change,
                events=tuple(event for event in events if since <= event.index <= index),
                nearby=tuple(
                    event for event in events if earlier <= event.index < since or index < event.index <= later
                ),
            )
        )
    return tuple(shifts)


def _events(runs: Sequence[HistoryRun]) -> tuple[Event, ...]:
    """Versions that differ from the last that was known under the same name."""
    events, known = [], dict[str, str]()
    for index, run in enumerate(runs):
        now = {**run.software, "definition": run.definition[:8]}
        events += [
            Event(index=index, text=f"{name} {known[name]} -> {value}")
            for name, value in now.items()
            if known.get(name, value) != value
        ]
        known |= now
    return tuple(events)


BY_MODEL = ("image_size", "text_tokens")  # each model has its own, unless the command line sets it


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """`common` has the settings that all series share; `settings` and `machine` distinguish the series."""

    common: str
    machines: dict[Hardware, str]
    differing: tuple[str, ...]

    def settings(self, series: Series) -> str:
        return ", ".join(_in_words(series.settings, self.differing))

    def machine(self, series: Series) -> str:
        return self.machines[series.hardware] if len(self.machines) > 1 else ""


def name_all(history: Sequence[Series]) -> Names:
    """Names settings that differ; those of `BY_MODEL` only if they differ between series of one model."""
    names = [field.name for field in fields(SeriesSettings)]
    differing = tuple(name for name in names if _differs(history, name))
    alike = [name for name in names if len({getattr(series.settings, name) for series in history}) == 1]
    shown = [name for name in alike if name not in ("image_sha256", "text")]
    hardware = dict.fromkeys(series.hardware for series in history)
    return Names(
        common=", ".join(_in_words(history[0].settings, shown)),
        machines={machine: _letters(index) for index, machine in enumerate(sorted(hardware))},
        differing=differing,
    )


def _differs(history: Sequence[Series], name: str) -> bool:
    groups: dict[str, set] = {}
    for series in history:
        groups.setdefault(series.model if name in BY_MODEL else "", set()).add(getattr(series.settings, name))
    return any(len(values) > 1 for values in groups.values())


def _in_words(settings: SeriesSettings, names: Sequence[str]) -> list[str]:
    words = {
        "device": settings.device,
        "precision": settings.precision,
        "backend": settings.backend,
        "scope": f"scope {settings.scope}",
        "batch": f"batch {settings.batch}",
        "l2": "L2 cold" if settings.l2 == "cold" else "",
        "threads": f"{settings.threads} thread{'s' if settings.threads != 1 else ''}",
        "image_size": "x".join(map(str, settings.image_size)),
        "text_tokens": f"{settings.text_tokens} tokens",
        "image_sha256": f"image {settings.image_sha256[:8]}",
        "text": f'"{settings.text[:24]}{"..." if len(settings.text) > 24 else ""}"',
        "variant": f"variant {settings.variant[:8]}" if settings.variant else "",
    }
    return [words[name] for name in words if name in names and words[name]]


def _letters(index: int) -> str:
    """A to Z, then AA, AB and so on."""
    rest, last = divmod(index, len(ascii_uppercase))
    return (_letters(rest - 1) if rest else "") + ascii_uppercase[last]
