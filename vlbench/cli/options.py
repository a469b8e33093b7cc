"""The options that several commands share, and how their values are parsed."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.errors import InputError, nearest
from vlbench.runner.backends import BACKENDS
from vlbench.runner.devices import DEVICES
from vlbench.runner.limits import MOST_BATCH, MOST_RESTARTS, MOST_TEXT_TOKENS, MOST_THREADS
from vlbench.tables.numbers import share_of

if TYPE_CHECKING:
    from vlbench.specs.module import Overrides


class MeasuredOn(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


class FloatName(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class PrecisionName(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    int8 = "int8"
    int8_static = "int8-static"


class ScopeName(StrEnum):
    stages = "stages"
    model = "model"


class L2Name(StrEnum):
    warm = "warm"
    cold = "cold"


class EngineName(StrEnum):
    torchvision = "torchvision"
    detectron2 = "detectron2"


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


MeasuredOnOption = Annotated[MeasuredOn | None, typer.Option(help="Only results measured on this device.")]
DeviceOption = Annotated[
    str, typer.Option(metavar="DEVICE", help=f"{DEVICES}; auto is the GPU if there is one, else the CPU.")
]
L2Option = Annotated[
    L2Name,
    typer.Option(
        "--l2",
        help="The L2 cache of a GPU before each sample: as the last pass left it, or emptied.",
        show_default=True,
    ),
]
PrecisionOption = Annotated[PrecisionName, typer.Option(help="The number format of weights and activations.")]
FloatOption = Annotated[FloatName, typer.Option("--precision", help="The number format of weights and activations.")]
PrecisionsOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAMES",
        help=f"The number format of weights and activations: {', '.join(PrecisionName)}; several are separated by "
        "commas.",
    ),
]
BackendOption = Annotated[
    str, typer.Option(metavar="NAME", help=f"The runtime that executes the models: {', '.join(BACKENDS)}.")
]
BackendsOption = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="NAMES",
        help=f"Runtimes that execute the models: {', '.join(BACKENDS)}; several are separated by commas.",
    ),
]
ScopeOption = Annotated[
    ScopeName, typer.Option(help="What a runtime converts: each stage by itself, or the whole model at once.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue the newest unfinished folder in results/local.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, max=MOST_THREADS, help="CPU threads; by default one per physical core.")
]
BatchOption = Annotated[int, typer.Option(min=1, max=MOST_BATCH, help="Examples in one forward pass.")]
TextTokensOption = Annotated[
    int | None,
    typer.Option(min=2, max=MOST_TEXT_TOKENS, help="Length to pad the text to, instead of each model's own."),
]
WithinOption = Annotated[
    str,
    typer.Option(
        metavar="PERCENT", help="Stop measuring a model when its 95% interval is within this share of the median."
    ),
]
RestartsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_RESTARTS,
        help="Measure each model in exactly this many fresh processes, regardless of --budget and --within.",
    ),
]
DetectorOption = Annotated[
    EngineName | None,
    typer.Option(help="The library whose layers run every detector."),
]
WeightsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        metavar="MODEL=SOURCE",
        help="Load a checkpoint (file, folder or hub:OWNER/NAME) into a model, or into MODEL.visual only; repeatable.",
    ),
]
ImageSizeOption = Annotated[
    str | None, typer.Option("--image-size", metavar="HxW", help="Image size in pixels, instead of each model's own.")
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=SHAPE",
        help="What the forward pass of an external module reads, without the batch: pixels=3x224x224; "
        "ids=40:int64:30522 for integers below 30522; NAME=image or NAME=text; repeatable.",
    ),
]
StagesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stages",
        metavar="STAGE=PATH",
        help="The stages of an external module: visual=encoder,fusion=layers.*+norm; by default those of its class, "
        "or its outermost children; repeatable.",
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="The results folder; by default results/local/TIME-HOST.")]
FrontierOption = Annotated[
    Path | None,
    typer.Option("--figures", metavar="DIR", help="Draw accuracy over latency into this folder, as PNG and SVG."),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How the results are printed.")]


def parse_overrides(
    inputs: Sequence[str] | None, stages: Sequence[str] | None, image_size: str | None, text_tokens: int | None
) -> Overrides:
    """What the options say of modules. Raises InputError for a value that cannot be read."""
    from pydantic import ValidationError

    from vlbench.specs.module import Overrides

    content: dict[str, Any] = {"inputs": {}, "stages": {}}
    for part in _parts("--input", inputs):
        name, equals, value = part.rpartition("=")
        content["inputs"][name] = parse_input(value)
    for part in _parts("--stages", stages):
        name, equals, paths = part.partition("=")
        if not equals:
            raise InputError(f"--stages {part}: not STAGE=PATH; --stages visual=encoder,head=fc+norm works")
        content["stages"][name] = paths.split("+")
    if image_size is not None:
        content["image_size"] = parse_size(image_size)
    if text_tokens is not None:
        content["text_tokens"] = text_tokens
    try:
        return Overrides.model_validate(content)
    except ValidationError as error:
        from vlbench.specs.catalog import describe

        raise InputError(f"--input or --stages: {describe(error, Overrides)}") from error


def _parts(option: str, values: Sequence[str] | None) -> list[str]:
    """The parts between commas of a repeatable option. Raises InputError where one is given twice."""
    parts = [part.strip() for value in values or () for part in value.split(",") if part.strip()]
    names = [part.rpartition("=")[0] if option == "--input" else part.partition("=")[0] for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{option}: {name or 'an input without a name'} is given twice; leave one out")
    return parts


def parse_input(text: str) -> str | dict[str, Any]:
    """`image`, `text`, `text_mask`, or `3x224x224`, `40:int64:30522`: shape, type, and what integers are below."""
    if text in ("image", "text", "text_mask"):
        return text
    shape, *more = text.split(":")
    match = re.fullmatch(r"[0-9]{1,7}(x[0-9]{1,7})*", shape)
    types = {"float32", "int64", "bool"}
    if not match or len(more) > 2 or (more and more[0] not in types) or (len(more) == 2 and not more[1].isdecimal()):
        raise InputError(
            f"--input {text}: not NAME=SHAPE[:TYPE[:BELOW]]; pixels=3x224x224, ids=40:int64:30522, image or text work"
        )
    described: dict[str, Any] = {"shape": [int(side) for side in shape.split("x")]}
    return described | dict(zip(("dtype", "below"), [*more[:1], *map(int, more[1:])], strict=False))


def parse_names(option: str, text: str, known: Iterable[str]) -> list[str]:
    """Names between commas, each once. Raises InputError for one that is not known, or if there is none."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise InputError(f"{option} {name}: no such {option.removeprefix('--')}; {nearest(name, known)}")
    if not names:
        raise InputError(f"{option}: names none; {', '.join(known)} work")
    return names


