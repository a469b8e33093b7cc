"""Trains one architecture at a preset's sizes on the generated world: its detector first, if it has one. Sets the
random weights to train from, and records what training cost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import nn

from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.native import save_model
from vlbench.architectures.count import count
from vlbench.architectures.patch import PatchEmbedder
from vlbench.architectures.region import RegionEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.evaluation.processes import Process
from vlbench.runner.records import Training
from vlbench.specs import ModelSpec
from vlbench.tasks.items import Item
from vlbench.tasks.registry import Task
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.training.budget import FORWARDS_A_STEP, Budget, Spent
from vlbench.training.checkpoint import CHECKPOINT
from vlbench.training.detection import DetectionSettings, DetectorLearner, LabelledImages
from vlbench.training.item_samples import ItemStream
from vlbench.training.learner import Losses, Stream
from vlbench.training.loop import Trained, train
from vlbench.training.presets import Preset
from vlbench.training.progress import TrainingListener
from vlbench.training.recipe import Recipe
from vlbench.training.samples import ShapesStream, TrainingSamples, normalised
from vlbench.training.settings import TrainingSettings
from vlbench.training.shapes_learner import ShapesLearner


def recorded(
    phases: Mapping[str, Trained], settings: TrainingSettings, *, preset: str, device: str, process: Process
) -> Training:
    """Of all phases in their order, the last of which trained the model itself with these settings.

    MACs are None where those of a phase are not known, rather than too few.
    """
    spent = [one.spent for one in phases.values()]
    return Training(
        preset=preset,
        samples=spent[-1].samples,
        steps=spent[-1].steps,
        batch=settings.batch,
        seconds=sum(one.seconds for one in spent),
        seconds_by_phase={name: one.spent.seconds for name, one in phases.items()},
        macs=sum(one.macs for one in spent) if all(one.macs for one in spent) else None,
        seed=settings.seed,
        device=device,
        precision=settings.precision,
        processes=process.world,
        threads=settings.threads,
    )


POSITIONS = 0.3  # of a patch, about as large as what its pixels give


@torch.no_grad()
def draw_first_weights(model: VLModel, seed: int) -> None:
    """Weights of the interaction and the head that keep the scale of what they read (Glorot and Bengio 2010).

    BERT's 0.02 does so at a width of 2,500 only: at 192 all attention begins even, and a model guesses from what an
    image holds at all long before it looks at a place. Positions of patches begin as large as patches for the same
    reason.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in (model.interaction, model.head):
        for module in part.modules() if part is not None else ():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, module.in_features**-0.5, generator=generator)
    if isinstance(model.visual, PatchEmbedder):
        model.visual.positions.normal_(0, POSITIONS, generator=generator)


MODEL, WEIGHTS = "model.yaml", "model.safetensors"
DETECTOR_STEPS = ("visual.backbone", "visual.fpn", "visual.rpn", "visual.roi_head", "visual.nms")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One model to be trained.

    Attributes:
        spec: at the preset's sizes, with random weights under the seed of training.
        folder: of its own, for the curve, the checkpoint and the trained model.
        task: what it is trained for, and evaluated by.
        answers: to choose from, in the order of the classes.
        items: of the task's training split; none of the generated world, whose samples have no end.
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
        """The spec whose weights are those that training leaves in the folder."""
        return self.spec.model_copy(update={"weights": str(self.folder / WEIGHTS)})

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
            most_tokens=self.preset.text_tokens,
        )


def train_one(run: TrainingRun, *, process: Process, listen: Callable[[str], TrainingListener]) -> Training:
    """Trains, and leaves the model in its folder as `vlbench eval` reads it.

    What was trained before a kill is not trained again. Raises as `vlbench.training.loop.train`.

    Args:
        listen: makes who is told of a phase, by its name.
    """
    device = process.device(run.device)
    model = build(run.spec)
    assert isinstance(model, VLModel)
    draw_first_weights(model, run.spec.seed)
    model.to(device)
    own, whole = run.settings, macs_of_forward(run.spec)
    phases: dict[str, Trained] = {}
    if isinstance(model.visual, RegionEmbedder):
        phases["detector"] = _train_detector(run, model.visual, whole.detector, process, listen)
        own = run.settings.model_copy(update={"budget": run.settings.budget.after(counted(phases["detector"], run))})
    learner = ShapesLearner(model, run.spec, run.recipe, true_boxes=run.recipe.detector == "ground-truth")
    phases["training"] = train(
        learner,
        run.stream(),
        own,
        run.folder,
        process=process,
        listener=listen(run.spec.name),
        forward_macs=whole.rest + whole.detector / FORWARDS_A_STEP,
        identity=run.identity(),
    )
    if process.first and _is_newer(run.folder / CHECKPOINT, run.folder / MODEL):
        save(run, model)
    process.wait()
    return recorded(phases, own, preset=run.preset_name, device=run.device, process=process)


def _is_newer(path: Path, other: Path) -> bool:
    """Whether a file was written after another, or that is not there."""
    return not other.is_file() or path.stat().st_mtime_ns > other.stat().st_mtime_ns


def counted(phase: Trained, run: TrainingRun) -> Spent:
    """What a detector's training takes from the budget: all of it, but samples, of which each model sees as many."""
    spent = phase.spent
    return Spent(seconds=spent.seconds, macs=spent.macs) if run.settings.budget.kind in ("samples", "steps") else spent


def _train_detector(
    run: TrainingRun, visual: RegionEmbedder, macs: float, process: Process, listen: Callable[[str], TrainingListener]
) -> Trained:
    wanted = run.preset.detector
    samples = wanted.half_samples if run.recipe.detector == "half-trained" else wanted.samples
    changed = {"budget": Budget(amount=samples), "batch": wanted.batch, "learning_rate": wanted.learning_rate}
    settings = run.settings.model_copy(update=changed | {"accumulate": 1})
    found = train(
        DetectorPhase(visual, run),
        run.stream(),
        settings,
        run.folder / "detector",
        process=process,
        listener=listen(f"{run.spec.name}: detector"),
        forward_macs=macs,
        identity=run.identity(),
    )
    visual.freeze_detector()
    return found


class DetectorPhase:
    """The detector's training on the same samples."""

    def __init__(self, visual: RegionEmbedder, run: TrainingRun) -> None:
        wanted = run.preset.detector
        self.learner = DetectorLearner(
            visual,
            DetectionSettings(
                anchors=wanted.anchors,
                regions=wanted.regions,
                positive_regions=wanted.positive_regions,
                proposals=wanted.proposals,
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
    """Of one sample: those of a detector, and all others."""

    detector: float
    rest: float


def macs_of_forward(spec: ModelSpec) -> ForwardMacs:
    """Of one sample with a text of full length."""
    found = count(spec)
    detector = sum(found.macs_by_stage.get(step, 0) for step in DETECTOR_STEPS) if spec.family == "region" else 0
    return ForwardMacs(detector=float(detector), rest=float(found.macs - detector))


def save(run: TrainingRun, model: VLModel) -> None:
    """The weights, and beside them all that `vlbench eval --models FOLDER/model.yaml` needs."""
    save_model(run.folder / WEIGHTS, model, run.spec)
    shutil.copyfile(VOCABULARY, run.folder / "vocab.txt")
    labels = {"id2label": {str(place): answer for place, answer in enumerate(run.answers)}}
    (run.folder / "config.json").write_text(json.dumps(labels, indent=1), encoding="utf-8")
    content: dict[str, Any] = run.trained_spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    (run.folder / MODEL).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
