"""`vlbench report`: one self-contained HTML page of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlbench.errors import InputError
from vlbench.system.console import print_message

SUFFIXES = (".html", ".htm")


def report(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULTS...", help="Folders written by vlbench run, eval, train or reproduce."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The file to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="The heading of the page.")] = "vlbench report",
) -> None:
    """Make one HTML page of results: table, stages, frontier, scaling, roofline, measured and reported figures, noise.

    The page is a single file that needs no network. Several folders are shown side by side and compared with the first.
    A folder without results stands for the results folders inside it.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"--out {out}: not an .html file; {out.name}.html works")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: no folder {out.parent}; make it first")
    from vlbench.report.frames import read
    from vlbench.report.page.page import write

    write(read(*results), out, title)
    print_message(f"{out}: {out.stat().st_size / 2**20:.1f} MB")
