"""`vlbench score`: scores a file of predictions by its benchmark's own metrics."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.printing import print_as
from vlbench.tasks.registry import TASKS, Task, task_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlbench.tables.table import Table, TableColumn
    from vlbench.tasks.items import Metric
    from vlbench.tasks.scoring import Score


class ScoreFormat(StrEnum):
    table = "table"
    json = "json"


TaskOption = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="TASK",
        help=f"{', '.join(list(TASKS)[:-1])} or {list(TASKS)[-1]}.",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Folder of the data set's official files; leave it out for generated shapes."
    ),
]
SplitOption = Annotated[str | None, typer.Option("--split", help="Default: the split that papers report.")]


def score(
    task: TaskOption,
    predictions: Annotated[
        Path, typer.Option(metavar="FILE", help="Predictions in the benchmark's submission format.")
    ],
    data: DataOption = None,
    split: SplitOption = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Score the items that have a prediction if others have none.")
    ] = False,
    output_format: Annotated[ScoreFormat, typer.Option("--format", help="Output format.")] = ScoreFormat.table,
) -> None:
    """Score predictions as the official scorers do, with intervals, next to blind baselines.

    VQAv2, easy-VQA and shapes: JSON, [{"question_id": 1, "answer": "yes"}]. NLVR, NLVR2 and shapes-pairs: CSV,
    identifier,True. Retrieval: a .npy matrix of texts x images in the split's order.
    """
    chosen = task_named(task)
    result = scored(chosen, chosen.folder(data), split or chosen.splits[0], predictions, partial=partial)
    print_as(output_format.value, lambda: score_tables(result), json=lambda: score_json(result))


def scored(task: Task, data: Path, split: str, path: Path, *, partial: bool) -> Score:
    """Reads a split and predictions for it, and scores them. Raises InputError if they do not fit together."""
    from vlbench.tasks.kinds import RULES
    from vlbench.tasks.predictions import check_complete, read_scores
    from vlbench.tasks.scoring import score_gallery, score_items

    if task.has_gallery:
        gallery = task.gallery(data, split)
        return score_gallery(task, split, gallery, read_scores(path, gallery))
    items = task.items(data, split)
    predictions = RULES[task.kind].read(path)
    predicted = check_complete(path, predictions, items, partial=partial)
    training = task.training_items(data, split)
    return score_items(task, split, predicted, predictions, items_total=len(items), training=training)


def score_json(score: Score) -> str:
    from dataclasses import asdict

    from vlbench.tables.writers import to_json

    return to_json({"schema": 1, **asdict(score)})


def score_tables(score: Score) -> list[Table]:
    """Percent with 95% intervals; then the same of blind baselines."""
    from vlbench.tables.numbers import ends
    from vlbench.tables.table import Table, TableColumn

    percent: Callable[[float], str] = lambda share: f"{100 * share:.2f}"  # noqa: E731
    columns: tuple[TableColumn[Metric], ...] = (
        TableColumn("metric", lambda metric: metric.name),
        TableColumn("%", lambda metric: metric.value, percent),
        TableColumn("95% interval", lambda metric: metric.ci95, ends(percent)),
        TableColumn("n", lambda metric: metric.n, "{:,}".format),
    )
    count = f"{score.n:,}" if score.n == score.items_total else f"{score.n:,} of {score.items_total:,}"
    caption = f"{score.task} {score.split}: {count} scored; percent, 95% interval"
    blind = [Table.of(columns, score.baselines, caption="blind baselines")] if score.baselines else []
    return [Table(caption=caption), Table.of(columns, score.metrics), *blind]
