"""The commands by name. A command's module is imported when it is called, so that the others start without it."""

from __future__ import annotations

import signal
from functools import cache
from importlib import import_module
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from vlbench.errors import InputError
from vlbench.files.text import check_text
from vlbench.system.signals import SignalExit

SHAPES, MODEL = "export shapes", "export model"

COMMANDS = {  # name: "module of vlbench.cli:function or group", and its line in `vlbench --help`
    "list": ("listings:app", "List the models or the suites that can be measured."),
    "run": ("run:run", "Measure models on this machine, stage by stage."),
    "init": ("init:init", "Write the YAML file that describes any model."),
    "count": ("count:count", "Count parameters, MACs and bytes moved of each module."),
    "reproduce": ("reproduce:reproduce", "Reproduce the tables of papers and check their claims."),
    "show": ("run:show", "Print the results of an earlier run."),
    "report": ("report:report", "Make one self-contained HTML page of results."),
    "figure": ("figure:figure", "Draw one figure of results, in a print style."),
    "choose": ("choose:choose", "Rank the models that meet a budget of latency or memory."),
    "compare": ("compare:compare", "Compare two results folders: faster, slower, same, unknown."),
    "ab": ("ab:ab", "Measure two versions side by side: is one of them slower?"),
    "bisect": ("bisect:bisect", "Find the commit that made a model or a function slower."),
    "history": ("history:history", "Show how each model's latency changed over many runs."),
    "doctor": ("doctor:doctor", "Check whether this machine is fit to measure on."),
    "score": ("score:score", "Score predictions as the official scorers do."),
    "train": ("train:train", "Train architectures alike on a generated world."),
    "explain": ("explain:explain", "Draw which part of a photo each word attends to."),
    "export": ("export:export", "Write results as a Markdown, LaTeX, CSV or Parquet table."),
    SHAPES: ("export:export_shapes", "Write the generated world as images and JSON."),
    MODEL: ("export_model:export_model", "Write a model for ONNX Runtime or OpenVINO."),
    "eval": ("evaluate:eval_", "Evaluate models on a data set and measure their latency."),
}
HINTS = {  # what to add to the message about an option that a command does not have
    "export": f"the generated world is `vlbench {SHAPES}` and a model `vlbench {MODEL}`, with their options behind",
    SHAPES: "it writes the generated world; a results folder of this name is ./shapes",
    MODEL: "it writes a model for a runtime; a results folder of this name is ./model",
}
# A default for --help. Without one, Typer imports pydantic to convert None, and `vlbench list` takes twice as long.
HELP_IS_OFF = {"help": False}


def refuse_empty(args: list[str]) -> None:
    """Raises InputError for an empty word, such as that of a variable that is not set.

    An option would ignore it or, as a path, take it for the current folder.
    """
    for before, word in zip(["", *args], args, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            option = word[:-1] or (before if before.startswith("-") else "")
            raise InputError(f"{option or 'an argument'} is empty; give it a value, or leave it out")


class HintingCommand(TyperCommand):
    """A command that adds its hint to the message about an unknown option."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        try:
            rest = super().parse_args(ctx, args)
        except Exception as error:
            if type(error).__name__ == "NoSuchOption" and self.name in HINTS:
                error.message = f"{error.message.rstrip('.')}; {HINTS[self.name]}"  # type: ignore[attr-defined]
            raise
        self._check_texts(ctx.params)
        return rest

    def _check_texts(self, values: dict[str, Any]) -> None:
        """Raises InputError for a text that is not UTF-8; a path may hold any bytes."""
        for parameter in self.params:
            value = values.get(parameter.name or "")
            for text in value if isinstance(value, list) else [value]:
                if type(text) is str:  # no name of an enumeration
                    check_text(text, f"{parameter.opts[0]} {text}")


class NamingGroup(TyperGroup):
    """A group that names its commands in the message about an unknown one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            ctx.fail(f"{ctx.info_name}: no {args[0]!r}; {' or '.join(self.commands)} works")
        return super().resolve_command(ctx, args)


@cache
def load_command(name: str) -> Any:
    """Imports the command's module and builds the command."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    target = getattr(import_module(f"vlbench.cli.{module}"), attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(add_completion=False, rich_markup_mode=None)
        target.command(name, cls=HintingCommand)(function)
    return typer.main.get_command(target)


class LazyCommands(TyperGroup):
    """All commands of vlbench, some of which have a name of two words: `export shapes`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Names only, for `list_commands` and for the suggestion after a misspelt name.
        self.commands = dict.fromkeys(COMMANDS, TyperCommand(None))

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        refuse_empty(args)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if (name := " ".join(args[:2])) in COMMANDS:
            args = [name, *args[2:]]
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # of which newer versions of Typer make an exit without a word
            raise SignalExit(signal.SIGINT) from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])
