"""`vlbench count`. Exit codes: 0 all counted, 1 some models could not be, 2 bad input."""

from __future__ import annotations

from typing import Annotated

import typer

from vlbench.cli.options import (
    BatchOption,
    Format,
    FormatOption,
    ImageSizeOption,
    InputOption,
    StagesOption,
    TextTokensOption,
    parse_overrides,
)
from vlbench.cli.printing import print_as
from vlbench.errors import InputError
from vlbench.system.console import print_error


def count(
    models: Annotated[
        str,
        typer.Argument(
            metavar="MODELS",
            help="Whatever vlbench run --models takes: names, YAML files, timm:NAME, a folder of weights and so on.",
        ),
    ],
    counter: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Of vlbench, fvcore and torch, separated by commas; a column each."),
    ] = "vlbench",
    depth: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Show modules this many levels deep, 0: totals alone. Default: by stage."
        ),
    ] = None,
    image_size: ImageSizeOption = None,
    text_tokens: TextTokensOption = None,
    inputs: InputOption = None,
    stages: StagesOption = None,
    batch: BatchOption = 1,
    output: FormatOption = Format.table,
) -> None:
    """Count parameters, MACs and bytes moved by stage or by module, without measuring anything.

    Several counters show where they differ, and what each skipped. --format json has every module.
    """
    from vlbench.measuring.machine import physical_cores
    from vlbench.measuring.module_counts import check_counters
    from vlbench.report.count_tables import CountedModel, count_tables, counts_csv, counts_json
    from vlbench.runner.benchmark import BenchmarkSession
    from vlbench.runner.scheduler import CountRequest
    from vlbench.runner.sources import find_models

    counters = check_counters([name.strip() for name in counter.split(",")], "--counter")
    overrides = parse_overrides(inputs, stages, image_size, text_tokens)
    named, refusals = find_models(models, overrides, physical_cores())
    for refusal in refusals:
        print_error(str(refusal))
    specs = []
    for spec in named:
        try:
            specs.append(spec.with_input(image_size=overrides.image_size, text_tokens=text_tokens))
        except ValueError as error:
            raise InputError(f"{spec.name}: {error}") from error
    with BenchmarkSession(physical_cores(), "cpu") as session:
        counts = session.count_modules([CountRequest(spec, batch, "fp32") for spec in specs], counters)
    counted = [
        CountedModel(
            model=spec.name,
            batch=batch,
            image_size=spec.input.image_size,
            text_tokens=spec.input.text_tokens if spec.text else 0,
            counts=result,
        )
        for spec, result in zip(specs, counts, strict=True)
    ]
    print_as(
        output.value,
        lambda: count_tables(counted, depth),
        json=lambda: counts_json(counted),
        csv=lambda: counts_csv(counted, depth),
    )
    if refusals:
        raise typer.Exit(2)
    if any(isinstance(result, str) for result in counts):
        raise typer.Exit(1)
