"""`vlbench report`: one self-contained page of results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vlbench.errors import InputError

SUFFIXES = (".html", ".htm")


def report(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULTS...", help="Folders that vlbench run, eval, train or reproduce wrote."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Its heading.")] = "vlbench report",
) -> None:
    """Make one HTML page of results: table, stages, frontier, scaling, roofline, measured beside reported, noise.

    It is a single file that needs no network. Several folders stand side by side, the first as the one that the others
    are compared with. A folder without results of its own stands for those below it.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"--out {out}: is no .html file; {out.name}.html works")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")
    from vlbench.report.frames import read
    from vlbench.report.page.page import write

    write(read(*results), out, title)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MB", file=sys.stderr)
