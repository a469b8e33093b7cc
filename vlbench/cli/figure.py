"""`vlbench figure`: draws one figure of results into a file, in a style for papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlbench.report.figure_registry import FIGURES
from vlbench.system.console import print_message


def figure(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{', '.join(FIGURES)}, or a suite.")],
    folders: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Results folders; several are drawn side by side.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A .png, .svg or .pdf file.")],
) -> None:
    from vlbench.report.paper import check_file

    check_file(out)
    from vlbench.report.draw_figure import draw, parse_figure
    from vlbench.report.frames import read

    request = parse_figure(name)
    for line in draw(request, read(*folders), out):
        print_message(line)
    print_message(f"figure: {out}")


SUITE = "a suite that vlbench reproduce measured (see vlbench list suites), or its YAML file"
SUMMARIES = {name: kind.summary for name, kind in FIGURES.items()} | {"SUITE": SUITE}
LINES = "\n".join(f"{name:<10} {summary}" for name, summary in SUMMARIES.items())
figure.__doc__ = f"Draw one figure of results, in a print style.\n\n\b\n{LINES}\n"
