"""The options that commands share, and what they can be."""

from __future__ import annotations

import platform
import re
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vlbench.errors import InputError


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


class SuiteFormat(StrEnum):
    table = "table"
    json = "json"
    markdown = "markdown"
    latex = "latex"


class Listing(StrEnum):
    models = "models"
    suites = "suites"


DeviceOption = Annotated[DeviceName, typer.Option(help="auto takes the GPU where there is one.")]
PrecisionOption = Annotated[PrecisionName, typer.Option(help="Of weights and activations.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; by default the physical cores.")]
OutOption = Annotated[Path | None, typer.Option(help="Results folder; by default results/local/TIME-HOST.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the results are printed.")]


def parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise InputError(f"--image-size {text}: not HEIGHTxWIDTH in pixels; 384x640 works")
    return int(match[1]), int(match[2])


def default_folder() -> Path:
    """`results/local/20260131-235959-host`, in local time."""
    return Path("results", "local", f"{time.strftime('%Y%m%d-%H%M%S')}-{platform.node() or 'host'}")
