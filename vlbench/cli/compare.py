"""`vlbench compare BASE HEAD`. Exit codes: 0 no regression, 1 regression, 2 bad input, 3 cannot tell."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.printing import print_as
from vlbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlbench.regression.compare.outcomes import Comparison
    from vlbench.runner.records import Result


class ComparisonFormat(StrEnum):
    table = "table"
    markdown = "markdown"
    json = "json"
    junit = "junit"


ThresholdOption = Annotated[
    str | None,
    typer.Option(metavar="SHARE", help="The slowdown that must not slip through, 5% or 0.05; by default 5%."),
]
ThresholdsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="YAML: default: 5%, and models: {GLOB: 10%}.")
]
ComparisonFormatOption = Annotated[ComparisonFormat, typer.Option("--format", help="How the comparison is printed.")]
OutputOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there instead.")]
MarkdownOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there as Markdown, too.")]
JunitOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there as JUnit XML, too.")]
PictureOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it there, .png or .svg.")]


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The results folder to compare with.")],
    head: Annotated[Path, typer.Argument(metavar="HEAD", help="The results folder that may be slower.")],
    threshold: ThresholdOption = None,
    thresholds: ThresholdsOption = None,
    output_format: ComparisonFormatOption = ComparisonFormat.table,
    output: OutputOption = None,
    markdown: MarkdownOption = None,
    junit: JunitOption = None,
    picture: PictureOption = None,
    force: Annotated[bool, typer.Option("--force", help="Compare other machines and settings all the same.")] = False,
) -> None:
    """Compare each measurement of two results folders: faster, slower, same or unknown.

    The exit code is 0 if nothing regressed, 1 if something did, and 3 if that is unknown.
    """
    from vlbench.regression.compare import comparison as comparing
    from vlbench.regression.compare.outcomes import check_globs, thresholds_from

    allowed = thresholds_from(threshold, thresholds)
    check_files(output=output, markdown=markdown, junit=junit, picture=picture)
    before, after = _read(base), _read(head)
    check_globs(allowed, {result.model for result in [*before, *after]}, str(thresholds))
    found = comparing.compare(before, after, names=(str(base), str(head)), thresholds=allowed, force=force)
    write_comparison(found, output_format, output, picture)
    write_files(found, markdown=markdown, junit=junit, picture=picture)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def _read(folder: Path) -> list[Result]:
    from vlbench.runner.store import read_results

    results = read_results(folder)
    if not results:
        raise InputError(f"{folder}: holds no results yet")
    return results


def check_files(*, picture: Path | None, **others: Path | None) -> None:
    """Raises InputError, before anything is measured, where a file could not be written for want of its folder."""
    if picture:
        from vlbench.regression.compare.picture import check_picture

        check_picture(picture)
    for option, path in others.items():
        if path and not path.absolute().parent.is_dir():
            raise InputError(f"--{option} {path}: no folder {path.parent}; make it first")


def write_comparison(
    comparison: Comparison, output_format: ComparisonFormat, output: Path | None, picture: Path | None
) -> None:
    """Prints it, or writes it to `output`."""
    from vlbench.regression.compare.tables import comparison_tables

    print_as(output_format.value, lambda: comparison_tables(comparison), output, **_writers(comparison, picture))


def write_files(comparison: Comparison, *, markdown: Path | None, junit: Path | None, picture: Path | None) -> None:
    """Writes it in the other forms that were asked for."""
    for path, form in ((markdown, "markdown"), (junit, "junit")):
        if path:
            path.write_text(_writers(comparison, picture)[form](), encoding="utf-8")
    if picture:
        from vlbench.regression.compare.picture import draw

        draw(comparison, picture)


def _writers(comparison: Comparison, picture: Path | None) -> dict[str, Callable[[], str]]:
    from vlbench.regression.compare.tables import comparison_markdown

    def as_junit() -> str:
        from vlbench.regression.compare.junit import junit

        return junit(comparison)

    return {
        "json": comparison.to_json,
        "junit": as_junit,
        "markdown": lambda: comparison_markdown(comparison, str(picture) if picture else None),
    }
