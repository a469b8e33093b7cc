"""Trains one model at a preset's sizes, its detector first if it has one, saves it and records the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.architectures.region import RegionEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.evaluation.processes import Process
from vlbench.runner.records import Training
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import read_spec
from vlbench.tasks.items import Item
from vlbench.tasks.registry import Task
from vlbench.training.budget import FORWARDS_PER_STEP, Budget, Spent
from vlbench.training.checkpoint import CHECKPOINT
from vlbench.training.detection import DetectionSettings, DetectorLearner, LabelledImages
from vlbench.training.item_samples import ItemStream
from vlbench.training.learner import Losses, Stream, TrainingSettings
from vlbench.training.loop import TrainingResult, train
from vlbench.training.preset import Preset
from vlbench.training.progress import TrainingListener
from vlbench.training.recipe import Recipe
from vlbench.training.samples import ShapesStream, TrainingSamples, normalised
from vlbench.training.shapes_learner import ShapesLearner
from vlbench.training.trained_model import MODEL, is_saved, save_trained, trained_model, trained_objectives


def training_record(
    phases: Mapping[str, TrainingResult], settings: TrainingSettings, *, preset: str, device: str, process: Process
) -> Training:
    """The record of all phases together. MACs are None, not too few, where those of one phase are unknown.

    Args:
        phases: in their order; the last is that of the model itself.
        settings: of the last phase.
    """
    spent = [phase.spent for phase in phases.values()]
    both = reduce(Spent.plus, spent)
    return Training(
        preset=preset,
        samples=spent[-1].samples,
        steps=spent[-1].steps,
        batch=settings.batch,
        seconds=both.seconds,
        seconds_by_phase={name: phase.spent.seconds for name, phase in phases.items()},
        macs=both.macs if all(phase.macs for phase in spent) else None,
        seed=settings.seed,
        device=device,
        precision=settings.precision,
        processes=process.world,
        threads=settings.threads,
        waiting_share=both.waiting_share,
    )


POSITION_SCALE = 0.3  # about the standard deviation of what a patch's pixels give


@torch.no_grad()
def draw_first_weights(model: VLModel, seed: int) -> None:
    """Weights of the interaction and the head that keep the scale of their input (Glorot and Bengio 2010).

    BERT's standard deviation of 0.02 does so at a width of 2,500. At a width of 192 attention would be uniform at
    first, and a model would learn which things an image holds long before where they are. For the same reason the
    positions of patches start with the scale of patches.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in (model.interaction, model.head):
        for module in part.modules() if part is not None else ():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, module.in_features**-0.5, generator=generator)
    positions = model.visual.learned_positions()
    if positions is not None:
        positions.normal_(0, POSITION_SCALE, generator=generator)


