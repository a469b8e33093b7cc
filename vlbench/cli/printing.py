"""How commands print tables, and say what they kept or drew."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.cli.options import Format
from vlbench.files.writing import replacing, write_pieces
from vlbench.system.console import print_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vlbench.runner.peaks import Peaks
    from vlbench.runner.records import Evaluation, Result
    from vlbench.tables.table import Table


def print_as(
    form: str, tables: Callable[[], Sequence[Table]], path: Path | None = None, **writers: Callable[[], Iterable[str]]
) -> None:
    """Prints tables, or writes them to a file: `table` for a terminal, other forms by `writers` or `vlbench.tables`.

    A writer gives the whole text, or its pieces.
    """
    if form == "table":
        from vlbench.tables.terminal import print_tables

        if path is None:
            print_tables(tables())
            return
        with replacing(path) as unfinished:
            print_tables(tables(), unfinished)
        return
    from vlbench.tables.writers import WRITERS

    text = writers[form]() if form in writers else WRITERS[form](tables())
    pieces = [text] if isinstance(text, str) else text
    if path:
        write_pieces(path, pieces)
    else:
        sys.stdout.writelines(pieces)


def print_kept(names: Sequence[str], folder: Path) -> None:
    if names:
        print_message(f"kept from {folder}: {', '.join(dict.fromkeys(names))}; name another --out to measure again")


def print_results(
    results: Sequence[Result], output: Format, more: Sequence[str] = (), peaks: Sequence[Peaks] = ()
) -> None:
    """`more` are further notes, `peaks` those of the results' folder."""
    from vlbench.report import tables

    if results:
        print_as(
            output.value,
            lambda: tables.result_tables(results, more, peaks),
            json=lambda: tables.results_json(results),
            csv=lambda: tables.results_csv(results, peaks),
        )


def print_sampled(folder: Path, evaluations: Sequence[Evaluation]) -> None:
    """Prints every result of a folder with its samples as JSON; one at a time is in memory.

    Raises InputError, before anything is printed, if a line is damaged.
    """
    from vlbench.report.accuracy import joined
    from vlbench.report.tables import results_json
    from vlbench.runner.reader import each_result

    for _ in each_result(folder):
        pass
    rows = (row for result in each_result(folder) for row in joined([result], evaluations))
    print_as("json", list, json=lambda: results_json(rows))


def print_evaluations(evaluations: Sequence[Evaluation], results: Sequence[Result], output: Format) -> None:
    from vlbench.report import accuracy

    if not evaluations:
        print_results(list(results), output)
        return
    cells = accuracy.by_execution(results)
    print_as(
        output.value,
        lambda: accuracy.accuracy_tables(evaluations, cells),
        json=lambda: accuracy.accuracy_json(evaluations, cells),
        csv=lambda: accuracy.accuracy_csv(evaluations, cells),
    )


def draw_frontier(results: Sequence[Result], evaluations: Sequence[Evaluation], folder: Path | None) -> None:
    """Draws into the folder, if there is one, and says what was drawn."""
    if folder is None:
        return
    from vlbench.report.frontier_figure import draw

    written = draw(results, evaluations, folder)
    names = ", ".join(path.stem for path in written if path.suffix == ".png")
    print_message(f"figures: {folder}: {names or 'none, as no model has both accuracy and latency'}")
