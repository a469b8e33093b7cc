"""The command line: each command parses, calls one function, prints. Exit codes: 0 all measured, 1 some cells could not
be, 2 bad input, 130 interrupted."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, Any

import typer

from vlbench.cli.ab import ab
from vlbench.cli.bisect import bisect
from vlbench.cli.choose import choose
from vlbench.cli.compare import compare
from vlbench.cli.doctor import doctor
from vlbench.cli.evaluate import eval_
from vlbench.cli.explain import explain
from vlbench.cli.export import WORLD, Commands, OfResults, OfWorld, export, export_shapes
from vlbench.cli.figure import figure
from vlbench.cli.history import history
from vlbench.cli.options import Listing
from vlbench.cli.report import report
from vlbench.cli.reproduce import reproduce
from vlbench.cli.run import run, show
from vlbench.cli.score import score
from vlbench.cli.train import train
from vlbench.errors import InputError, WorkerError
from vlbench.version import __version__

app = typer.Typer(
    name="vlbench",
    cls=Commands,
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


@app.command("list")
def list_(what: Annotated[Listing, typer.Argument(help="What to list.")] = Listing.models) -> None:
    """List the models or the suites that can be measured."""
    from vlbench.cli.listings import models, suites

    print(models() if what is Listing.models else suites())


COMMANDS = (run, reproduce, show, report, figure, choose, compare, ab, bisect, history, doctor, score, train, explain)
for command in COMMANDS:
    app.command()(command)
app.command(cls=OfResults)(export)
app.command(WORLD, cls=OfWorld)(export_shapes)
app.command("eval")(eval_)


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
