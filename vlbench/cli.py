"""The command line: each command parses, calls one function, prints. Exit codes: 0 all measured, 1 some cells could not
be, 2 bad input, 130 interrupted."""

from __future__ import annotations

import os
import re
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench import __version__
from vlbench.errors import InputError, WorkerError

if TYPE_CHECKING:
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


class DeviceName(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class PrecisionName(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Format(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


class Listing(StrEnum):
    models = "models"


# The base of Typer's usage errors, from Click or from Typer's own copy of it.
USAGE_ERROR: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

FormatOption = Annotated[Format, typer.Option("--format", help="How the results are printed.")]


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
    device: Annotated[DeviceName, typer.Option(help="auto takes the GPU where there is one.")] = DeviceName.auto,
    precision: Annotated[PrecisionName, typer.Option(help="Of weights and activations.")] = PrecisionName.fp32,
    batch: Annotated[int, typer.Option(min=1, help="Examples in one forward pass.")] = 1,
    image: Annotated[Path | None, typer.Option(help="A photograph; by default matplotlib's of Grace Hopper.")] = None,
    text: Annotated[str | None, typer.Option(help="A sentence about it.")] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Resize to this instead of each model's own size.")
    ] = None,
    text_tokens: Annotated[
        int | None, typer.Option(min=2, help="Pad the text to this instead of each model's own length.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; by default the physical cores.")] = None,
    budget: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Time for warm-up and timing of each model.")
    ] = 45,
    output: FormatOption = Format.table,
    out: Annotated[Path | None, typer.Option(help="Results folder; by default results/local/TIME-HOST.")] = None,
) -> None:
    """Measure models on this machine, stage by stage.

    Cells that the results folder already holds for this machine are kept, not measured again.
    """
    from vlbench.catalog import resolve
    from vlbench.inputs import read_example
    from vlbench.measure.machine import physical_cores
    from vlbench.running.runner import Settings, expand, probe_machine, split_measured
    from vlbench.running.store import Store

    specs = resolve(models)
    example = read_example(image, text)
    settings = Settings(
        device=device.value,
        precision=precision.value,
        batch=batch,
        image_size=_parse_size(image_size) if image_size else None,
        text_tokens=text_tokens,
        threads=threads or physical_cores(),
        budget_seconds=budget,
    )
    folder = out or _default_folder()
    machine = probe_machine(settings.threads)
    cells = expand(specs, example, settings, machine)
    store = Store(folder)
    missing, kept = split_measured(cells, store, machine)
    if kept:
        names = ", ".join(result.model for result in kept)
        print(f"kept from {folder}: {names}; name another --out to measure again", file=sys.stderr)
    measured, interrupted = _measure(missing, store, machine) if missing else ([], False)
    results = _in_order(cells, [*kept, *measured])
    _write_tables(store)
    _print(results, output)
    print(f"results: {folder}", file=sys.stderr)
    if interrupted:
        print(f"interrupted: {len(results)} of {len(cells)} models are kept", file=sys.stderr)
        raise typer.Exit(130)
    if any(result.status != "ok" for result in results):
        raise typer.Exit(1)


@app.command("list")
def list_(what: Annotated[Listing, typer.Argument(help="What to list.")] = Listing.models) -> None:
    """List the models that can be measured."""
    from vlbench.catalog import catalog

    rows = [("MODEL", "ALIAS", "FAMILY", "INPUT", "TEXT", "SOURCE")]
    for spec in catalog().values():
        size = "x".join(map(str, spec.input.image_size))
        text = str(spec.input.text_tokens or "-")
        rows.append((spec.name, ", ".join(spec.aliases) or "-", spec.family, size, text, spec.source))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + "  " + row[-1])


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


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise InputError(f"--image-size {text}: not HEIGHTxWIDTH in pixels; 384x640 works")
    return int(match[1]), int(match[2])


def _default_folder() -> Path:
    """`results/local/20260131-235959-host`, in local time."""
    import platform
    import time

    return Path("results", "local", f"{time.strftime('%Y%m%d-%H%M%S')}-{platform.node() or 'host'}")


def _measure(cells: list[Cell], store: Store, machine: object) -> tuple[list[Result], bool]:
    """Measures with a progress bar on standard error; keeps each result as it comes. Whether Ctrl-C ended it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from vlbench.running.runner import run_cells

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    results: list[Result] = []
    # No thread of its own redraws the bar: the parent must not take time from what it measures.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        task = progress.add_task("", total=len(cells))

        def listen(cell: Cell, phase: str, samples: int) -> None:
            counted = f" ({samples} samples)" if samples else ""
            progress.update(task, description=f"{cell.spec.name}: {phase}{counted}", refresh=True)

        try:
            for result in run_cells(cells, machine, listen):  # type: ignore[arg-type]
                store.add(result)
                results.append(result)
                progress.update(task, advance=1, description=f"{result.model}: {result.status}", refresh=True)
        except KeyboardInterrupt:
            return results, True
    return results, False


def _in_order(cells: list[Cell], results: list[Result]) -> list[Result]:
    by_hash = {result.cell_hash: result for result in results}
    return [by_hash[cell.hash()] for cell in cells if cell.hash() in by_hash]


def _write_tables(store: Store) -> None:
    from vlbench.report.tables import csv, markdown

    if store.results:
        (store.folder / "table.md").write_text(markdown(store.results), encoding="utf-8")
        (store.folder / "table.csv").write_text(csv(store.results), encoding="utf-8")


def _print(results: list[Result], output: Format) -> None:
    from vlbench.report.tables import WRITERS, render

    if not results:
        return
    if output is not Format.table:
        print(WRITERS[output.value](results), end="")
        return
    from rich.console import Console

    console = Console()
    width = console.width if console.is_terminal else None
    console.width = max(console.width, 200)  # a line longer than the terminal wraps there, rather than lose its end
    console.print(render(results, width), soft_wrap=False, crop=False)


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