DETECTOR_STEPS = ("visual.backbone", "visual.fpn", "visual.rpn", "visual.roi_head", "visual.nms")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One model to be trained.

    Attributes:
        spec: at the preset's sizes, with random weights from the seed of training.
        folder: for the curve, the checkpoint and the trained model; no other run uses it.
        task: that it is trained for and evaluated on.
        answers: the possible answers, in the order of the classes.
        items: the task's training split; empty for the generated world, whose samples are endless.
    """

    spec: ModelSpec
    preset: Preset
    preset_name: str
    recipe: Recipe
    settings: TrainingSettings
    folder: Path
    device: Literal["cpu", "cuda"]
    task: Task
    answers: tuple[str, ...]
    items: tuple[Item, ...] = ()

    @property
    def trained_spec(self) -> ModelSpec:
        """The model as training saved it in the folder. Raises SpecError where it is not there, or damaged."""
        spec = read_spec(self.folder / MODEL)
        assert isinstance(spec, ModelSpec)
        return spec

    def identity(self) -> dict[str, str]:
        return {"model": self.spec.hash(), "recipe": self.recipe.model_dump_json(), "task": self.task.name}

    def stream(self) -> Stream:
        if self.items:
            return ItemStream(self.items, self.answers, self.spec.input, self.settings.seed)
        return ShapesStream(
            side=self.preset.image_side,
            seed=self.settings.seed,
            batch=self.settings.batch,
            recipe=self.recipe,
            max_tokens=self.preset.text_tokens,
        )


def train_one(run: TrainingRun, *, process: Process, listener_for: Callable[[str], TrainingListener]) -> Training:
    """Trains the model and saves it in its folder, from where `vlbench eval` reads it.

    A killed run resumes from its checkpoint. Raises as `vlbench.training.loop.train`.

    Args:
        listener_for: gives the listener of a phase, by the phase's name.
    """
    device = process.device(run.device)
    model = build(run.spec)
    assert isinstance(model, VLModel)
    draw_first_weights(model, run.spec.seed)
    model.to(device)
    settings, macs = run.settings, forward_macs(run.spec)
    phases: dict[str, TrainingResult] = {}
    if model.visual.detector is not None:
        assert isinstance(model.visual, RegionEmbedder)
        phases["detector"] = _train_detector(run, model.visual, macs.detector, process, listener_for)
        budget = settings.budget.after(counted_spending(phases["detector"], settings.budget))
        settings = settings.model_copy(update={"budget": budget})
    learner = ShapesLearner(model, run.spec, run.recipe, true_boxes=run.recipe.detector == "ground-truth")
    phases["training"] = train(
        learner,
        run.stream(),
        settings,
        run.folder,
        process=process,
        listener=listener_for(run.spec.name),
        forward_macs=macs.rest + macs.detector / FORWARDS_PER_STEP,  # a frozen detector has no backward pass
        identity=run.identity(),
    )
    if process.first:
        _save(run, learner, phases["training"], listener_for(run.spec.name))
    process.wait()
    return training_record(phases, settings, preset=run.preset_name, device=run.device, process=process)


def _save(run: TrainingRun, learner: ShapesLearner, result: TrainingResult, listener: TrainingListener) -> None:
    """Saves the model, unless the folder holds it already."""
    objectives = trained_objectives(result)
    spec = trained_model(run.spec, objectives, run.folder)
    is_new = _is_newer(run.folder / CHECKPOINT, run.folder / MODEL)
    if not is_new and is_saved(spec, run.answers, run.folder):
        return
    if not is_new:
        listener.on_message(f"{run.folder}: a file of the model is damaged; all are written again from {CHECKPOINT}")
    save_trained(learner.module, spec, objectives, run.answers, run.folder)


def _is_newer(path: Path, other: Path) -> bool:
    """Whether a file was written after another one, or the other one is missing."""
    return not other.is_file() or path.stat().st_mtime_ns > other.stat().st_mtime_ns


def counted_spending(phase: TrainingResult, budget: Budget) -> Spent:
    """What the detector's training takes from the budget: seconds and MACs, but no samples or steps.

    So every model is trained on the same number of samples.
    """
    spent = phase.spent
    return Spent(seconds=spent.seconds, macs=spent.macs) if budget.kind in ("samples", "steps") else spent


def _train_detector(
    run: TrainingRun,
    visual: RegionEmbedder,
    macs: float,
    process: Process,
    listener_for: Callable[[str], TrainingListener],
) -> TrainingResult:
    detector = run.preset.detector
    samples = detector.half_samples if run.recipe.detector == "half-trained" else detector.samples
    changes = {
        "budget": Budget(amount=samples),
        "batch": detector.batch,
        "learning_rate": detector.learning_rate,
        "accumulate": 1,
    }
    result = train(
        DetectorPhase(visual, run),
        run.stream(),
        run.settings.model_copy(update=changes),
        run.folder / "detector",
        process=process,
        listener=listener_for(f"{run.spec.name}: detector"),
        forward_macs=macs,
        identity=run.identity(),
    )
    visual.freeze_detector()
    return result


class DetectorPhase:
    """Trains the detector of a region model on the same stream of samples."""

    def __init__(self, visual: RegionEmbedder, run: TrainingRun) -> None:
        detector = run.preset.detector
        self.learner = DetectorLearner(
            visual,
            DetectionSettings(
                anchors=detector.anchors,
                regions=detector.regions,
                positive_regions=detector.positive_regions,
                proposals=detector.proposals,
            ),
        )
        self.spec = run.spec

    @property
    def module(self) -> nn.Module:
        return self.learner.module

    def losses(self, batch: TrainingSamples, generator: torch.Generator) -> Losses:
        device = next(self.module.parameters()).device
        images = normalised(batch.pixels.to(device, non_blocking=True), self.spec)
        return self.learner.losses(LabelledImages(images=images, boxes=batch.boxes, classes=batch.classes), generator)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardMacs:
    """MACs of one sample's forward pass, of the detector and of all other parts."""

    detector: float
    rest: float


def forward_macs(spec: ModelSpec) -> ForwardMacs:
    """For a text of full length."""
    counts = count(spec)
    detector = sum(counts.macs_by_stage.get(step, 0) for step in DETECTOR_STEPS) if spec.family == "region" else 0
    return ForwardMacs(detector=float(detector), rest=float(counts.macs - detector))
