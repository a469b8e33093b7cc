"""`vlbench export`: the generated world as files that other tools read, too."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class World(StrEnum):
    shapes = "shapes"


class SplitName(StrEnum):
    test = "test"
    val = "val"
    train = "train"


def export(
    what: Annotated[World, typer.Argument(help="The generated world.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    split: Annotated[
        list[SplitName] | None, typer.Option(help="By default all of them; repeatable.", show_default=False)
    ] = None,
    scenes: Annotated[
        int | None, typer.Option(min=2, max=10**6, help="Of each split; by default as many as the task has.")
    ] = None,
    side: Annotated[int, typer.Option(min=32, max=4096, help="Of the images, in pixels.")] = 128,
    seed: Annotated[
        int, typer.Option(help="0: the scenes of the tasks shapes, shapes-pairs and shapes-retrieval.")
    ] = 0,
) -> None:
    """Write the generated world as PNG and official JSON: questions, statements, captions and boxes.

    Questions are in VQAv2's form, statements in NLVR2's, captions in Karpathy's and boxes in COCO's; the tasks vqav2,
    nlvr2 and coco read the folder.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vlbench.tasks.shapes.export import Export
    from vlbench.tasks.shapes.export import export as write
    from vlbench.tasks.shapes.items import SCENES

    chosen = [one.value for one in split or SplitName]
    wanted = Export(scenes={name: scenes or SCENES[name] for name in sorted(set(chosen))}, seed=seed, side=side)
    columns = (TextColumn("scenes"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=sum(wanted.scenes.values()))
        written = write(wanted, out, listen=lambda count: bar.advance(task, count))
    print(f"{'written' if written else 'kept, exported alike before'}: {out}", file=sys.stderr)
