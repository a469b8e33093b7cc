"""The transport plan: one panel per word, with the word's mass laid over the photo (ViLT, figure 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlbench.explain.explanation import Alignment, Explanation, ImageLayout
from vlbench.explain.figure_files import GREY, save_figure, set_footnote, set_heading

COLOUR_MAP = "magma_r"  # its lightness is even, so that it is readable in grey and to colour-blind readers
PANEL_INCHES = 2.5  # of the photo's longer side
COLUMNS = (5, 4, 3)  # of panels; the number that leaves the fewest empty is taken
PHOTO_PIXELS = 600  # of the longer side; more would only make the files larger
FADING = 0.65  # how far the photo is faded towards white, so that the colours over it are readable


def draw_plan(explanation: Explanation, words: Sequence[int], folder: Path) -> list[Path]:
    """Writes plan.png and plan.svg. The explanation must have an alignment.

    Raises InputError where the files cannot be written.

    Args:
        words: indices of the words to draw.
    """
    return save_figure("plan", folder, lambda plt: plan_figure(explanation, words, plt))


def plan_figure(explanation: Explanation, words: Sequence[int], plt: Any) -> Any:
    """The photo, then one panel per word; all panels share one colour scale."""
    alignment = explanation.alignment
    assert alignment is not None
    photo = explanation.photo.copy()
    photo.thumbnail((PHOTO_PIXELS, PHOTO_PIXELS))
    wide, high = (PANEL_INCHES * side / max(photo.size) for side in photo.size)
    count = 1 + len(words)
    columns = count if count <= max(COLUMNS) else min(COLUMNS, key=lambda columns: -count % columns)
    rows = math.ceil(count / columns)
    size = max(wide * columns + 0.9, 4.0), (high + 0.25) * rows + 0.6
    figure, panels = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    colours, norm = _colour_scale(plt, float(alignment.shares[list(words)].max()))
    faded = _faded(photo)
    for axes, word in zip(panels.ravel(), [None, *words], strict=False):
        axes.imshow(photo if word is None else faded, extent=(0, 1, 1, 0), aspect=photo.height / photo.width)
        if word is None:
            _set_title(axes, "photo", weight="normal", colour=GREY)
        else:
            _draw_shares(axes, explanation.layout, alignment.shares[word], colours, norm, plt)
            _set_title(axes, explanation.words[word].text, weight="bold", colour="black")
        axes.set(xlim=(0, 1), ylim=(1, 0), xticks=(), yticks=())
    for axes in panels.ravel()[count:]:
        axes.set_visible(False)
    _draw_colour_bar(figure, panels, explanation.layout, colours, norm, plt)
    set_heading(figure, explanation, "where each word is carried")
    set_footnote(figure, _method(alignment))
    return figure


def _method(alignment: Alignment) -> str:
    return (
        f"IPOT, beta {alignment.beta:g}, {alignment.iterations:,} iterations, after the last layer, without special "
        "tokens"
    )


def _set_title(axes: Any, text: str, *, weight: str, colour: str) -> None:
    axes.set_title(text if len(text) <= 24 else f"{text[:22]}...", weight=weight, color=colour, parse_math=False)


def _colour_scale(plt: Any, greatest_share: float) -> tuple[Any, Any]:
    """A colour map that grows opaque with the share, and its norm from 0 to the greatest share drawn."""
    from matplotlib.colors import ListedColormap, Normalize  # noqa: PLC0415

    shades = plt.get_cmap(COLOUR_MAP)(np.linspace(0.1, 0.75, 256))
    shades[:, 3] = np.linspace(0, 0.65, 256)
    return ListedColormap(shades), Normalize(0, greatest_share)


def _faded(photo: Image.Image) -> NDArray[np.uint8]:
    grey = np.asarray(photo.convert("L"), np.float32)
    return np.repeat((grey + (255 - grey) * FADING).astype(np.uint8)[..., None], 3, axis=2)


def _draw_shares(
    axes: Any, layout: ImageLayout, shares_R: NDArray[np.float32], colours: Any, norm: Any, plt: Any
) -> None:
    """The cells of a grid as one image; boxes as rectangles, the greatest share on top."""
    if layout.grid is not None:
        rows, columns = layout.grid
        cell_wide, cell_high = layout.boxes[0, 2:]
        axes.imshow(
            shares_R.reshape(rows, columns),
            extent=(0, cell_wide * columns, cell_high * rows, 0),
            cmap=colours,
            norm=norm,
            interpolation="nearest",
            aspect=axes.get_aspect(),
        )
        return
    for index in shares_R.argsort():
        left, top, right, bottom = layout.boxes[index]
        red, green, blue, opacity = colours(norm(shares_R[index]))
        axes.add_patch(
            plt.Rectangle(
                (left, top),
                right - left,
                bottom - top,
                facecolor=(red, green, blue, 0.7 * opacity),
                edgecolor=(red, green, blue, min(1, 1.5 * opacity)),
                linewidth=1.5,
            )
        )


def _draw_colour_bar(figure: Any, panels: Any, layout: ImageLayout, colours: Any, norm: Any, plt: Any) -> None:
    bar = figure.colorbar(plt.cm.ScalarMappable(norm, colours), ax=panels, shrink=0.7, aspect=40, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    bar.set_label(f"share of the word's mass in a {'patch or cell' if layout.grid else 'box'}")
    bar.outline.set_visible(False)
