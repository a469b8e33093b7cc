"""Ablations as tables: the accuracy of each arm over its seeds, what it gains on the reference, and in the papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlbench.files.writing import write_text
from vlbench.report.reproduction import suite_title
from vlbench.tables.numbers import ends
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.writers import to_json, to_markdown
from vlbench.training.ablation.arm_outcomes import AblationOutcome, ArmOutcome, Difference

QUICK = "Small settings (--quick): trained on a few hundred samples, under two seeds. It shows that everything runs."
SIGNS = {True: "same", False: "opposite", None: "open"}


def _spread(mean: str, deviation: float | None) -> str:
    """`61.2 ± 0.8`"""
    return mean if deviation is None else f"{mean} ± {deviation:.1f}"


def _difference(column: TableColumn[Difference]) -> TableColumn[ArmOutcome]:
    return column.of(lambda arm: arm.difference)


COLUMNS: tuple[TableColumn[ArmOutcome], ...] = (
    TableColumn("arm", lambda arm: arm.arm),
    TableColumn("accuracy %", lambda arm: None if arm.mean is None else _spread(f"{arm.mean:.1f}", arm.deviation), str),
    TableColumn("seeds", lambda arm: f"{len(arm.accuracy)} of {len(arm.accuracy) + len(arm.missing)}", str),
    _difference(TableColumn("points", lambda points: _spread(f"{points.mean:+.1f}", points.deviation), str)),
    _difference(TableColumn("95% interval", lambda points: points.interval, ends("{:+.1f}".format))),
    TableColumn("verdict", lambda arm: arm.verdict),
    TableColumn("paper's points", lambda arm: arm.reported[0].delta if arm.reported else None, "{:+.2f}".format),
    TableColumn("sign", lambda arm: SIGNS[arm.agrees] if arm.reported else None),
)
MODEL = TableColumn[ArmOutcome]("model", lambda arm: arm.model)


def ablation_tables(outcomes: Sequence[AblationOutcome]) -> list[Table]:
    """One table per suite, one row per arm and model; what is not trained yet is a gap."""
    return [
        Table.of(
            (*([MODEL] if len(outcome.suite.models) > 1 else []), *COLUMNS),
            outcome.arms,
            caption=suite_title(outcome.suite.name, outcome.suite.title, outcome.suite.source),
            style="bold",
            heading="### {}",
            notes=tuple(notes(outcome)),
        )
        for outcome in outcomes
    ]


def notes(outcome: AblationOutcome) -> list[str]:
    """Conditions, what intervals and verdicts mean, the papers' values, and what is missing."""
    lines = [outcome.conditions]
    lines.append(
        f"Points over {outcome.suite.reference!r}, paired by seed. ± is the standard deviation over seeds; the "
        "interval is Student's t, wide with few seeds. same: within one point of zero; unknown: more seeds are needed."
    )
    for arm in outcome.arms:
        lines += [
            f"{arm.arm}: {pair.metric} {pair.reference:g} to {pair.arm:g}, {pair.delta:+.2f} "
            f"({pair.paper}, {pair.where})"
            for pair in arm.reported
        ]
    missing = [f"{arm.model} {arm.arm}, seed {seed}" for arm in outcome.arms for seed in arm.missing]
    if missing:
        lines.append(f"Not trained yet: {'; '.join(missing)}")
    if outcome.suite.source.note:
        lines.append(outcome.suite.source.note.strip())
    return [*lines, QUICK] if outcome.quick else lines


def ablation_json(outcomes: Sequence[AblationOutcome]) -> str:
    """One object per suite, which holds one per arm and model."""
    return to_json({"ablations": [outcome.as_dict() for outcome in outcomes]})


def save(outcomes: Sequence[AblationOutcome], folder: Path) -> None:
    """Writes NAME.md and NAME.json of each suite. Raises OSError if the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        write_text(folder / f"{outcome.suite.name}.md", to_markdown(ablation_tables([outcome])))
        write_text(folder / f"{outcome.suite.name}.json", ablation_json([outcome]))
