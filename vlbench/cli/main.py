"""The command line. Exit codes: 0 success, 1 a measurement failed, 2 bad input, 130 interrupted, 129 SIGHUP,
143 SIGTERM, or as commands say.

A command parses its options, calls one function and prints what it returns.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from vlbench.cli.commands import HELP_IS_OFF, LazyCommands
from vlbench.errors import InputError, WorkerError, device_errors_in_one_line
from vlbench.system.console import discard_output, prepare_streams, print_error, print_python_warning
from vlbench.system.signals import SignalExit, exit_on_signals, ignore_signals
from vlbench.version import __version__

app = typer.Typer(
    name="vlbench",
    cls=LazyCommands,
    help="Benchmark of vision-and-language architectures: parameters, MACs, memory and latency, stage by stage.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "default_map": HELP_IS_OFF},
)


# The base class of usage errors: Click's, or that of the copy of Click within newer versions of Typer.
USAGE_ERROR: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _print_version(requested: bool) -> None:
    if requested:
        print(f"vlbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _skip_last_collections() -> None:
    """At exit, Python's collections take a sixth of the time of `vlbench compare`. Extension modules rely on them."""
    if not {"duckdb", "numpy", "torch"} & set(sys.modules):
        gc.freeze()


def main() -> None:
    """The `vlbench` command."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # looking for them takes as long as importing pydantic
    prepare_streams()
    warnings.showwarning = print_python_warning
    atexit.register(_skip_last_collections)
    with exit_on_signals():
        code = _exit_code()
    atexit.register(ignore_signals)
    sys.exit(code)


def _exit_code() -> int:
    """Runs the command. Prints an error that a user can fix as one line, without a traceback."""
    try:
        try:
            with device_errors_in_one_line("a smaller --batch or fewer --workers need less"):
                code = app(args=sys.argv[1:] or ["--help"], prog_name="vlbench", standalone_mode=False)
            sys.stdout.flush()
        finally:
            ignore_signals()  # a second Ctrl-C ends neither the message about the first nor the exit
    except InputError as error:
        print_error(_lost_folder() or str(error))
        code = 2
    except USAGE_ERROR as error:
        message = error.format_message().replace("Value error, ", "")
        context = getattr(error, "ctx", None)
        print_error(f"{message} ({context.command_path if context else 'vlbench'} --help shows what works)")
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        print_error("interrupted")
        code = 130
    except SignalExit as end:
        print_error(str(end))
        code = 128 + end.signal
    except WorkerError as error:
        lost = _lost_folder()
        print_error(lost or str(error))
        code = 2 if lost else 1
    except BrokenPipeError:
        discard_output()  # the reader has gone, as `head` does
        code = 141
    except OSError as error:
        discard_output()
        message = f"{error.filename or 'output'}: {error.strerror or error}; what was measured before is kept"
        print_error(_lost_folder() or message)
        code = 2
    return code


def _lost_folder() -> str:
    """The reason of most errors, if the working directory was removed; otherwise nothing."""
    try:
        os.getcwd()
    except OSError:
        return "the working directory was removed; change to another folder"
    return ""


if __name__ == "__main__":
    main()
