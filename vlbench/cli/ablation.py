"""`vlbench reproduce ablation-NAME`: trains the runs that are missing, then compares the arms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vlbench.cli.options import SuiteFormat
from vlbench.cli.printing import print_as
from vlbench.errors import InputError, device_errors_in_one_line
from vlbench.system.console import print_message

if TYPE_CHECKING:
    from vlbench.suites.reader import LoadedAblation
    from vlbench.training.ablation.arm_outcomes import AblationOutcome, ArmKey
    from vlbench.training.ablation.arms import AblationRequest
    from vlbench.training.train import TrainingRun


LESS_MEMORY = "--quick or --device cpu needs less of it"
RESUMES = "; the same command with --out {} resumes"


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationOptions:
    """The options of `vlbench reproduce` that apply to ablations."""

    budget: str | None
    quick: bool
    device: str
    precision: str
    threads: int
    output: SuiteFormat
    figures: Path | None
    folder: Path


def make_folders(folders: Iterable[Path | None]) -> None:
    """Makes them first, so that a folder that cannot be written ends the command at once. Raises OSError."""
    for folder in filter(None, folders):
        folder.mkdir(parents=True, exist_ok=True)


def reproduce_ablations(suites: Sequence[LoadedAblation], options: AblationOptions) -> None:
    """Trains and prints the suites. After Ctrl-C it prints what is finished, and raises typer.Exit with 130."""
    from vlbench.training.ablation.arms import conditions, planned_runs
    from vlbench.training.ablation.train_arms import ArmTrainings
    from vlbench.training.checkpoint import Interrupted
    from vlbench.training.progress import training_display

    request = _request(options)
    runs_of = {loaded.suite.name: planned_runs(loaded, request, options.folder) for loaded in suites}
    conditions_of = conditions(suites, request)
    make_folders((options.figures, options.folder))
    outcomes: list[AblationOutcome] = []
    interrupted: Interrupted | None = None
    for loaded in suites:
        name = loaded.suite.name
        with training_display() as display:
            trainings = ArmTrainings(runs_of[name], request, display.listener)
            _print_kept(name, runs_of[name], trainings.kept, options.folder)
            try:
                if interrupted is None:
                    with device_errors_in_one_line(LESS_MEMORY, lambda: RESUMES.format(options.folder)):
                        trainings.train()
            except Interrupted as error:
                interrupted = error
        outcomes.append(_outcome(loaded, trainings.accuracies, request, conditions_of[name]))
    _print(outcomes, options)
    if interrupted is not None:
        print_message(f"interrupted: {interrupted}{RESUMES.format(options.folder)}")
        raise typer.Exit(130)


def _request(options: AblationOptions) -> AblationRequest:
    """Raises InputError for a budget, a device or a precision that cannot be used."""
    from vlbench.evaluation.processes import compute_device
    from vlbench.evaluation.workers import training_workers
    from vlbench.training.ablation.arms import AblationRequest
    from vlbench.training.budget import parse_budget

    if options.precision not in ("fp32", "bf16"):
        raise InputError(f"--precision {options.precision}: ablations are trained in fp32 or bf16")
    device = compute_device(options.device)
    return AblationRequest(
        budget=parse_budget(options.budget, "--train-budget") if options.budget else None,
        quick=options.quick,
        device=device,
        precision=options.precision,  # type: ignore[arg-type]
        threads=options.threads,
        workers=training_workers(device, options.threads),
    )


def _print_kept(name: str, runs: dict[ArmKey, TrainingRun], kept: int, folder: Path) -> None:
    note = f", {kept} of them kept from {folder}" if kept else ""
    print_message(f"{name}: {len(runs)} trainings{note}")


def _outcome(
    loaded: LoadedAblation, accuracies: dict[ArmKey, float], request: AblationRequest, conditions: str
) -> AblationOutcome:
    from vlbench.training.ablation.arm_outcomes import outcome_of
    from vlbench.training.ablation.arms import seeds_of

    seeds = seeds_of(loaded.suite, request)
    return outcome_of(loaded.suite, accuracies, seeds=seeds, conditions=conditions, quick=request.quick)


def _print(outcomes: Sequence[AblationOutcome], options: AblationOptions) -> None:
    from vlbench.training.ablation.tables import ablation_json, ablation_tables, save

    print_as(options.output.value, lambda: ablation_tables(outcomes), json=lambda: ablation_json(outcomes))
    save(outcomes, options.folder)
    print_message(f"results: {options.folder}")
    if options.figures:
        from vlbench.training.ablation.ablation_figure import draw

        draw(outcomes, options.figures)
