"""`vlbench score`: a predictions file by its benchmark's own metrics."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlbench.tasks.items import Metric
    from vlbench.tasks.registry import Task
    from vlbench.tasks.scoring import Score


class ScoreFormat(StrEnum):
    table = "table"
    json = "json"


TaskOption = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="TASK",
        help="vqav2, nlvr2, nlvr, easy-vqa, flickr30k, coco, shapes, shapes-pairs or shapes-retrieval.",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="The data set, in its official files; none for shapes, which is generated."
    ),
]
SplitOption = Annotated[str | None, typer.Option("--split", help="By default the one that papers report on.")]


def score(
    task: TaskOption,
    predictions: Annotated[Path, typer.Option(metavar="FILE", help="In the benchmark's submission format.")],
    data: DataOption = None,
    split: SplitOption = None,
    partial: Annotated[bool, typer.Option("--partial", help="Score what is there, though predictions miss.")] = False,
    output_format: Annotated[
        ScoreFormat, typer.Option("--format", help="How the score is printed.")
    ] = ScoreFormat.table,
) -> None:
    """Score predictions as the official scorers do, with intervals, beside what is reached without looking.

    VQAv2, easy-VQA and shapes: JSON, [{"question_id": 1, "answer": "yes"}]. NLVR, NLVR2 and shapes-pairs: CSV,
    identifier,True. Retrieval: a .npy matrix of texts x images in the split's order.
    """
    from vlbench.tasks.registry import task_named

    chosen = task_named(task)
    found = scored(chosen, chosen.folder(data), split or chosen.splits[0], predictions, partial=partial)
    print(to_json(found) if output_format is ScoreFormat.json else to_table(found), end="")


def scored(task: Task, data: Path, split: str, path: Path, *, partial: bool) -> Score:
    """Reads the split and the predictions, and scores these. Raises InputError where they do not fit together."""
    from vlbench.tasks import predictions as files
    from vlbench.tasks.scoring import score_gallery, score_items

    if task.kind == "retrieval":
        gallery = task.gallery(data, split)
        return score_gallery(task, split, gallery, files.read_scores(path, gallery))
    items = task.items(data, split)
    read = files.read_labels if task.kind == "statement" else files.read_answers
    given = read(path)
    present = files.check_complete(path, given, items, partial=partial)
    return score_items(task, split, present, given, of=len(items), training=task.training_items(data, split))


def to_json(found: Score) -> str:
    import json
    from dataclasses import asdict

    return json.dumps({"schema": 1, **asdict(found)}, indent=1) + "\n"


def to_table(found: Score) -> str:
    """Percent with 95% intervals; baselines below a blank line."""
    counted = f"{found.n:,}" if found.n == found.of else f"{found.n:,} of {found.of:,}"
    lines = [f"{found.task} {found.split}: {counted} scored; percent, bootstrap 95% interval", ""]
    width = max(len(metric.name) for metric in (*found.metrics, *found.baselines))
    lines += _lines(found.metrics, width)
    if found.baselines:
        lines += ["", "without looking", *_lines(found.baselines, width)]
    return "\n".join(lines) + "\n"


def _lines(metrics: Sequence[Metric], width: int) -> list[str]:
    return [
        f"{metric.name:<{width}}  {100 * metric.value:6.2f}  {_interval(metric):>16}  n {metric.n:,}"
        for metric in metrics
    ]


def _interval(metric: Metric) -> str:
    return f"[{100 * metric.ci95[0]:.2f}, {100 * metric.ci95[1]:.2f}]" if metric.ci95 else "-"
