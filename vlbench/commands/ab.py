"""`vlbench ab`. Exit codes: 0 no regression, 1 regression, 3 cannot tell, 2 bad input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.commands.compare import ComparisonFormat, write_comparison
from vlbench.errors import InputError
from vlbench.options import DeviceName, DeviceOption, PrecisionName, PrecisionOption, ThreadsOption, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vlbench.compare.effects import Effect

SideHelp = "A git revision, a virtual environment, or a folder with code; by default what is installed here."


def ab(
    models: Annotated[str | None, typer.Option(help="As for vlbench run; each side has its own catalogue.")] = None,
    callables: Annotated[
        list[str] | None,
        typer.Option("--callable", metavar="MODULE:FUNCTION", help="A function of yours instead, without arguments."),
    ] = None,
    base: Annotated[str | None, typer.Option(metavar="A", help=SideHelp)] = None,
    head: Annotated[str | None, typer.Option(metavar="B", help="The same, for the side that may be slower.")] = None,
    base_option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of vlbench run for the base alone.")
    ] = None,
    head_option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="The same for the head: image-size=416x672.")
    ] = None,
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = PrecisionName.fp32,
    batch: Annotated[int, typer.Option(min=1, help="Examples in one forward pass.")] = 1,
    image: Annotated[Path | None, typer.Option(help="A photograph, as for vlbench run.")] = None,
    text: Annotated[str | None, typer.Option(help="A sentence about it.")] = None,
    image_size: Annotated[str | None, typer.Option(metavar="HxW", help="As for vlbench run.")] = None,
    text_tokens: Annotated[int | None, typer.Option(min=2, help="As for vlbench run.")] = None,
    threads: ThreadsOption = None,
    budget: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Time for each model, its confirmation included.")
    ] = 120,
    threshold: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="The slowdown that must not slip through, 5% or 0.05; by default 5%."),
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML: default: 5%, and models: {GLOB: 10%}.")
    ] = None,
    output_format: Annotated[
        ComparisonFormat, typer.Option("--format", help="How the comparison is printed.")
    ] = ComparisonFormat.table,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there instead.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it there, .png or .svg.")] = None,
    record: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep every sample there, as JSON.")] = None,
) -> None:
    """Measure two versions live, side by side, and say whether one is slower: the gate for continuous integration.

    Fresh processes of both run in lockstep, with a second process of the base as a control; what looks slower or
    faster is measured once more before it is said. Exit code 0: no regression; 1: regression; 3: cannot tell.
    """
    from vlbench.ab.run import Request, run, started
    from vlbench.ab.sides import opened
    from vlbench.compare.thresholds import thresholds_from
    from vlbench.measure.machine import physical_cores

    settings: dict[str, Any] = {
        "device": device.value,
        "precision": precision.value,
        "batch": batch,
        "image_size": parse_size(image_size) if image_size else None,
        "text_tokens": text_tokens,
        "threads": threads or physical_cores(),
    }
    if not models and not callables:
        raise InputError("nothing to compare: name --models vilt or --callable package.module:function")
    if picture:
        from vlbench.compare.picture import check_picture

        check_picture(picture)
    request = Request(
        models=[name.strip() for name in (models or "").split(",") if name.strip()],
        callables=callables or [],
        settings={name: value for name, value in settings.items() if value is not None},
        image=str(image.absolute()) if image else None,
        text=text,
        thresholds=thresholds_from(threshold, thresholds),
        budget_seconds=budget,
    )
    sides = opened(
        base,
        head,
        base_options=parse_options("--base-option", base_option or []),
        head_options=parse_options("--head-option", head_option or []),
    )
    with sides as (first, second), started(request, first, second) as workers:
        found = run(request, first, second, workers, _report)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if record:
        record.write_text(found.model_dump_json(by_alias=True), encoding="utf-8")
    write_comparison(found.comparison, output_format, output, picture)
    if found.comparison.exit_code:
        raise typer.Exit(found.comparison.exit_code)


def parse_options(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """`threads=1` and the like, in the types that settings have. Raises InputError for what `run` does not know."""
    from vlbench.catalog import nearest

    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not value:
            raise InputError(f"{option} {text}: not NAME=VALUE; threads=1 works")
        if name not in OPTIONS:
            raise InputError(f"{option} {text}: no option {name!r} here; {nearest(name, OPTIONS)}")
        try:
            found[name.replace("-", "_")] = OPTIONS[name](value)
        except ValueError as error:
            raise InputError(f"{option} {text}: {value!r} is no {name}") from error
    return found


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


OPTIONS: dict[str, Callable[[str], Any]] = {
    "device": lambda text: DeviceName(text).value,
    "precision": lambda text: PrecisionName(text).value,
    "batch": _count,
    "image": lambda text: str(Path(text).absolute()),
    "text": str,
    "image-size": parse_size,
    "text-tokens": _count,
    "threads": _count,
}


def _report(name: str, count: int, effect: Effect | None) -> None:
    """A line on standard error that is drawn anew before each replicate, where somebody sees it."""
    if sys.stderr.isatty():
        from vlbench.compare.verdicts import change

        so_far = f", {change(effect.ratio)} so far" if effect else ""
        print(f"\r\x1b[K{name}: replicate {count + 1}{so_far} ", end="", file=sys.stderr, flush=True)
