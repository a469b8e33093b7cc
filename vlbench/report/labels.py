"""Names of measurements (the model, and the settings by which it differs from its other measurements), and where they
are drawn beside the points of a picture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlbench.runner.records import Result

Line = tuple[tuple[float, float], tuple[float, float]]  # from and to along x, along y; upright or level
Floats = NDArray[np.float64]  # boxes are (N, 4): left, bottom, right, top
GAPS = (3, 6, 10, 16, 24, 34, 46, 60, 76, 94, 114)  # points from a point's mark to its name
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
LEADER = 8  # points; a name farther off has a line to its point
# How much worse, in points of distance: a name on a line, or nearer to another's point; its leader on a name or a mark;
# a name on these.
CROSSED, MISTAKEN, COVERED, LOST = 25, 20, 60, 10_000
CROWDED = 60  # points; who has most neighbours so near is named first
BORDER = 3  # points that stay free within the axes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    box: Floats  # (4,), of the name
    way: Floats  # (2,), from the point to the name
    gap: float


@dataclass(slots=True, kw_only=True)
class _Picture:
    """All in points, from the figure's lower left corner; `taken` by names grows."""

    centres: Floats  # (N, 2)
    marks: Floats  # (N, 4)
    drawn: Floats  # (M, 4)
    inner: Floats  # (4,)
    taken: Floats  # (K, 4)

    def cost(self, index: int, tried: _Place) -> float:
        """What it disturbs to name a point there."""
        own = self.centres[index]
        lost = _meeting(tried.box, np.vstack((self.taken, self.marks))) + _beyond(tried.box, self.inner)
        nearer = (_apart(tried.box, self.centres) < _apart(tried.box, own[None]) - 0.5).any()
        others = np.vstack((self.taken, np.delete(self.marks, index, axis=0)))
        covered = _meeting_way(own, tried.way, others) if tried.gap > LEADER else 0
        crossed = _meeting(tried.box, self.drawn)
        return tried.gap + MISTAKEN * nearer + LOST * lost + COVERED * covered + CROSSED * crossed


def place(
    axes: Any,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    *,
    mark: float,
    lines: Sequence[Line],
    **style: Any,
) -> list[Any]:
    """Writes each name where it disturbs least, on axes that keep their limits and their place; gives the texts.

    Args:
        points: x and y of each, in units of the axes.
        mark: side of a point's mark, in points.
        lines: what should not be written upon, in units of the axes.
        style: of the texts.
    """
    texts = [
        axes.annotate(name, point, (0, 0), textcoords="offset points", ha="left", va="bottom", **style)
        for name, point in zip(names, points, strict=True)
    ]
    picture, scale = _picture(axes, points, mark, lines), axes.figure.dpi / 72
    near = np.abs(picture.centres[:, None] - picture.centres).max(axis=2) < CROWDED
    for index in map(int, np.argsort(-near.sum(axis=1), kind="stable")):
        extent = texts[index].get_window_extent()
        size = np.array([extent.width, extent.height]) / scale
        places = list(_places(picture.centres[index], size, mark))
        best = min(places, key=partial(picture.cost, index))
        texts[index].set_position(best.box[:2] - picture.centres[index])
        picture.taken = np.vstack((picture.taken, best.box))
        if best.gap > LEADER:
            _lead(axes, points[index], best.way)
    return texts


def _picture(axes: Any, points: Sequence[tuple[float, float]], mark: float, lines: Sequence[Line]) -> _Picture:
    scale, to_pixels = axes.figure.dpi / 72, axes.transData.transform
    centres = to_pixels(np.asarray(points, dtype=float).reshape(-1, 2)) / scale
    ends = np.asarray(lines, dtype=float).reshape(-1, 2, 2).transpose(0, 2, 1)  # (M, from and to, x and y)
    drawn = to_pixels(ends.reshape(-1, 2)).reshape(-1, 2, 2) / scale
    return _Picture(
        centres=centres,
        marks=np.hstack((centres - mark / 2, centres + mark / 2)),
        drawn=np.hstack((drawn.min(axis=1), drawn.max(axis=1))),
        inner=axes.get_window_extent().extents / scale + np.array([BORDER, BORDER, -BORDER, -BORDER]),
        taken=np.empty((0, 4)),
    )


def _places(centre: Floats, size: Floats, mark: float) -> Iterator[_Place]:
    """Those nearest first; a name has its nearest side, corner or middle on the way that leads to it."""
    for gap, direction in product(GAPS, DIRECTIONS):
        towards = np.asarray(direction, dtype=float)
        way = towards / np.hypot(*towards) * (gap + mark / 2)
        low = centre + way - size * (1 - towards) / 2
        yield _Place(box=np.hstack((low, low + size)), way=way, gap=gap)


def _meeting(box: Floats, others: Floats) -> int:
    """How many of the boxes share a point with it."""
    apart = (others[:, :2] > box[2:]) | (others[:, 2:] < box[:2])
    return int((~apart.any(axis=1)).sum())


def _apart(box: Floats, points: Floats) -> Floats:
    """How far points lie from a box, (N,)."""
    return np.hypot(*np.maximum(0, np.maximum(box[:2] - points, points - box[2:])).T)


def _meeting_way(start: Floats, way: Floats, others: Floats) -> int:
    """How many of the boxes a straight way leads through."""
    steps = start + np.linspace(0, 1, 25)[:, None] * way
    inside = (steps[:, None] >= others[:, :2]) & (steps[:, None] <= others[:, 2:])
    return int(inside.all(axis=2).any(axis=0).sum())


def _beyond(box: Floats, inner: Floats) -> int:
    return int((box[:2] < inner[:2]).any() or (box[2:] > inner[2:]).any())


def _lead(axes: Any, point: tuple[float, float], way: Floats) -> None:
    axes.annotate(
        "",
        point,
        way,
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": "#777777", "lw": 0.5},
        zorder=1,
    )


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
