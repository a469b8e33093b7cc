"""Attention, a small map a head: of all layers, or of one with its words (UNITER, figure 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlbench.explain.drawing import GREY, heading, note, save
from vlbench.explain.explanation import BOTH, IMAGE, AttentionMap, Explanation
from vlbench.explain.patterns import Pattern

MAP = "cividis"  # made for colour-blind readers
SCALE = 0.1, 30.0  # times what each token would get if all got the same
# Of Okabe and Ito's palette; each pattern is named in words, too
COLOURS = {
    Pattern.vertical: "#E69F00",
    Pattern.diagonal: "#56B4E9",
    Pattern.vertical_and_diagonal: "#009E73",
    Pattern.block: "#0072B2",
    Pattern.reversed_block: "#D55E00",
    Pattern.heterogeneous: "#999999",
}
SIDE, ROW = 0.88, 1.14  # of a map and of a row of maps, where a column is 1
SMALL, LARGE, LARGEST = 0.95, 2.4, 5.0  # inches of a column; a long text needs more room for its tokens' names
LARGE_WIDTH = 15  # inches that large columns share
LEAST, AIM, MOST = 3.9, 5.0, 7.0  # points of tokens' names; where the least is too much there are none
LETTER = 0.06  # inches, the width of one


def draw_attention(explanation: Explanation, folder: Path, layer: str | None = None) -> list[Path]:
    """Writes attention.png and .svg of every head, or attention-layer-N.png and .svg of those of one layer.

    Raises InputError where there is no such layer or the files cannot be written.
    """
    if layer is None:
        return save("attention", folder, lambda plt: overview(explanation, plt))
    explanation.maps_of(layer)
    return save(f"attention-layer-{layer}", folder, lambda plt: _layer(explanation, layer, plt))


def overview(explanation: Explanation, plt: Any) -> Any:
    """A row a layer, or what a layer does, and a column a head."""
    maps = explanation.maps
    heads = max(one.heads for one in maps)
    margin = 0.7 if all(one.joint for one in maps) else 1.1
    size = SMALL * (heads + margin) + 1.2, SMALL * (ROW * len(maps) + 0.25) + 0.5
    picture, axes = plt.subplots(figsize=size, layout="constrained")
    tiles = _Tiles(axes, explanation, plt, pixels=90, letters=5.8)
    for row, one in enumerate(maps):
        for head, pattern in enumerate(_patterns(explanation, one)):
            tiles.draw(one, head, (head, ROW * row), pattern)
        axes.text(-0.1, ROW * row + SIDE / 2, _told(one), ha="right", va="center", fontsize=7.5)
    for head in range(heads):
        axes.text(head + SIDE / 2, -0.06, f"head {head + 1}", ha="center", va="bottom", fontsize=7.5)
    axes.set(xlim=(-margin, heads), ylim=(ROW * len(maps), -0.25))
    return tiles.finished(picture, "attention by head", size)


def _layer(explanation: Explanation, layer: str, plt: Any) -> Any:
    """All heads of a layer, large enough to name the text's tokens."""
    maps = explanation.maps_of(layer)
    column = _wide_enough(maps, len(explanation.labels))
    columns = min(4, int(LARGE_WIDTH / column), max(one.heads for one in maps))
    beside = LETTER * max(len(_short(label)) for label in explanation.labels) / column
    over = beside + (0.45 if len(maps) > 1 else 0.1) / column  # above each block of maps
    row = SIDE + 0.6 / column
    rows = [math.ceil(one.heads / columns) for one in maps]
    size = column * (columns + beside + 0.1) + 1.2, column * (over * len(maps) + row * sum(rows)) + 0.5
    picture, axes = plt.subplots(figsize=size, layout="constrained")
    tiles = _Tiles(axes, explanation, plt, pixels=300, letters=8)
    top = 0.0
    for one, count in zip(maps, rows, strict=True):
        top += over
        tiles.name_tokens(one, top, column)
        if len(maps) > 1:
            axes.text(columns / 2, top - over + 0.1, _told(one, " "), ha="center", va="top", fontsize=9)
        for head, pattern in enumerate(_patterns(explanation, one)):
            corner = (head % columns, top + row * (head // columns))
            tiles.draw(one, head, corner, pattern, named=f"head {head + 1}")
        top += row * count
    axes.set(xlim=(-beside - 0.1, columns), ylim=(top, 0))
    return tiles.finished(picture, f"attention of layer {layer}", size)


def _wide_enough(maps: Sequence[AttentionMap], tokens: int) -> float:
    """Inches of a column in which so many tokens of a text can be named, within reason."""
    half = 2 if any(BOTH in (one.asks, one.asked) for one in maps) else 1
    return min(max(LARGE, AIM * tokens * half / 72 / SIDE), LARGEST)


class _Tiles:
    """Maps of heads on one pair of axes, in units of a column.

    Args:
        pixels: of a map's side.
        letters: size of the patterns' names, in points.
    """

    def __init__(self, axes: Any, explanation: Explanation, plt: Any, *, pixels: int, letters: float) -> None:
        from matplotlib.colors import LogNorm  # noqa: PLC0415

        self.axes = axes
        self.explanation = explanation
        self.plt = plt
        self.pixels = pixels
        self.letters = letters
        self.norm = LogNorm(*SCALE, clip=True)

    def draw(
        self, one: AttentionMap, head: int, corner: tuple[float, float], pattern: Pattern | None, *, named: str = ""
    ) -> None:
        """A head's map, a line where text ends, a frame in its pattern's colour, and the pattern's name."""
        weights_QS = one.weights[head]
        left, top = corner
        raster = squeezed(weights_QS, self._parts(one.asks, 0, one), self._parts(one.asked, 1, one), self.pixels)
        box = (left, left + SIDE, top + SIDE, top)
        times = raster * weights_QS.shape[1]
        self.axes.imshow(times, extent=box, cmap=MAP, norm=self.norm, interpolation="nearest", aspect="auto")
        line: Any = {"color": "white", "linewidth": 0.8}
        if one.asks == BOTH:
            self.axes.plot(box[:2], (top + SIDE / 2,) * 2, **line)
        if one.asked == BOTH:
            self.axes.plot((left + SIDE / 2,) * 2, box[2:], **line)
        frame: Any = {"edgecolor": COLOURS[pattern], "linewidth": 1.8} if pattern else {"edgecolor": GREY}
        self.axes.add_patch(self.plt.Rectangle((left, top), SIDE, SIDE, fill=False, **frame))
        name = ": ".join(filter(None, (named, pattern.value if pattern else "")))
        self.axes.text(left + SIDE / 2, top + SIDE + 0.03, name, ha="center", va="top", fontsize=self.letters)

    def _parts(self, whose: str, axis: int, one: AttentionMap) -> list[int]:
        """How many tokens each modality has along an axis."""
        count, of_text = one.weights.shape[1 + axis], len(self.explanation.labels)
        return [of_text, count - of_text] if whose == BOTH else [count]

    def name_tokens(self, one: AttentionMap, top: float, column: float) -> None:
        """The text's tokens at the left and above a block's first map, where they can be read."""
        labels = self.explanation.labels
        for whose, above in ((one.asked, True), (one.asks, False)):
            long = SIDE / 2 if whose == BOTH else SIDE
            size = min(MOST, 72 * column * long / len(labels))
            if whose == IMAGE or size < LEAST:
                continue
            for place, label in enumerate(labels):
                at = long * (place + 0.5) / len(labels)
                spot, align = (at, top - 0.03), {"ha": "center", "va": "bottom", "rotation": 90}
                if not above:
                    spot, align = (-0.03, top + at), {"ha": "right", "va": "center"}
                self.axes.text(*spot, _short(label), fontsize=size, parse_math=False, **align)

    def finished(self, picture: Any, what: str, size: tuple[float, float]) -> Any:
        """Adds what stands around the maps of a picture of so many inches."""
        self.axes.set_axis_off()
        self.axes.set_aspect("equal", anchor="NW")
        source = self.plt.cm.ScalarMappable(self.norm, MAP)
        bar = picture.colorbar(
            source, ax=self.axes, extend="both", fraction=0.02, aspect=30, pad=0.01, shrink=min(0.8, 4 / size[1])
        )
        bar.set_ticks([0.1, 0.3, 1, 3, 10, 30], labels=["0.1", "0.3", "1", "3", "10", "30"])
        bar.ax.minorticks_off()
        bar.set_label("attention, times that of equal shares")
        bar.outline.set_visible(False)
        title = heading(self.explanation, what, size[0])
        picture.suptitle(title, x=0.01, ha="left", fontsize=9, parse_math=False)
        note(picture, self._note())
        return picture

    def _note(self) -> str:
        words = "Rows ask, columns are asked; text before image"
        if any(BOTH in (one.asks, one.asked) for one in self.explanation.maps):
            words += ", each half of a side, whatever their numbers of tokens"
        if all(one.joint for one in self.explanation.maps):
            return f"{words}. Patterns: UNITER, section 4.4."
        return f"{words}. No patterns: UNITER's want text and image in one sequence."


def squeezed(
    weights_QS: NDArray[np.float32], rows: Sequence[int], columns: Sequence[int], pixels: int
) -> NDArray[np.float64]:
    """A square picture, (pixels, pixels), in which parts of an axis get the same length; each pixel is a mean.

    Args:
        rows, columns: tokens in each part.
    """
    return _means(rows, pixels) @ weights_QS.astype(np.float64) @ _means(columns, pixels).T


def _means(parts: Sequence[int], pixels: int) -> NDArray[np.float64]:
    """For each pixel how much of each token lies in it, rows summing to 1, (pixels, tokens)."""
    ends = [round(pixels * (place + 1) / len(parts)) for place in range(len(parts))]
    found = np.zeros((pixels, sum(parts)))
    first_pixel = first_token = 0
    for count, end in zip(parts, ends, strict=True):
        edges = np.linspace(0, count, end - first_pixel + 1)
        tokens = np.arange(count)
        overlap = np.minimum(edges[1:, None], tokens + 1) - np.maximum(edges[:-1, None], tokens)
        found[first_pixel:end, first_token : first_token + count] = overlap.clip(min=0)
        first_pixel, first_token = end, first_token + count
    return found / found.sum(axis=1, keepdims=True)


def _patterns(explanation: Explanation, one: AttentionMap) -> Sequence[Pattern | None]:
    scores = explanation.scores(one)
    return [None] * one.heads if scores is None else [score.pattern for score in scores]


def _told(one: AttentionMap, between: str = "\n") -> str:
    """`layer 3` of a model with one sequence; of others `cross-3` and who asks whom."""
    if one.joint:
        return f"layer {one.layer}"
    return between.join((one.layer, f"{one.asks} asks", "itself" if one.asks == one.asked else one.asked))


def _short(label: str) -> str:
    return label if len(label) <= 14 else f"{label[:12]}..."
