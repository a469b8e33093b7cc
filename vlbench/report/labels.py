"""Names of measurements (the model, and the settings by which it differs from its other measurements), and where a
figure writes them next to its points."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlbench.runner.records import Result
from vlbench.tables.numbers import counted

Line = tuple[tuple[float, float], tuple[float, float]]  # both ends' x, both ends' y; horizontal or vertical
Floats = NDArray[np.float64]  # boxes are (N, 4): left, bottom, right, top
GAPS = (3, 6, 10, 16, 24, 34, 46, 60, 76, 94, 114)  # points from a point's mark to its name
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
LEADER = 8  # points; a name that is farther from its point is joined to it by a line, its leader
# Costs in points of distance: a name on a line; a name nearer to another point; a leader across a name or a mark; a
# name on a name or a mark.
CROSSED, MISTAKEN, COVERED, LOST = 25, 20, 60, 10_000
CROWDED = 60  # points; the point with most neighbours within this distance is named first
BORDER = 3  # points that stay free within the axes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position:
    box: Floats  # (4,), of the name
    offset: Floats  # (2,), from the point to the name
    gap: float


@dataclass(slots=True, kw_only=True)
class _Picture:
    """All in points, from the figure's lower left corner; `taken` holds the names written so far."""

    centres: Floats  # (N, 2)
    marks: Floats  # (N, 4)
    drawn: Floats  # (M, 4)
    inner: Floats  # (4,)
    taken: Floats  # (K, 4)

    def cost(self, index: int, position: _Position) -> float:
        """The cost of a position of a point's name."""
        box, centre = position.box, self.centres[index]
        lost = _overlaps(box, np.vstack((self.taken, self.marks))) + _beyond(box, self.inner)
        nearer = (_distances(box, self.centres) < _distances(box, centre[None]) - 0.5).any()
        others = np.vstack((self.taken, np.delete(self.marks, index, axis=0)))
        covered = _overlaps_of_leader(centre, position.offset, others) if position.gap > LEADER else 0
        crossed = _overlaps(box, self.drawn)
        return position.gap + MISTAKEN * nearer + LOST * lost + COVERED * covered + CROSSED * crossed


def place_labels(
    axes: Any,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    *,
    mark: float,
    lines: Sequence[Line],
    **style: Any,
) -> list[Any]:
    """Writes each name at its position of least cost, on axes that do not change any more, and returns the texts.

    Args:
        points: x and y of each point, in units of the axes.
        mark: side of a point's mark, in points.
        lines: lines that names should not cross, in units of the axes.
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
        best = min(_positions(picture.centres[index], size, mark), key=partial(picture.cost, index))
        texts[index].set_position(best.box[:2] - picture.centres[index])
        picture.taken = np.vstack((picture.taken, best.box))
        if best.gap > LEADER:
            _draw_leader(axes, points[index], best.offset)
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


def _positions(centre: Floats, size: Floats, mark: float) -> Iterator[_Position]:
    """The nearest first. The offset leads to the corner, or the middle of the side, that faces the point."""
    for gap, direction in product(GAPS, DIRECTIONS):
        towards = np.asarray(direction, dtype=float)
        offset = towards / np.hypot(*towards) * (gap + mark / 2)
        low = centre + offset - size * (1 - towards) / 2
        yield _Position(box=np.hstack((low, low + size)), offset=offset, gap=gap)


def _overlaps(box: Floats, others: Floats) -> int:
    """How many of the other boxes overlap or touch this one."""
    apart = (others[:, :2] > box[2:]) | (others[:, 2:] < box[:2])
    return int((~apart.any(axis=1)).sum())


def _distances(box: Floats, points: Floats) -> Floats:
    """Distances of points from a box, (N,)."""
    return np.hypot(*np.maximum(0, np.maximum(box[:2] - points, points - box[2:])).T)


def _overlaps_of_leader(start: Floats, offset: Floats, others: Floats) -> int:
    """How many of the boxes a leader crosses."""
    steps = start + np.linspace(0, 1, 25)[:, None] * offset
    inside = (steps[:, None] >= others[:, :2]) & (steps[:, None] <= others[:, 2:])
    return int(inside.all(axis=2).any(axis=0).sum())


def _beyond(box: Floats, inner: Floats) -> int:
    return int((box[:2] < inner[:2]).any() or (box[2:] > inner[2:]).any())


def _draw_leader(axes: Any, point: tuple[float, float], offset: Floats) -> None:
    axes.annotate(
        "",
        point,
        offset,
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": "#777777", "lw": 0.5},
        zorder=1,
    )


def image_words(result: Result) -> str | None:
    """Height and width in pixels: `384x640`; None for a model that reads no image."""
    return "x".join(map(str, result.image_size)) if any(result.image_size) else None


def token_words(result: Result) -> str | None:
    """Text and image tokens: `40+1,344`; None for a model that reads no text and whose tokens are unknown."""
    if not result.text_tokens and result.image_tokens is None:
        return None
    return f"{result.text_tokens:,}+{'?' if result.image_tokens is None else f'{result.image_tokens:,}'}"


SETTINGS: dict[str, Callable[[Result], str]] = {
    "image": lambda result: image_words(result) or "no image",
    "tokens": lambda result: f"{token_words(result)} tokens",
    "batch": lambda result: f"batch {result.batch}",
    "device": lambda result: result.device,
    "backend": lambda result: result.backend,
    "precision": lambda result: result.precision,
    "scope": lambda result: f"scope {result.scope or 'stages'}",
    "l2": lambda result: f"L2 {result.l2 or 'unknown'}",
    "threads": lambda result: counted(result.machine.threads, "thread"),
    "weights": lambda result: result.weights,
    "machine": lambda result: result.machine.in_few_words(),
    "torch": lambda result: f"torch {result.machine.torch}",
    "vlbench": lambda result: f"vlbench {result.vlbench_version}",
    "spec": lambda result: result.spec_hash[:6],
}


def differs(results: Sequence[Result], setting: str) -> bool:
    """Whether results differ in a setting, of SETTINGS."""
    return len({SETTINGS[setting](result) for result in results}) > 1


def cell_names(results: Sequence[Result]) -> list[str]:
    """A unique name of each: `vilt-b32`; `vilt-b32, batch 8` if that model was also measured at other batches."""
    return tell_apart(results, [result.model for result in results])


def tell_apart(results: Sequence[Result], names: Sequence[str], without: Collection[str] = ()) -> list[str]:
    """Unique names: where several results share a name, the settings by which they differ are appended.

    Args:
        without: names of SETTINGS that are not used.
    """
    settings = [setting for name, setting in SETTINGS.items() if name not in without]
    labels = list(names)
    by_name: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        by_name.setdefault(name, []).append(index)
    for indices in by_name.values():
        for setting in settings:
            if len({labels[index] for index in indices}) == len(indices):
                break
            values = {index: setting(results[index]) for index in indices}
            if _separates(labels, values):
                for index, value in values.items():
                    labels[index] += f", {value}"
    return _numbered(labels)


def _separates(names: Sequence[str], values: dict[int, str]) -> bool:
    """Whether a setting differs between results that have the same name so far."""
    return len({(names[index], value) for index, value in values.items()}) > len({names[index] for index in values})


def _numbered(names: Sequence[str]) -> list[str]:
    """Repeated names get a number from the second on, which gives no name that is taken."""
    taken, unique = set(names), []
    seen: set[str] = set()
    for name in names:
        label = name
        if name in seen:
            label = next(numbered for number in count(2) if (numbered := f"{name} ({number})") not in taken)
        seen.add(name)
        taken.add(label)
        unique.append(label)
    return unique
