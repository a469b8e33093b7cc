"""Attention maps, one small map per head: of all layers, or of one layer with its tokens named (UNITER, figure 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlbench.explain.explanation import BOTH, IMAGE, AttentionMap, Explanation
from vlbench.explain.figure_files import GREY, save_figure, set_footnote, set_heading
from vlbench.explain.patterns import Pattern

COLOUR_MAP = "cividis"  # readable to colour-blind readers
SCALE = 0.1, 30.0  # multiples of uniform attention
# From Okabe and Ito's palette; each pattern is named in words, too
COLOURS = {
    Pattern.vertical: "#E69F00",
    Pattern.diagonal: "#56B4E9",
    Pattern.vertical_and_diagonal: "#009E73",
    Pattern.block: "#0072B2",
    Pattern.reversed_block: "#D55E00",
    Pattern.heterogeneous: "#999999",
}
# Lengths on the axes are in units of a column, the width of a map and the gap next to it.
SIDE, ROW = 0.88, 1.14  # a map's side; the height of a row of small maps
SMALL, LARGE, LARGEST = 0.95, 2.4, 5.0  # inches of a column; large maps grow with the number of tokens to name
LARGE_WIDTH = 15  # inches, of all large columns together
MIN_POINTS, AIM_POINTS, MAX_POINTS = 3.9, 5.0, 7.0  # font size of token names; below the minimum none are drawn
LETTER_INCHES = 0.06  # width of a letter


def draw_attention(explanation: Explanation, folder: Path, layer: str | None = None) -> list[Path]:
    """Writes attention.png and .svg with every head, or attention-layer-N.png and .svg with the heads of one layer.

    Raises InputError where there is no such layer or the files cannot be written.
    """
    if layer is None:
        return save_figure("attention", folder, lambda plt: overview(explanation, plt))
    explanation.maps_of(layer)
    return save_figure(f"attention-layer-{layer}", folder, lambda plt: layer_figure(explanation, layer, plt))


def overview(explanation: Explanation, plt: Any) -> Any:
    """One row per attention of a layer, one column per head."""
    maps = explanation.maps
    heads = max(attention.heads for attention in maps)
    margin = 0.7 if all(attention.joint for attention in maps) else 1.1
    size = SMALL * (heads + margin) + 1.2, SMALL * (ROW * len(maps) + 0.25) + 0.5
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    tiles = _HeadMaps(axes, explanation, plt, pixels=90, font_size=5.8)
    for row, attention in enumerate(maps):
        for head, pattern in enumerate(_patterns(explanation, attention)):
            tiles.draw(attention, head, (head, ROW * row), pattern)
        axes.text(-0.1, ROW * row + SIDE / 2, _layer_label(attention, "\n"), ha="right", va="center", fontsize=7.5)
    for head in range(heads):
        axes.text(head + SIDE / 2, -0.06, f"head {head + 1}", ha="center", va="bottom", fontsize=7.5)
    axes.set(xlim=(-margin, heads), ylim=(ROW * len(maps), -0.25))
    tiles.finish(figure, "attention by head")
    return figure


def layer_figure(explanation: Explanation, layer: str, plt: Any) -> Any:
    """All heads of one layer, large enough to name the text tokens."""
    maps = explanation.maps_of(layer)
    column = _column_inches(maps, len(explanation.labels))
    columns = min(4, int(LARGE_WIDTH / column), max(attention.heads for attention in maps))
    name_width = LETTER_INCHES * max(len(_shortened(label)) for label in explanation.labels) / column
    name_height = name_width + (0.45 if len(maps) > 1 else 0.1) / column
    row = SIDE + 0.6 / column
    rows = [math.ceil(attention.heads / columns) for attention in maps]
    size = column * (columns + name_width + 0.1) + 1.2, column * (name_height * len(maps) + row * sum(rows)) + 0.5
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    tiles = _HeadMaps(axes, explanation, plt, pixels=300, font_size=8)
    top = 0.0
    for attention, count in zip(maps, rows, strict=True):
        top += name_height
        tiles.name_tokens(attention, top, column)
        if len(maps) > 1:
            title = _layer_label(attention, ", ")
            axes.text(columns / 2, top - name_height + 0.1, title, ha="center", va="top", fontsize=9)
        for head, pattern in enumerate(_patterns(explanation, attention)):
            corner = (head % columns, top + row * (head // columns))
            tiles.draw(attention, head, corner, pattern, name=f"head {head + 1}")
        top += row * count
    axes.set(xlim=(-name_width - 0.1, columns), ylim=(top, 0))
    tiles.finish(figure, f"attention of layer {layer}")
    return figure


def _column_inches(maps: Sequence[AttentionMap], text_tokens: int) -> float:
    """Wide enough to name the text tokens, within limits."""
    halves = 2 if any(BOTH in (attention.queries, attention.keys) for attention in maps) else 1
    return min(max(LARGE, AIM_POINTS * text_tokens * halves / 72 / SIDE), LARGEST)


class _HeadMaps:
    """Draws the maps of heads on one pair of axes, in units of a column.

    Args:
        pixels: of a map's side.
        font_size: of the patterns' names, in points.
    """

    def __init__(self, axes: Any, explanation: Explanation, plt: Any, *, pixels: int, font_size: float) -> None:
        from matplotlib.colors import LogNorm  # noqa: PLC0415

        self.axes = axes
        self.explanation = explanation
        self.plt = plt
        self.pixels = pixels
        self.font_size = font_size
        self.norm = LogNorm(*SCALE, clip=True)

    def draw(
        self,
        attention: AttentionMap,
        head: int,
        corner: tuple[float, float],
        pattern: Pattern | None,
        *,
        name: str = "",
    ) -> None:
        """A head's map, a line where text ends, a frame in the pattern's colour, and the pattern's name."""
        weights_QS = attention.weights[head]
        left, top = corner
        rows = self._parts(attention.queries, weights_QS.shape[0])
        columns = self._parts(attention.keys, weights_QS.shape[1])
        multiples = resampled(weights_QS, rows, columns, self.pixels) * weights_QS.shape[1]
        box = (left, left + SIDE, top + SIDE, top)
        self.axes.imshow(multiples, extent=box, cmap=COLOUR_MAP, norm=self.norm, interpolation="nearest", aspect="auto")
        line: Any = {"color": "white", "linewidth": 0.8}
        if attention.queries == BOTH:
            self.axes.plot(box[:2], (top + SIDE / 2,) * 2, **line)
        if attention.keys == BOTH:
            self.axes.plot((left + SIDE / 2,) * 2, box[2:], **line)
        frame: Any = {"edgecolor": COLOURS[pattern], "linewidth": 1.8} if pattern else {"edgecolor": GREY}
        self.axes.add_patch(self.plt.Rectangle((left, top), SIDE, SIDE, fill=False, **frame))
        label = ": ".join(filter(None, (name, pattern.value if pattern else "")))
        self.axes.text(left + SIDE / 2, top + SIDE + 0.03, label, ha="center", va="top", fontsize=self.font_size)

    def _parts(self, modality: str, tokens: int) -> list[int]:
        """The number of tokens of each modality along an axis."""
        text_tokens = len(self.explanation.labels)
        return [text_tokens, tokens - text_tokens] if modality == BOTH else [tokens]

    def name_tokens(self, attention: AttentionMap, top: float, column: float) -> None:
        """Names the text tokens to the left of and above the first map, if there is room to read them.

        Args:
            top: of the map.
            column: inches of a column.
        """
        labels = self.explanation.labels
        for modality, above in ((attention.keys, True), (attention.queries, False)):
            length = SIDE / 2 if modality == BOTH else SIDE
            font_size = min(MAX_POINTS, 72 * column * length / len(labels))
            if modality == IMAGE or font_size < MIN_POINTS:
                continue
            for index, label in enumerate(labels):
                middle = length * (index + 0.5) / len(labels)
                if above:
                    corner, align = (middle, top - 0.03), {"ha": "center", "va": "bottom", "rotation": 90}
                else:
                    corner, align = (-0.03, top + middle), {"ha": "right", "va": "center"}
                self.axes.text(*corner, _shortened(label), fontsize=font_size, parse_math=False, **align)

    def finish(self, figure: Any, title: str) -> None:
        """Adds the colour bar, the heading and the footnote."""
        self.axes.set_axis_off()
        self.axes.set_aspect("equal", anchor="NW")
        shrink = min(0.8, 4 / figure.get_figheight())
        bar = figure.colorbar(
            self.plt.cm.ScalarMappable(self.norm, COLOUR_MAP),
            ax=self.axes,
            extend="both",
            fraction=0.02,
            aspect=30,
            pad=0.01,
            shrink=shrink,
        )
        bar.set_ticks([0.1, 0.3, 1, 3, 10, 30], labels=["0.1", "0.3", "1", "3", "10", "30"])
        bar.ax.minorticks_off()
        bar.set_label("attention, multiples of uniform attention")
        bar.outline.set_visible(False)
        set_heading(figure, self.explanation, title, fontsize=9)
        set_footnote(figure, self._footnote())

    def _footnote(self) -> str:
        maps = self.explanation.maps
        parts = "Rows are queries and columns are keys. Text tokens come first"
        if any(BOTH in (attention.queries, attention.keys) for attention in maps):
            parts += "; each modality takes half of a side, whatever its number of tokens"
        missing = self.explanation.missing_for_patterns
        patterns = f"No patterns: UNITER's need {missing}" if missing else "Patterns: UNITER, section 4.4"
        return f"{parts}. {patterns}."


