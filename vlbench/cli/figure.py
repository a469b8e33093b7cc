"""`vlbench figure`: draws one figure of results into a file, in a style for papers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def figure(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="stages, frontier, scaling, roofline, reported, or a suite.")
    ],
    folders: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Results folders; several are drawn side by side.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A .png, .svg or .pdf file.")],
) -> None:
    """Draw one figure of results, in a print style.

    \b
    stages     the latency of a forward pass and the share of each stage, as in ViLT's Figure 1
    frontier   accuracy over latency and over MACs; frontier:TASK if several tasks were evaluated
    scaling    latency over batch size, pixels and tokens, where three or more were measured
    roofline   GFLOP/s over FLOPs per byte moved, below the measured peaks of the machine
    reported   measured figures over those that papers report, with numbered errata
    SUITE      a suite that vlbench reproduce measured (see vlbench list suites), or its YAML file
    """
    from vlbench.report.paper import check_file

    check_file(out)
    from vlbench.report.frames import read
    from vlbench.report.one_figure import draw, wanted_figure

    request = wanted_figure(name)
    for line in draw(request, read(*folders), out):
        print(line, file=sys.stderr)
    print(f"figure: {out}", file=sys.stderr)
