"""The transport plan over the photo, a panel a word (ViLT, figure 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlbench.explain.drawing import GREY, heading, note, save
from vlbench.explain.explanation import Alignment, Explanation, Places

MAP = "magma_r"  # even in lightness, so that colour-blind readers and grey prints show it, too
PANEL = 2.5  # inches, of the longer side
COLUMNS = (5, 4, 3)  # of panels, whichever leaves the fewest empty
PIXELS = 600  # of a photo's longer side; more would only make the files large
FAINT = 0.65  # how far the photo goes towards white, so that colours on it can be told


def draw_plan(explanation: Explanation, words: Sequence[int], folder: Path) -> list[Path]:
    """Writes plan.png and plan.svg; there must be an alignment. Raises InputError where they cannot be written.

    Args:
        words: places of those to draw.
    """
    return save("plan", folder, lambda plt: plan_figure(explanation, words, plt))


def plan_figure(explanation: Explanation, words: Sequence[int], plt: Any) -> Any:
    """The photo, then a panel a word, all on one scale of colours."""
    found = explanation.alignment
    assert found is not None
    photo = explanation.photo.copy()
    photo.thumbnail((PIXELS, PIXELS))
    wide, high = (PANEL * side / max(photo.size) for side in photo.size)
    count = 1 + len(words)
    columns = count if count <= max(COLUMNS) else min(COLUMNS, key=lambda columns: -count % columns)
    rows = math.ceil(count / columns)
    width = max(wide * columns + 0.9, 4.0)
    picture, panels = plt.subplots(
        rows, columns, figsize=(width, (high + 0.25) * rows + 0.6), squeeze=False, layout="constrained"
    )
    colours, norm = _colours(plt, float(found.shares[list(words)].max()))
    pale = _pale(photo)
    for axes, word in zip(panels.ravel(), [None, *words], strict=False):
        if word is None:
            axes.imshow(photo, extent=(0, 1, 1, 0), aspect=photo.height / photo.width)
            _title(axes, "photo", weight="normal", colour=GREY)
        else:
            axes.imshow(pale, extent=(0, 1, 1, 0), aspect=photo.height / photo.width)
            _cover(axes, explanation.places, found.shares[word], colours, norm, plt)
            _title(axes, explanation.words[word].text, weight="bold", colour="black")
        axes.set(xlim=(0, 1), ylim=(1, 0), xticks=(), yticks=())
    for axes in panels.ravel()[count:]:
        axes.set_visible(False)
    _bar(picture, panels, found, explanation.places, colours, norm, plt)
    picture.suptitle(heading(explanation, "where each word is carried", width), x=0.01, ha="left", parse_math=False)
    note(
        picture,
        f"IPOT, beta {found.beta:g}, {found.iterations:,} iterations, after the last layer, without special tokens",
    )
    return picture


def _title(axes: Any, text: str, *, weight: str, colour: str) -> None:
    axes.set_title(text if len(text) <= 24 else f"{text[:22]}...", weight=weight, color=colour, parse_math=False)


def _colours(plt: Any, most: float) -> tuple[Any, Any]:
    """A map that grows opaque with the share, up to the greatest that is drawn."""
    from matplotlib.colors import ListedColormap, Normalize  # noqa: PLC0415

    shades = plt.get_cmap(MAP)(np.linspace(0.1, 0.75, 256))
    shades[:, 3] = np.linspace(0, 0.65, 256)
    return ListedColormap(shades), Normalize(0, most)


def _pale(photo: Image.Image) -> NDArray[np.uint8]:
    grey = np.asarray(photo.convert("L"), np.float32)
    return np.repeat((grey + (255 - grey) * FAINT).astype(np.uint8)[..., None], 3, axis=2)


def _cover(axes: Any, places: Places, shares_R: NDArray[np.float32], colours: Any, norm: Any, plt: Any) -> None:
    """Cells as one image; boxes from the least share to the greatest, edged as strongly as they are filled."""
    if places.grid is not None:
        rows, columns = places.grid
        cell_wide, cell_high = places.boxes[0, 2:]
        axes.imshow(
            shares_R.reshape(rows, columns),
            extent=(0, cell_wide * columns, cell_high * rows, 0),
            cmap=colours,
            norm=norm,
            interpolation="nearest",
            aspect=axes.get_aspect(),
        )
        return
    for place in shares_R.argsort():
        left, top, right, bottom = places.boxes[place]
        red, green, blue, opacity = colours(norm(shares_R[place]))
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


def _bar(picture: Any, panels: Any, found: Alignment, places: Places, colours: Any, norm: Any, plt: Any) -> None:
    bar = picture.colorbar(plt.cm.ScalarMappable(norm, colours), ax=panels, shrink=0.7, aspect=40, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    of = "patch or cell" if places.grid else "box"
    bar.set_label(f"share of the word's mass in a {of}")
    bar.outline.set_visible(False)
