"""The style, heading and small print that all figures of an explanation share, and how they are written."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.explain.explanation import Explanation
from vlbench.report import paper

STYLE: Any = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "image.composite_image": False,
    "svg.hashsalt": "vlbench",  # the same figure gives the same file
}
GREY = "#555555"


def save_figure(name: str, folder: Path, draw: Callable[[Any], Any]) -> list[Path]:
    """Writes NAME.png and NAME.svg of the figure that `draw` makes with pyplot.

    Raises InputError where they cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415  slow to import, and only drawing needs it
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.use("Agg")
    with plt.rc_context(STYLE):
        figure = draw(plt)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return paper.save(figure, folder, name, plt)
        except OSError as error:
            raise InputError(f"--out {folder}: {name} cannot be written: {error.strerror}") from error


def set_heading(figure: Any, explanation: Explanation, what: str, **font: Any) -> None:
    """The text in quotes, and below it the model and what is drawn, wrapped to the figure's width."""
    columns = max(30, int(figure.get_figwidth() * 13))
    weights = "random weights: no meaning" if explanation.weights == "random" else Path(explanation.weights).name
    lines = f"\u201c{explanation.text}\u201d", f"{explanation.model} ({weights}): {what}"
    title = "\n".join(part for line in lines for part in textwrap.wrap(line, columns))
    figure.suptitle(title, x=0.01, ha="left", parse_math=False, **font)


def set_footnote(figure: Any, text: str) -> None:
    """Small print below everything, wrapped to the figure's width. Must come last: it fixes the layout."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    paper.set_foot(figure, text)
