"""`vlbench reproduce ablation-NAME`: trains what is missing, then tells how the arms stand."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vlbench.cli.options import SuiteFormat
from vlbench.cli.printing import print_wide
from vlbench.errors import InputError

if TYPE_CHECKING:
    from vlbench.suites.reader import LoadedAblation
    from vlbench.training.ablation.outcomes import AblationOutcome, Key
    from vlbench.training.ablation.planning import AblationRequest
    from vlbench.training.train import TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command says that an ablation heeds."""

    budget: str | None
    quick: bool
    device: str
    precision: str
    threads: int
    output: SuiteFormat
    figures: Path | None
    folder: Path


def make_folders(folders: Iterable[Path | None]) -> None:
    """So that one which cannot be written ends the command before anything is measured. Raises OSError."""
    for folder in filter(None, folders):
        folder.mkdir(parents=True, exist_ok=True)


def reproduce_ablations(suites: Sequence[LoadedAblation], options: Options) -> None:
    """Raises typer.Exit with 130 after Ctrl-C; what was trained by then is told, and kept."""
    from vlbench.training.ablation.planning import conditions, planned
    from vlbench.training.ablation.training import Trainings
    from vlbench.training.checkpoint import Interrupted
    from vlbench.training.progress import training_display

    wanted = _wanted(options)
    plans = {one.suite.name: planned(one, wanted, options.folder) for one in suites}
    said = conditions(suites, wanted)
    make_folders((options.figures, options.folder))
    outcomes: list[AblationOutcome] = []
    interrupted: Interrupted | None = None
    for one in suites:
        name, runs = one.suite.name, plans[one.suite.name]
        with training_display() as display:
            trainings = Trainings(runs, wanted, display.listener)
            _tell(name, runs, trainings.kept, options.folder)
            try:
                if interrupted is None:
                    trainings.train()
            except Interrupted as stop:
                interrupted = stop
        outcomes.append(_outcome(one, trainings.accuracy, wanted, said[name]))
    _print(outcomes, options)
    if interrupted is not None:
        print(f"interrupted: {interrupted}; the same command with --out {options.folder} goes on", file=sys.stderr)
        raise typer.Exit(130)


def _wanted(options: Options) -> AblationRequest:
    """Raises InputError where the command asks for what training does not do."""
    from vlbench.evaluation.processes import resolve_device
    from vlbench.training.ablation.planning import AblationRequest
    from vlbench.training.budget import parse_budget

    if options.precision not in ("fp32", "bf16"):
        raise InputError(f"--precision {options.precision}: ablations are trained in fp32 or bf16")
    return AblationRequest(
        budget=parse_budget(options.budget, "--train-budget") if options.budget else None,
        quick=options.quick,
        device=resolve_device(options.device),  # type: ignore[arg-type]
        precision=options.precision,  # type: ignore[arg-type]
        threads=options.threads,
    )


def _tell(name: str, runs: dict[Key, TrainingRun], kept: int, folder: Path) -> None:
    has = f", {kept} of them kept from {folder}" if kept else ""
    print(f"{name}: {len(runs)} trainings{has}", file=sys.stderr)


def _outcome(loaded: LoadedAblation, found: dict[Key, float], wanted: AblationRequest, said: str) -> AblationOutcome:
    from vlbench.training.ablation.outcomes import outcome_of
    from vlbench.training.ablation.planning import seeds_of

    seeds = seeds_of(loaded.suite, wanted)
    return outcome_of(loaded.suite, found, seeds=seeds, conditions=said, quick=wanted.quick)


def _print(outcomes: Sequence[AblationOutcome], options: Options) -> None:
    from vlbench.training.ablation.tables import WRITERS, render, save

    if options.output is SuiteFormat.table:
        print_wide(lambda width: render(outcomes, width))
    else:
        print(WRITERS[options.output.value](outcomes), end="")
    save(outcomes, options.folder)
    print(f"results: {options.folder}", file=sys.stderr)
    if options.figures:
        from vlbench.training.ablation.figure import draw

        draw(outcomes, options.figures)
