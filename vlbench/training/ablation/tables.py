"""Ablations as tables: accuracy of each arm over its seeds, what it gains on the reference, and in the papers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from vlbench.markup import comments
from vlbench.report.tables import latex_table, markdown_table, rich_table
from vlbench.training.ablation.arm_outcomes import AblationOutcome, ArmOutcome

QUICK = "Small settings (--quick): trained on a few hundred samples, under two seeds. It shows that everything runs."
SIGNS = {True: "same", False: "opposite", None: "open"}
WIDEST = 200  # columns, where the output is no terminal


def frame_of(outcome: AblationOutcome) -> pd.DataFrame:
    """One row a model and arm; nothing where something is not trained yet."""
    rows = [_row(arm) for arm in outcome.arms]
    frame = pd.DataFrame(rows, dtype=object)
    absent = [] if any(arm.reported for arm in outcome.arms) else ["paper's points", "sign"]
    if len(outcome.suite.models) == 1:
        absent.append("model")
    return frame.drop(columns=absent)


def _row(arm: ArmOutcome) -> dict[str, object]:
    found = arm.difference
    paper = arm.reported[0] if arm.reported else None
    return {
        "model": arm.model,
        "arm": arm.arm,
        "accuracy %": None if arm.mean is None else spread(f"{arm.mean:.1f}", arm.deviation),
        "seeds": f"{len(arm.accuracy)} of {len(arm.accuracy) + len(arm.missing)}",
        "points": None if found is None else spread(f"{found.mean:+.1f}", found.deviation),
        "95% interval": None
        if found is None or found.interval is None
        else "{:+.1f} to {:+.1f}".format(*found.interval),
        "verdict": arm.verdict,
        "paper's points": f"{paper.delta:+.2f}" if paper else None,
        "sign": SIGNS[arm.agrees] if paper else None,
    }


def spread(shown: str, deviation: float | None) -> str:
    """`61.2 ± 0.8`"""
    return shown if deviation is None else f"{shown} ± {deviation:.1f}"


def title(outcome: AblationOutcome) -> str:
    source = outcome.suite.source
    where = ", ".join(filter(None, (source.paper, f"arXiv {source.arxiv}" if source.arxiv else "", source.where)))
    return f"{outcome.suite.name}: {outcome.suite.title} ({where})"


def notes(outcome: AblationOutcome) -> list[str]:
    """What must be known beside the figures: conditions, intervals, the papers' cells, what is missing."""
    lines = [outcome.conditions]
    lines.append(
        f"Points over {outcome.suite.reference!r}, paired by seed. ± is the standard deviation over seeds; the "
        "interval is Student's t, wide with few seeds. same: within a point of none; unknown: more seeds would tell."
    )
    for arm in outcome.arms:
        lines += [
            f"{arm.arm}: {one.metric} {one.reference:g} to {one.arm:g}, {one.delta:+.2f} ({one.paper}, {one.where})"
            for one in arm.reported
        ]
    missing = [f"{arm.model} {arm.arm}, seed {seed}" for arm in outcome.arms for seed in arm.missing]
    if missing:
        lines.append(f"Not trained yet: {'; '.join(missing)}")
    if outcome.suite.source.note:
        lines.append(outcome.suite.source.note.strip())
    return [*lines, QUICK] if outcome.quick else lines


def render(outcomes: Sequence[AblationOutcome], width: int | None = None) -> RenderableType:
    """For a terminal of `width` columns; None: any width."""
    parts: list[RenderableType] = []
    for outcome in outcomes:
        parts += [Text(title(outcome), style="bold"), rich_table(frame_of(outcome), width or WIDEST)]
        parts += [Text(line, style="dim", overflow="fold") for line in notes(outcome)]
        parts.append(Text(""))
    return Group(*parts)


def markdown(outcomes: Sequence[AblationOutcome]) -> str:
    parts = []
    for outcome in outcomes:
        parts += [f"### {title(outcome)}", markdown_table(frame_of(outcome))]
        parts.append("\n".join(f"- {line}" for line in notes(outcome)))
    return "\n\n".join(parts) + "\n"


def latex(outcomes: Sequence[AblationOutcome]) -> str:
    """booktabs tables; titles and notes as comments."""
    parts = []
    for outcome in outcomes:
        parts += [comments([title(outcome)]), latex_table(frame_of(outcome)), comments(notes(outcome))]
    return "\n".join(parts) + "\n"


def as_json(outcomes: Sequence[AblationOutcome]) -> str:
    """One object a suite, with one an arm and model in it."""
    return json.dumps({"ablations": [one.as_dict() for one in outcomes]}, indent=1, allow_nan=False) + "\n"


WRITERS: dict[str, Callable[[Sequence[AblationOutcome]], str]] = {
    "json": as_json,
    "markdown": markdown,
    "latex": latex,
}


def save(outcomes: Sequence[AblationOutcome], folder: Path) -> None:
    """Writes NAME.md and NAME.json of each suite. Raises OSError where the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        (folder / f"{outcome.suite.name}.md").write_text(markdown([outcome]), encoding="utf-8")
        (folder / f"{outcome.suite.name}.json").write_text(as_json([outcome]), encoding="utf-8")
