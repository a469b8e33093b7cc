"""`vlbench choose RESULTS...`. Exit codes: 0 a model meets the budget, 1 none surely does, 2 bad input."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.options import MeasuredOnOption, PrecisionName, parse_share
from vlbench.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlbench.measuring.machine import Machine
    from vlbench.runner.records import Result


class ChoiceFormat(StrEnum):
    table = "table"
    json = "json"
    markdown = "markdown"


def choose(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RESULTS", help="Results folders; a folder that holds none stands for those below it."),
    ],
    latency_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="The longest time that one pass of the batch may take.")
    ] = None,
    memory_gb: Annotated[
        float | None, typer.Option(metavar="GB", help="The highest peak memory allowed, in 10^9 bytes.")
    ] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE", help="The lowest accuracy allowed, such as 80% or 0.8; needs results of vlbench eval."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="The task whose accuracy counts; by default the one that most models have."),
    ] = None,
    device: MeasuredOnOption = None,
    backend: Annotated[str | None, typer.Option(metavar="NAME", help="Only measurements through this runtime.")] = None,
    precision: Annotated[PrecisionName | None, typer.Option(help="Only measurements in this precision.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Only measurements with this batch size.")] = None,
    machine: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Only the machine whose description has these words.")
    ] = None,
    output: Annotated[ChoiceFormat, typer.Option("--format", help="Format of the output.")] = ChoiceFormat.table,
) -> None:
    """Say which models, through which runtime and in which precision, meet a budget on this machine, best first.

    One meets it where the upper end of its latency's 95% interval does. The best is the most accurate, where the
    results hold accuracies, or else the quickest. The exit code is 0 where one meets it and 1 where none surely does.
    """
    from vlbench.cli.printing import print_as
    from vlbench.report import choosing
    from vlbench.report.choice_tables import choice_json, choice_tables
    from vlbench.report.frames import read
    from vlbench.report.requirements import ModelBudget
    from vlbench.runner.backends import check_backend

    least = None if accuracy is None else parse_share("--accuracy", accuracy)
    budget = ModelBudget(latency_ms=latency_ms, memory_gb=memory_gb, accuracy=least)
    requirements = choosing.Requirements(
        device=device,
        backend=None if backend is None else check_backend(backend),
        precision=precision,
        batch=batch,
        machine=machine,
        task=task,
    )
    results = read(*folders)
    here = _this_machine([result for _, _, result in results.named])
    choice = choosing.choose(results, budget, requirements, here)
    print_as(output.value, lambda: choice_tables(choice), json=lambda: choice_json(choice))
    if choice.exit_code:
        raise typer.Exit(choice.exit_code)


def _this_machine(results: Sequence[Result]) -> Machine:
    """Asks PyTorch for the GPU, which takes seconds, only if all else matches a machine with one."""
    from vlbench.measuring.machine import describe_machine, physical_cores
    from vlbench.runner.benchmark import probe_this_machine

    here = describe_machine(threads=physical_cores(), gpu=None)
    if any(here.differing_hardware(result.machine) == ["gpu"] for result in results):
        with suppress(WorkerError):
            return probe_this_machine(here.threads)
    return here