def resampled(
    weights_QS: NDArray[np.float32], rows: Sequence[int], columns: Sequence[int], pixels: int
) -> NDArray[np.float64]:
    """A square map, (pixels, pixels), in which all parts of an axis are equally long; each pixel is a mean.

    Args:
        rows, columns: number of tokens in each part of the axis.
    """
    return _means(rows, pixels) @ weights_QS.astype(np.float64) @ _means(columns, pixels).T


def _means(parts: Sequence[int], pixels: int) -> NDArray[np.float64]:
    """For each pixel, the share of each token in it; rows sum to 1, (pixels, tokens)."""
    ends = [round(pixels * (index + 1) / len(parts)) for index in range(len(parts))]
    overlaps = np.zeros((pixels, sum(parts)))
    first_pixel = first_token = 0
    for count, end in zip(parts, ends, strict=True):
        edges = np.linspace(0, count, end - first_pixel + 1)
        tokens = np.arange(count)
        overlap = np.minimum(edges[1:, None], tokens + 1) - np.maximum(edges[:-1, None], tokens)
        overlaps[first_pixel:end, first_token : first_token + count] = overlap.clip(min=0)
        first_pixel, first_token = end, first_token + count
    return overlaps / overlaps.sum(axis=1, keepdims=True)


def _patterns(explanation: Explanation, attention: AttentionMap) -> Sequence[Pattern | None]:
    scores = explanation.pattern_scores(attention)
    return [None] * attention.heads if scores is None else [score.pattern for score in scores]


def _layer_label(attention: AttentionMap, separator: str) -> str:
    """`layer 3`; of a model with two streams `cross-3`, and whose tokens are queries and keys."""
    if attention.joint:
        return f"layer {attention.layer}"
    return separator.join((attention.layer, f"{attention.queries} queries", f"{attention.keys} keys"))


def _shortened(label: str) -> str:
    return label if len(label) <= 14 else f"{label[:12]}..."
