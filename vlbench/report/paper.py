"""The look of figures on paper, and how they are written: the same figure gives the same bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.files.figures import NO_FORMULAS, write_figure
from vlbench.runner.records import Result

DPI = 160
TALLEST = 300  # inches; a PNG of 65,536 dots cannot be written
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "vlbench",  # the same figure gives the same file
    **NO_FORMULAS,
    "pdf.fonttype": 42,  # publishers refuse Type 3
}
UNDATED: dict[str, Any] = {
    ".png": {},
    ".svg": {"metadata": {"Date": None}},
    ".pdf": {"metadata": {"CreationDate": None}},
}
# Behind text that may overlap lines. An outline would turn the text of an SVG into paths, which cannot be searched.
PLATE: Any = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.4}
GAP = 0.06  # inches, between a legend and the foot
FOOT = {"fontsize": 6.5, "color": "#666666", "va": "top"}


@contextmanager
def drawing() -> Iterator[Any]:
    """Yields pyplot in the style of vlbench, without a display."""
    import matplotlib as mpl  # noqa: PLC0415  slow to import, and only drawing needs it
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.use("Agg")
    with plt.rc_context(STYLE):
        yield plt


def check_file(path: Path) -> None:
    """Raises InputError if no figure can be written to this path, before anything is read."""
    if path.suffix not in UNDATED:
        *others, last = UNDATED
        raise InputError(f"--out {path}: ends in neither {', '.join(others)} nor {last}")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise InputError(f"--out {path}: is a folder; name a file in it")


def write(picture: Any, path: Path) -> None:
    """Writes a figure in the format of the file's ending."""
    write_figure(picture, path, dpi=DPI, bbox_inches="tight", **UNDATED[path.suffix])


def save(picture: Any, folder: Path, name: str, plt: Any) -> list[Path]:
    """Writes a figure as NAME.png and NAME.svg, closes it, and returns the paths."""
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        write(picture, path)
    plt.close(picture)
    return paths


def settle(picture: Any, title: str) -> None:
    """Writes the title and fixes the layout, so that a legend and a foot can be placed below."""
    picture.suptitle(title, x=0.01, ha="left", fontsize=11)
    picture.draw_without_rendering()
    picture.set_layout_engine("none")


def set_foot(picture: Any, text: str, top: float = -0.01) -> None:
    """Small grey text below the figure; `top` is where it starts, as a share of the figure's height."""
    columns = int(picture.get_figwidth() * 20)
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, columns)]
    picture.text(0.01, top, "\n".join(lines), **FOOT)


def set_legend(picture: Any, rows: Sequence[tuple[str, Sequence[tuple[Any, str]]]], plt: Any, top: float = 0) -> float:
    """Writes named rows of handles and labels below the figure; returns where a foot below them may start."""
    for name, entries in rows:
        head = [(plt.Line2D([], [], linestyle=""), name)] if name else []
        handles, labels = zip(*head, *entries, strict=True)
        legend = picture.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(0, top),
            bbox_transform=picture.transFigure,  # the saved figure has another box
            ncols=len(labels),
            fontsize=7.5,
            handlelength=1.2,
            handletextpad=0.5,
            columnspacing=1.2,
            borderpad=0.2,
        )
        top = legend.get_window_extent().y0 / picture.bbox.height
    return top - GAP / picture.get_figheight()


def machines(measured: Iterable[tuple[str, Result]]) -> str:
    """The machine and the settings of the measurements, one line per machine, with its folders if these differ."""
    by_machine: dict[str, dict[str, list[Result]]] = {}
    for folder, result in measured:
        by_machine.setdefault(result.machine.in_words(), {}).setdefault(folder, []).append(result)
    lines = []
    for machine, folders in by_machine.items():
        results = list(chain.from_iterable(folders.values()))
        devices, precisions = (
            " and ".join(dict.fromkeys(getattr(result, name) for result in results)) for name in ("device", "precision")
        )
        batches = sorted({result.batch for result in results})
        batch = f"batch {batches[0]}" + (f" to {batches[-1]}" if len(batches) > 1 else "")
        lines.append((", ".join(folders), f"{devices}, {precisions}, {batch}. {machine}"))
    several = len({folders for folders, _ in lines}) > 1
    return "\n".join(f"{folders}: {line}" if several else line for folders, line in lines)


def plain_number(value: float) -> str:
    """Without an exponent for large values: `10,000`, `0.5`."""
    return f"{value:,.0f}" if value >= 1e3 else f"{value:g}"


def plain_ticks(axis: Any) -> None:
    """Plain numbers instead of powers on a logarithmic axis; if it has few powers of ten, also 2 and 5 times them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
    axis.set_minor_formatter(NullFormatter())
