"""The command line: each command parses, calls one function, prints. Exit codes: 0 all measured, 1 some cells could not
be, 2 bad input, 130 interrupted."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench import __version__
from vlbench.commands.history import history
from vlbench.errors import InputError, WorkerError
from vlbench.options import (
    DeviceName,
    DeviceOption,
    Format,
    FormatOption,
    Listing,
    OutOption,
    PrecisionName,
    PrecisionOption,
    SuiteFormat,
    ThreadsOption,
    default_folder,
    parse_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from vlbench.running.cells import Cell, Result
    from vlbench.running.store import Store

app = typer.Typer(
    name="vlbench",
    help="Benchmark of vision-and-language architectures: parameters, MACs, memory and latency, stage by stage.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


# The base of Typer's usage errors, from Click or from Typer's own copy of it.
USAGE_ERROR: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vlbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    models: Annotated[
        str, typer.Option(help="Names, aliases, globs or paths of YAML files, separated by commas; see: vlbench list.")
    ],
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = PrecisionName.fp32,
    batch: Annotated[int, typer.Option(min=1, help="Examples in one forward pass.")] = 1,
    image: Annotated[Path | None, typer.Option(help="A photograph; by default matplotlib's of Grace Hopper.")] = None,
    text: Annotated[str | None, typer.Option(help="A sentence about it.")] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Resize to this instead of each model's own size.")
    ] = None,
    text_tokens: Annotated[
        int | None, typer.Option(min=2, help="Pad the text to this instead of each model's own length.")
    ] = None,
    threads: ThreadsOption = None,
    budget: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Time for warm-up and timing of each model.")
    ] = 45,
    output: FormatOption = Format.table,
    out: OutOption = None,
) -> None:
    """Measure models on this machine, stage by stage.

    Cells that the results folder already holds for this machine are kept, not measured again.
    """
    from vlbench.catalog import resolve
    from vlbench.inputs import read_example
    from vlbench.measure.machine import physical_cores
    from vlbench.running.cells import Result
    from vlbench.running.progress import measure_all
    from vlbench.running.runner import Settings, expand, probe_machine, run_cells, split_measured
    from vlbench.running.store import Store

    specs = resolve(models)
    example = read_example(image, text)
    settings = Settings(
        device=device.value,
        precision=precision.value,
        batch=batch,
        image_size=parse_size(image_size) if image_size else None,
        text_tokens=text_tokens,
        threads=threads or physical_cores(),
        budget_seconds=budget,
    )
    folder = out or default_folder()
    machine = probe_machine(settings.threads)
    cells = expand(specs, example, settings, machine)
    store = Store(folder, Result)
    missing, kept = split_measured(cells, store, machine)
    _tell_kept([result.model for result in kept], folder)
    measured, interrupted = measure_all(missing, store, machine, run_cells) if missing else ([], False)
    results = _in_order(cells, [*kept, *measured])
    _write_tables(store)
    _print(results, output)
    print(f"results: {folder}", file=sys.stderr)
    if interrupted:
        print(f"interrupted: {len(results)} of {len(cells)} models are kept", file=sys.stderr)
        raise typer.Exit(130)
    if any(result.status != "ok" for result in results):
        raise typer.Exit(1)


@app.command()
def reproduce(
    suites: Annotated[
        list[str] | None, typer.Argument(metavar="[SUITE]...", help="Names, globs or YAML files; none: all suites.")
    ] = None,
    output: Annotated[SuiteFormat, typer.Option("--format", help="How it is printed.")] = SuiteFormat.table,
    cells: Annotated[
        str, typer.Option(metavar="KINDS", help="Which columns: any of params,flops,latency,parts.")
    ] = "params,flops,latency,parts",
    quick: Annotated[bool, typer.Option("--quick", help="Small settings for what is timed: seconds a suite.")] = False,
    figures: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw each suite there, PNG and SVG.")] = None,
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = PrecisionName.fp32,
    threads: ThreadsOption = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="SECONDS", help="Time for warm-up and timing of each row; by default the suite's."
        ),
    ] = None,
    out: OutOption = None,
) -> None:
    """Reproduce the papers' tables: measured beside reported, and whether each claim holds here.

    The exit code is 0 where every counted figure is within its tolerance of the paper's, 1 otherwise.
    """
    from vlbench.measure.machine import physical_cores
    from vlbench.report.reproduction import WRITERS, render, save
    from vlbench.reproduce.run import Request, reproduce
    from vlbench.running.runner import Settings
    from vlbench.suites.reader import parse_categories, resolve_suites

    request = Request(
        categories=parse_categories(cells),
        quick=quick,
        settings=Settings(
            device=device.value,
            precision=precision.value,
            threads=threads or (1 if quick else physical_cores()),  # small work is lost on two threads
        ),
        budget_seconds=budget,
        folder=out or default_folder(),
    )
    wanted = resolve_suites(suites or [])
    for folder in filter(None, (figures, out)):
        folder.mkdir(parents=True, exist_ok=True)  # a folder that cannot be written ends it before anything is measured
    found, kept, interrupted = reproduce(wanted, request)
    _tell_kept(kept, request.folder)
    if output is SuiteFormat.table:
        _print_wide(lambda width: render(found, width))
    else:
        print(WRITERS[output.value](found), end="")
    if found.machine or out:
        save(found, request.folder)
        print(f"results: {request.folder}", file=sys.stderr)
    if figures:
        from vlbench.report.figures import draw

        draw(found, figures)
    if interrupted:
        print(f"interrupted: what was measured is kept in {request.folder}", file=sys.stderr)
    if interrupted or not found.passed:
        raise typer.Exit(130 if interrupted else 1)


@app.command("list")
def list_(what: Annotated[Listing, typer.Argument(help="What to list.")] = Listing.models) -> None:
    """List the models or the suites that can be measured."""
    from vlbench.report.listings import models, suites

    print(models() if what is Listing.models else suites())


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that vlbench run wrote.")],
    output: FormatOption = Format.table,
) -> None:
    """Print the results of an earlier run."""
    from vlbench.running.store import read_results

    results = read_results(folder)
    if not results:
        raise InputError(f"{folder}: holds no results yet")
    _print(results, output)


app.command()(history)


def _tell_kept(names: list[str], folder: Path) -> None:
    if names:
        print(
            f"kept from {folder}: {', '.join(dict.fromkeys(names))}; name another --out to measure again",
            file=sys.stderr,
        )


def _in_order(cells: list[Cell], results: list[Result]) -> list[Result]:
    by_hash = {result.cell_hash: result for result in results}
    return [by_hash[cell.hash()] for cell in cells if cell.hash() in by_hash]


def _write_tables(store: Store[Result]) -> None:
    from vlbench.report.tables import csv, markdown

    if store.results:
        (store.folder / "table.md").write_text(markdown(store.results), encoding="utf-8")
        (store.folder / "table.csv").write_text(csv(store.results), encoding="utf-8")


def _print(results: list[Result], output: Format) -> None:
    from vlbench.report.tables import WRITERS, render

    if not results:
        return
    if output is Format.table:
        _print_wide(lambda width: render(results, width))
    else:
        print(WRITERS[output.value](results), end="")


def _print_wide(draw: Callable[[int | None], RenderableType]) -> None:
    """Prints what `draw` makes for the terminal's width, or for any where the output is none."""
    from rich.console import Console

    console = Console()
    width = console.width if console.is_terminal else None
    console.width = max(console.width, 200)  # a line longer than the terminal wraps there, rather than lose its end
    console.print(draw(width), soft_wrap=False, crop=False)


def main() -> None:
    """The `vlbench` command: one line for what a user can mend, never a traceback."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a worker is ended too
    try:
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        print(f"vlbench: {error}", file=sys.stderr)
        code = 2
    except USAGE_ERROR as error:
        message = " ".join(error.format_message().replace("Value error, ", "").split())
        print(f"vlbench: {message} (vlbench --help shows what works)", file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        print("vlbench: interrupted", file=sys.stderr)
        code = 130
    except WorkerError as error:
        print(f"vlbench: {error}", file=sys.stderr)
        code = 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # our reader has gone; there is nobody to tell
        code = 141
    except OSError as error:
        print(
            f"vlbench: {error.filename or 'output'}: {error.strerror}; what was measured before is kept",
            file=sys.stderr,
        )
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
