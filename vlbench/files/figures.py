"""Text in figures: names are no formulas, and hold no character that an SVG may not have."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from vlbench.files.writing import replacing
from vlbench.tables.markup import visible

NO_FORMULAS: Any = {"text.parse_math": False}  # settings of matplotlib


def write_figure(picture: Any, path: Path, **options: Any) -> None:
    """Writes a figure in the format of the file's ending, with every invisible character as an escape."""
    from matplotlib.text import Text  # noqa: PLC0415  slow to import, and only drawing needs it

    for axes in picture.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if (shown := list(map(_visible_lines, labels))) != labels:
                axis.set_ticks(axis.get_ticklocs(), shown)
    for text in picture.findobj(Text):
        text.set_text(_visible_lines(text.get_text()))
    content = BytesIO()  # matplotlib's PDF writer fails without a reason on a full disk
    picture.savefig(content, format=path.suffix[1:].lower(), **options)
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.getvalue())


def _visible_lines(text: str) -> str:
    return "\n".join(map(visible, text.split("\n")))
