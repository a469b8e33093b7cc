"""What commands that measure live have in common: their options, what these ask for, and a line of progress."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.options import DeviceName, PrecisionName, parse_size
from vlbench.errors import InputError

if TYPE_CHECKING:
    from vlbench.regression.compare.effects import Effect
    from vlbench.regression.live.run import LiveRequest

ModelsOption = Annotated[str | None, typer.Option(help="As for vlbench run; each side has its own catalogue.")]
CallableOption = Annotated[
    list[str] | None,
    typer.Option("--callable", metavar="MODULE:FUNCTION", help="A function of yours instead, without arguments."),
]
BatchOption = Annotated[int, typer.Option(min=1, help="Examples in one forward pass.")]
ImageOption = Annotated[Path | None, typer.Option(help="A photograph, as for vlbench run.")]
TextOption = Annotated[str | None, typer.Option(help="A sentence about it.")]
ImageSizeOption = Annotated[str | None, typer.Option(metavar="HxW", help="As for vlbench run.")]
TextTokensOption = Annotated[int | None, typer.Option(min=2, help="As for vlbench run.")]
BudgetOption = Annotated[
    float, typer.Option(min=1, metavar="SECONDS", help="Time for each model, its confirmation included.")
]


def request_of(
    *,
    models: str | None,
    callables: list[str] | None,
    device: DeviceName,
    precision: PrecisionName,
    batch: int,
    image: Path | None,
    text: str | None,
    image_size: str | None,
    text_tokens: int | None,
    threads: int | None,
    budget: float,
    threshold: str | None,
    thresholds: Path | None,
) -> LiveRequest:
    """What the options ask for. Raises InputError where that is nothing, or a value is none."""
    from vlbench.measure.machine import physical_cores
    from vlbench.regression.compare.outcomes import thresholds_from
    from vlbench.regression.live.run import LiveRequest

    if not models and not callables:
        raise InputError("nothing to compare: name --models vilt or --callable package.module:function")
    settings: dict[str, Any] = {
        "device": device.value,
        "precision": precision.value,
        "batch": batch,
        "image_size": parse_size(image_size) if image_size else None,
        "text_tokens": text_tokens,
        "threads": threads or physical_cores(),
    }
    return LiveRequest(
        models=named(models or ""),
        callables=callables or [],
        settings={name: value for name, value in settings.items() if value is not None},
        image=str(image.absolute()) if image else None,
        text=text,
        thresholds=thresholds_from(threshold, thresholds),
        budget_seconds=budget,
    )


def named(models: str) -> list[str]:
    """Each model once, globs by this installation's catalogue; what a name means, each side's own says."""
    found: list[str] = []
    for word in filter(None, (word.strip() for word in models.split(","))):
        if any(sign in word for sign in "*?["):
            from vlbench.specs.catalog import resolve

            found += [spec.name for spec in resolve(word)]
        else:
            found.append(word)
    return list(dict.fromkeys(found))


def report(name: str, count: int, effect: Effect | None) -> None:
    """A line on standard error that is drawn anew before each replicate, where somebody sees it."""
    if sys.stderr.isatty():
        from vlbench.regression.compare.verdicts import change

        so_far = f", {change(effect.ratio)} so far" if effect else ""
        print(f"\r\x1b[K{name}: replicate {count + 1}{so_far} ", end="", file=sys.stderr, flush=True)


def clear() -> None:
    """Takes the line of `report` away."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
