"""`vlbench bisect`. Exit codes: 0 nothing is slower, 1 a commit made something slower, 3 cannot tell, 2 bad input."""

from __future__ import annotations

from enum import StrEnum
from math import ceil, log2
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.compare import OutputOption, ThresholdOption, ThresholdsOption, check_files
from vlbench.cli.live_options import (
    BudgetOption,
    CallableOption,
    ImageOption,
    ImageSizeOption,
    ModelsOption,
    TextOption,
    clear_progress,
    live_request,
    show_progress,
)
from vlbench.cli.options import (
    BackendOption,
    BatchOption,
    DeviceOption,
    PrecisionName,
    PrecisionOption,
    ScopeName,
    ScopeOption,
    TextTokensOption,
    ThreadsOption,
)
from vlbench.cli.printing import print_as
from vlbench.runner.backends import EAGER
from vlbench.system.console import print_message

if TYPE_CHECKING:
    from vlbench.regression.live.bisect import Bisection


class BisectionFormat(StrEnum):
    table = "table"
    markdown = "markdown"
    json = "json"


def bisect(
    good: Annotated[str, typer.Option(metavar="REV", help="A git revision that was fast enough.")],
    bad: Annotated[str, typer.Option(metavar="REV", help="A later one that is slower.")] = "HEAD",
    models: ModelsOption = None,
    callables: CallableOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = PrecisionName.fp32,
    backend: BackendOption = EAGER,
    scope: ScopeOption = ScopeName.stages,
    batch: BatchOption = 1,
    image: ImageOption = None,
    text: TextOption = None,
    image_size: ImageSizeOption = None,
    text_tokens: TextTokensOption = None,
    threads: ThreadsOption = None,
    budget: BudgetOption = 120,
    threshold: ThresholdOption = None,
    thresholds: ThresholdsOption = None,
    output_format: Annotated[
        BisectionFormat, typer.Option("--format", help="Format of the output.")
    ] = BisectionFormat.table,
    output: OutputOption = None,
) -> None:
    """Find the commit since which a model or function is slower, by live comparisons with the good commit.

    Models and functions that are not slower at the bad commit are not searched further. A merge is one commit. A commit
    that cannot be measured is skipped, so that the answer may be a range. Exit code 0: nothing is slower; 1: culprit
    found; 3: cannot tell.
    """
    from vlbench.regression.live import bisect
    from vlbench.regression.live.revisions import commits_between

    request = live_request(
        models=models,
        callables=callables,
        device=device,
        precision=precision,
        backend=backend,
        scope=scope,
        batch=batch,
        image=image,
        text=text,
        image_size=image_size,
        text_tokens=text_tokens,
        threads=threads,
        budget=budget,
        threshold=threshold,
        thresholds=thresholds,
    )
    check_files(output=output, picture=None)
    start, commits = commits_between(good, bad)
    _log(
        f"good {start.short}, bad {commits[-1].short}: {len(commits)} commits, "
        f"at most {1 + ceil(log2(len(commits)))} to measure if none is skipped"
    )
    bisection = bisect.bisect(request, start, commits, _log, show_progress)
    _write(bisection, output_format, output)
    if bisection.exit_code:
        raise typer.Exit(bisection.exit_code)


def _log(line: str) -> None:
    clear_progress()
    print_message(line)


def _write(bisection: Bisection, form: BisectionFormat, output: Path | None) -> None:
    from vlbench.regression.live.bisect_tables import bisection_tables
    from vlbench.tables.writers import model_to_json

    print_as(
        form.value,
        lambda: bisection_tables(bisection),
        output,
        json=lambda: model_to_json(bisection),
    )
