"""What all pictures of an explanation have in common."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.explain.explanation import Explanation

STYLE: Any = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "image.composite_image": False,
    "svg.hashsalt": "vlbench",  # the same figure gives the same file
}
GREY = "#555555"
DPI = 160
Draw = Callable[[Any], Any]  # of pyplot, to a figure


def save(name: str, folder: Path, draw: Draw) -> list[Path]:
    """Writes NAME.png and NAME.svg of the figure that `draw` makes. Raises InputError where it cannot."""
    import matplotlib as mpl  # noqa: PLC0415  slow to import, and only drawing needs it
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.use("Agg")
    written = []
    with plt.rc_context(STYLE):
        picture = draw(plt)
        for kind in ("png", "svg"):
            path = folder / f"{name}.{kind}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                picture.savefig(path, dpi=DPI, bbox_inches="tight", metadata={"Date": None} if kind == "svg" else None)
            except OSError as error:
                raise InputError(f"--out {path}: cannot be written: {error.strerror}") from error
            written.append(path)
        plt.close(picture)
    return written


def heading(explanation: Explanation, what: str, width: float) -> str:
    """The text in quotes, and below it the model and what is drawn, in lines that a figure of so many inches holds."""
    letters = max(30, int(width * 13))
    weights = "random weights: no meaning" if explanation.weights == "random" else Path(explanation.weights).name
    below = f"{explanation.model} ({weights}): {what}"
    return "\n".join([*textwrap.wrap(f"\u201c{explanation.text}\u201d", letters), *textwrap.wrap(below, letters)])


def note(picture: Any, text: str) -> None:
    """A line of small print below everything; the last thing to be put there, as it fixes the layout."""
    picture.draw_without_rendering()
    picture.set_layout_engine("none")
    picture.text(0.01, -0.01, text, fontsize=6.5, color=GREY, va="top")
