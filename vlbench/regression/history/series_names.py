"""How series and machines are named for a reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from string import ascii_uppercase

from vlbench.regression.history.runs import Hardware, SeriesSettings
from vlbench.regression.history.series import Series

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
        "batch": f"batch {settings.batch}",
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
