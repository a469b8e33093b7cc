"""What `vlbench ab` and `vlbench bisect` share: options, the request that they make, and a line of progress."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.options import L2Name, PrecisionName, ScopeName, parse_size
from vlbench.errors import InputError
from vlbench.runner.backends import EAGER, check_backend
from vlbench.runner.devices import check_device
from vlbench.runner.limits import MOST_BUDGET_SECONDS
from vlbench.system.console import print_message
from vlbench.tables.markup import escape_terminal

if TYPE_CHECKING:
    from vlbench.regression.live.progress import LiveProgress
    from vlbench.regression.live.run import LiveRequest

ModelsOption = Annotated[str | None, typer.Option(help="As in vlbench run; each side has its own catalogue.")]
CallableOption = Annotated[
    list[str] | None,
    typer.Option("--callable", metavar="MODULE:FUNCTION", help="A function without arguments; repeatable."),
]
ImageOption = Annotated[Path | None, typer.Option(help="A photograph, as in vlbench run.")]
TextOption = Annotated[str | None, typer.Option(help="A sentence about it.")]
ImageSizeOption = Annotated[str | None, typer.Option(metavar="HxW", help="As in vlbench run.")]
BudgetOption = Annotated[
    float,
    typer.Option(
        min=1,
        max=MOST_BUDGET_SECONDS,
        metavar="SECONDS",
        help="Time for each model or function, its confirmation included; a week at most.",
    ),
]


def live_request(
    *,
    models: str | None,
    callables: list[str] | None,
    device: str,
    precision: PrecisionName,
    backend: str = EAGER,
    scope: ScopeName = ScopeName.stages,
    batch: int,
    l2: L2Name = L2Name.warm,
    image: Path | None,
    text: str | None,
    image_size: str | None,
    text_tokens: int | None,
    threads: int | None,
    budget: float,
    threshold: str | None,
    thresholds: Path | None,
) -> LiveRequest:
    """The request that the options make. Raises InputError if nothing is named, or a value is invalid."""
    from vlbench.measuring.machine import physical_cores
    from vlbench.regression.compare.outcomes import thresholds_from
    from vlbench.regression.live.run import LiveRequest

    if not models and not callables:
        raise InputError("nothing to compare: name --models vilt or --callable package.module:function")
    settings: dict[str, Any] = {
        "device": check_device(device),
        "precision": precision.value,
        "backend": check_backend(backend),
        "scope": scope.value,
        "batch": batch,
        "l2": l2.value,
        "image_size": parse_size(image_size) if image_size is not None else None,
        "text_tokens": text_tokens,
        "threads": threads or physical_cores(),
    }
    return LiveRequest(
        models=model_names(models or ""),
        callables=callables or [],
        settings={name: value for name, value in settings.items() if value is not None},
        image=str(image.absolute()) if image else None,
        text=text,
        thresholds=thresholds_from(threshold, thresholds),
        budget_seconds=budget,
    )


def model_names(models: str) -> list[str]:
    """Each name once. Globs are expanded by this installation's catalogue; names are left for each side to look up."""
    names: list[str] = []
    if not any(sign in models for sign in "*?["):
        return list(dict.fromkeys(filter(None, (word.strip() for word in models.split(",")))))
    from vlbench.specs.catalog import is_source, resolve, split_words

    for word in split_words(models):
        if any(sign in word for sign in "*?[") and not is_source(word):
            names += [spec.name for spec in resolve(word)]
        else:
            names.append(word)
    return list(dict.fromkeys(names))


def show_progress(progress: LiveProgress) -> None:
    """Says after the first replicate how long a verdict will take. Redraws a line on standard error before each
    replicate, if that is a terminal."""
    name = escape_terminal(progress.name)
    if progress.replicates == 1 and progress.seconds is not None:
        clear_progress()
        print_message(f"{name}: {_time_needed(progress.seconds, progress.least)}")
    if sys.stderr.isatty():
        from vlbench.regression.compare.verdicts import change

        so_far = f", {change(progress.effect.ratio)} so far" if progress.effect else ""
        print(f"\r\x1b[K{name}: replicate {progress.replicates + 1}{so_far} ", end="", file=sys.stderr, flush=True)


def _time_needed(seconds: float, least: int) -> str:
    """`a verdict takes 8 replicates of 3.1 s or more, so 25 s; a change is confirmed by 8 more`"""
    from vlbench.regression.live.run import LEAST_CONFIRMING
    from vlbench.runner.records import minutes

    return (
        f"a verdict takes {least} replicates of {seconds:.1f} s or more, so {minutes(least * seconds)}; a change is "
        f"confirmed by {LEAST_CONFIRMING} more"
    )


def clear_progress() -> None:
    """Removes the line of `show_progress`."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
