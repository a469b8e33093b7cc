"""How figures look on paper, and how they become files: the same bytes for the same picture."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
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
    "text.parse_math": False,  # a name is no formula
    "pdf.fonttype": 42,  # publishers refuse Type 3
}
UNDATED: dict[str, Any] = {
    ".png": {},
    ".svg": {"metadata": {"Date": None}},
    ".pdf": {"metadata": {"CreationDate": None}},
}
# Behind words that may lie on something drawn. An outline around them would cost an SVG their names.
PLATE: Any = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.4}
GAP = 0.06  # inches, between a legend and the foot
FOOT = {"fontsize": 6.5, "color": "#666666", "va": "top"}


@contextmanager
def drawing() -> Iterator[Any]:
    """Gives pyplot, in the style of vlbench, for figures that no screen shows."""
    import matplotlib as mpl  # noqa: PLC0415  slow to import, and only drawing needs it
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.use("Agg")
    with plt.rc_context(STYLE):
        yield plt


def check_file(path: Path) -> None:
    """Raises InputError where no picture can be written, before anything is read."""
    if path.suffix not in UNDATED:
        *others, last = UNDATED
        raise InputError(f"--out {path}: ends in neither {', '.join(others)} nor {last}")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise InputError(f"--out {path}: is a folder; name a file in it")


def write(picture: Any, path: Path) -> None:
    """Writes a picture as the kind that its file's name says."""
    picture.savefig(path, dpi=DPI, bbox_inches="tight", **UNDATED[path.suffix])


def save(picture: Any, folder: Path, name: str, plt: Any) -> list[Path]:
    """Writes a picture as NAME.png and NAME.svg, and closes it."""
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        write(picture, path)
    plt.close(picture)
    return paths


def settle(picture: Any, title: str) -> None:
    """Gives it its title and lays all out, so that what comes now can stand below."""
    picture.suptitle(title, x=0.01, ha="left", fontsize=11)
    picture.draw_without_rendering()
    picture.set_layout_engine("none")


def set_foot(picture: Any, text: str, top: float = -0.01) -> None:
    """Small and grey below the picture, from `top` on, in shares of its height."""
    columns = int(picture.get_figwidth() * 20)
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, columns)]
    picture.text(0.01, top, "\n".join(lines), **FOOT)


def set_legend(picture: Any, rows: Sequence[tuple[str, Sequence[tuple[Any, str]]]], plt: Any, top: float = 0) -> float:
    """Below the picture, a line of handles and labels each under its name; gives where it ends."""
    for name, entries in rows:
        head = [(plt.Line2D([], [], linestyle=""), name)] if name else []
        handles, said = zip(*head, *entries, strict=True)
        legend = picture.legend(
            handles,
            said,
            loc="upper left",
            bbox_to_anchor=(0, top),
            bbox_transform=picture.transFigure,  # the saved figure's own box is another
            ncols=len(said),
            fontsize=7.5,
            handlelength=1.2,
            handletextpad=0.5,
            columnspacing=1.2,
            borderpad=0.2,
        )
        top = legend.get_window_extent().y0 / picture.bbox.height
    return top - GAP / picture.get_figheight()


def machines(measured: Iterable[tuple[str, Result]]) -> str:
    """What each folder's cells were measured on and how, a line a machine."""
    by_machine: dict[str, dict[str, list[Result]]] = {}
    for folder, one in measured:
        by_machine.setdefault(one.machine.in_words(), {}).setdefault(folder, []).append(one)
    lines = []
    for machine, folders in by_machine.items():
        own = [one for results in folders.values() for one in results]
        said = [" and ".join(dict.fromkeys(getattr(one, name) for one in own)) for name in ("device", "precision")]
        batches = sorted({one.batch for one in own})
        said.append(f"batch {batches[0]}" + (f" to {batches[-1]}" if len(batches) > 1 else ""))
        lines.append((", ".join(folders), f"{', '.join(said)}. {machine}"))
    several = len({folders for folders, _ in lines}) > 1
    return "\n".join(f"{folders}: {line}" if several else line for folders, line in lines)


def plain_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1e3 else f"{value:g}"


def plain_ticks(axis: Any) -> None:
    """Numbers rather than powers on a logarithmic axis; 2 and 5 between the tens where there are few of these."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
    axis.set_minor_formatter(NullFormatter())
