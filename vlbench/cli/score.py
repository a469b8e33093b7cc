"""`vlbench score`: scores a file of predictions by its benchmark's own metrics."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.tasks.registry import TASKS, Task, task_named

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    print(to_json(result) if output_format is ScoreFormat.json else to_table(result), end="")


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


def to_json(score: Score) -> str:
    import json
    from dataclasses import asdict

    return json.dumps({"schema": 1, **asdict(score)}, indent=1) + "\n"


def to_table(score: Score) -> str:
    """Percent with 95% intervals; blind baselines below a blank line."""
    count = f"{score.n:,}" if score.n == score.items_total else f"{score.n:,} of {score.items_total:,}"
    lines = [f"{score.task} {score.split}: {count} scored; percent, bootstrap 95% interval", ""]
    width = max(len(metric.name) for metric in (*score.metrics, *score.baselines))
    lines += _lines(score.metrics, width)
    if score.baselines:
        lines += ["", "blind baselines", *_lines(score.baselines, width)]
    return "\n".join(lines) + "\n"


def _lines(metrics: Sequence[Metric], width: int) -> list[str]:
    return [
        f"{metric.name:<{width}}  {100 * metric.value:6.2f}  {_interval(metric):>16}  n {metric.n:,}"
        for metric in metrics
    ]


def _interval(metric: Metric) -> str:
    return f"[{100 * metric.ci95[0]:.2f}, {100 * metric.ci95[1]:.2f}]" if metric.ci95 else "-"
