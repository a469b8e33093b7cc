"""`vlbench ab`. Exit codes: 0 no regression, 1 regression, 3 cannot tell, 2 bad input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.compare import (
    ComparisonFormat,
    ComparisonFormatOption,
    JunitOption,
    MarkdownOption,
    OutputOption,
    PictureOption,
    ThresholdOption,
    ThresholdsOption,
    check_files,
    write_comparison,
    write_files,
)
from vlbench.cli.live_options import (
    BudgetOption,
    CallableOption,
    ImageOption,
    ImageSizeOption,
    ModelsOption,
    TextOption,
    clear_progress,
    live_request,
    show_progress,
)
from vlbench.cli.options import (
    BackendOption,
    BatchOption,
    DeviceOption,
    EngineName,
    L2Name,
    L2Option,
    PrecisionName,
    PrecisionOption,
    ScopeName,
    ScopeOption,
    TextTokensOption,
    ThreadsOption,
    parse_size,
)
from vlbench.errors import HeadError, InputError, WorkerError
from vlbench.files.writing import write_text
from vlbench.runner.backends import EAGER, check_backend
from vlbench.runner.devices import check_device
from vlbench.system.console import print_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vlbench.regression.compare.outcomes import Overall

SideHelp = "A git revision, a virtual environment, or a folder with code; by default this installation."


def ab(
    models: ModelsOption = None,
    callables: CallableOption = None,
    base: Annotated[str | None, typer.Option(metavar="A", help=SideHelp)] = None,
    head: Annotated[str | None, typer.Option(metavar="B", help="The same, for the side that may be slower.")] = None,
    base_option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of vlbench run, for the base only.")
    ] = None,
    head_option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="The same for the head, such as image-size=416x672.")
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = PrecisionName.fp32,
    backend: BackendOption = EAGER,
    scope: ScopeOption = ScopeName.stages,
    batch: BatchOption = 1,
    l2: L2Option = L2Name.warm,
    image: ImageOption = None,
    text: TextOption = None,
    image_size: ImageSizeOption = None,
    text_tokens: TextTokensOption = None,
    threads: ThreadsOption = None,
    budget: BudgetOption = 120,
    threshold: ThresholdOption = None,
    thresholds: ThresholdsOption = None,
    output_format: ComparisonFormatOption = ComparisonFormat.table,
    output: OutputOption = None,
    markdown: MarkdownOption = None,
    junit: JunitOption = None,
    picture: PictureOption = None,
    record: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all samples there, as JSON.")] = None,
) -> None:
    """Measure two versions live, side by side, and say whether one is slower: the gate for continuous integration.

    Fresh processes of both run in lockstep, with a second process of the base as a control. A change is measured a
    second time before it is reported. Exit code 0: no regression; 1: regression; 3: cannot tell.
    """
    from vlbench.regression.compare.outcomes import EXIT_CODES
    from vlbench.regression.live.run import compare_live, start_workers
    from vlbench.regression.live.sides import open_sides

    request = live_request(
        models=models,
        callables=callables,
        device=device,
        precision=precision,
        backend=backend,
        scope=scope,
        batch=batch,
        l2=l2,
        image=image,
        text=text,
        image_size=image_size,
        text_tokens=text_tokens,
        threads=threads,
        budget=budget,
        threshold=threshold,
        thresholds=thresholds,
    )
    check_files(output=output, markdown=markdown, junit=junit, picture=picture, record=record)
    sides = open_sides(
        base,
        head,
        base_options=parse_options("--base-option", base_option or []),
        head_options=parse_options("--head-option", head_option or []),
    )
    try:
        with sides as (first, second), start_workers(request, first, second) as workers:
            live = compare_live(request, first, second, workers, show_progress)
    except WorkerError as error:
        clear_progress()
        print_error(str(error))
        verdict: Overall = "regression" if isinstance(error, HeadError) else "cannot tell"
        raise typer.Exit(EXIT_CODES[verdict]) from error
    clear_progress()
    if record:
        write_text(record, live.model_dump_json(by_alias=True))
    write_comparison(live.comparison, output_format, output, picture)
    write_files(live.comparison, markdown=markdown, junit=junit, picture=picture)
    if live.comparison.exit_code:
        raise typer.Exit(live.comparison.exit_code)


def parse_options(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """Settings from `threads=1` and the like. Raises InputError for an option that `run` does not have."""
    from vlbench.errors import nearest

    options: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not value:
            raise InputError(f"{option} {text}: not NAME=VALUE; threads=1 works")
        if name not in OPTIONS:
            raise InputError(f"{option} {text}: no option {name!r} here; {nearest(name, OPTIONS)}")
        try:
            options[name.replace("-", "_")] = OPTIONS[name](value)
        except ValueError as error:
            raise InputError(f"{option} {text}: {value!r} is not a valid {name}") from error
    return options


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


OPTIONS: dict[str, Callable[[str], Any]] = {
    "device": check_device,
    "precision": lambda text: PrecisionName(text).value,
    "backend": check_backend,
    "scope": lambda text: ScopeName(text).value,
    "batch": _count,
    "l2": lambda text: L2Name(text).value,
    "detector": lambda text: EngineName(text).value,
    "image": lambda text: str(Path(text).absolute()),
    "text": str,
    "image-size": parse_size,
    "text-tokens": _count,
    "threads": _count,
}