def parse_size(text: str) -> tuple[int, int]:
    """`384x640` as (384, 640), height and width in pixels. Raises InputError for anything else."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if not match:
        raise InputError(f"--image-size {text}: not HEIGHTxWIDTH in pixels; 384x640 works")
    return int(match[1]), int(match[2])


def parse_share(option: str, text: str) -> float:
    """`2%` or `0.02` as 0.02. Raises InputError for anything else, and for 0%, 100% and what is outside."""
    share = share_of(text)
    if share is None or not 0 < share < 1:
        raise InputError(f"{option} {text}: not a share between 0 and 100%; 2% or 0.02 works")
    return share


def default_folder() -> Path:
    """`results/local/20260131-235959-host`: the local time and the name of the machine."""
    return Path("results", "local", f"{time.strftime('%Y%m%d-%H%M%S')}-{platform.node() or 'host'}")


def unfinished_folder(out: Path | None) -> Path:
    """The folder that `--resume` continues. Raises InputError where there is none."""
    if out is not None:
        if not out.is_dir():
            raise InputError(f"--resume --out {out}: no such folder; leave --resume out to start there")
        return out
    unfinished = Path("results", "local").glob("*/*.unfinished.*")
    newest = max(unfinished, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise InputError("--resume: every run in results/local is finished; name a folder with --out, or leave it out")
    return newest.parent
