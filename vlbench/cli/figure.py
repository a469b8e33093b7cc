"""`vlbench figure`: one figure of results, as a file for a paper."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def figure(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="stages, frontier, scaling, roofline, reported or a suite.")
    ],
    folders: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Folders of results; several side by side.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A .png, .svg or .pdf file.")],
) -> None:
    """Draw one figure of results, in a print style.

    \b
    stages     what share of a pass each stage takes, as in ViLT's Figure 1, and how long a pass takes
    frontier   accuracy over latency and over MACs; frontier:TASK where several tasks were evaluated
    scaling    latency over the batch, the image's pixels, the tokens, where three or more were measured
    roofline   GFLOP/s over FLOPs a byte moved, below the machine's measured peaks
    reported   what was measured against what papers report, errata numbered
    SUITE      a suite that vlbench reproduce measured, such as vilt-figure1 (vlbench list suites), or its YAML file
    """
    from vlbench.report.paper import check_file

    check_file(out)
    from vlbench.report.frames import read
    from vlbench.report.one_figure import draw, wanted_figure

    wanted = wanted_figure(name)
    for line in draw(wanted, read(*folders), out):
        print(line, file=sys.stderr)
    print(f"figure: {out}", file=sys.stderr)
