"""What training leaves in its folder: the model with every head that was trained, and what `vlbench eval` reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vlbench.architectures.checkpoints.native import save_model, saved_spec
from vlbench.architectures.interfaces import Head
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.files.text import read_text
from vlbench.files.writing import write_text
from vlbench.files.yaml_files import to_yaml
from vlbench.specs import RANDOM, ModelSpec
from vlbench.specs.heads import PooledFeatureSpec, TaskHeads
from vlbench.tasks.registry import TASKS, Task
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.training.loop import TrainingResult
from vlbench.training.shapes_learner import Pretraining

MODEL, WEIGHTS = "model.yaml", "model.safetensors"


def trained_objectives(result: TrainingResult) -> set[str]:
    """The objectives that at least one step trained, which in a short training may be fewer than the recipe has."""
    return {name for point in result.history for name in point.loss_by_term}


def trained_model(spec: ModelSpec, objectives: Collection[str], folder: Path) -> ModelSpec:
    """The model as training saves it, with those heads alone that were trained; another would answer at random.

    Where no task's head was trained, the model gives the image's feature, which has no weights.
    """
    heads = TaskHeads(
        answers=spec.heads.answers if "vqa" in objectives else None,
        ranking=spec.heads.ranking if "itm" in objectives else None,
    )
    head = heads.answers or heads.ranking or PooledFeatureSpec(kind="pooled_feature", pooling="mean")
    return spec.model_copy(update={"head": head, "heads": heads, "weights": str(folder / WEIGHTS)})


def tasks_of(spec: ModelSpec, task: Task) -> list[Task]:
    """The tasks that a trained model has a head for: the one that it was trained on, and retrieval."""
    tasks = {"answers": task, "ranking": TASKS["shapes-retrieval"]}
    return [tasks[kind] for kind in spec.heads.declared()]


def save_trained(
    module: Pretraining, spec: ModelSpec, objectives: Collection[str], answers: Sequence[str], folder: Path
) -> None:
    """Writes the weights, then all other files; the model file comes last. Each is complete or not there.

    Raises InputError where one cannot be written.

    Args:
        module: the trained model with the heads of its objectives.
        spec: from `trained_model`.
        answers: of the classes of the head that answers.
    """
    model = module.model
    matching = module.heads["itm"] if "itm" in objectives else None
    assert matching is None or isinstance(matching, Head)
    head = model.head if "vqa" in objectives else matching
    whole = VLModel(text=model.text, visual=model.visual, interaction=model.interaction, head=head)
    further = _further_heads(module, objectives if "vqa" in objectives else set(objectives) - {"itm"})
    save_model(folder / WEIGHTS, whole, spec.model_copy(update={"weights": RANDOM}), further)
    try:
        for name, text in _texts(spec, answers).items():
            write_text(folder / name, text)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error


def is_saved(spec: ModelSpec, answers: Sequence[str], folder: Path) -> bool:
    """Whether the folder holds this model, whole and with all its files."""
    texts = _texts(spec, answers)
    try:
        written = {name: read_text(folder / name) for name in texts}
        return written == texts and saved_spec(str(folder / WEIGHTS)) is not None
    except InputError:
        return False


def _texts(spec: ModelSpec, answers: Sequence[str]) -> dict[str, str]:
    """The small files by name, in the order in which they are written."""
    labels = {"id2label": {str(index): answer for index, answer in enumerate(answers)}} if spec.heads.answers else {}
    content: dict[str, Any] = spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return {
        "vocab.txt": VOCABULARY.read_text(encoding="utf-8"),
        "config.json": json.dumps(labels, indent=1),
        MODEL: to_yaml(content),
    }


def _further_heads(module: Pretraining, objectives: Collection[str]) -> dict[str, Tensor]:
    """The tensors of the heads of trained objectives, but for weights that they share with the model."""
    trained = [f"heads.{name}." for name in module.heads if name in objectives or name == "region_mask"]
    of_heads = {name: tensor for name, tensor in module.named_parameters() if name.startswith(tuple(trained))}
    return {name.removeprefix("heads."): tensor for name, tensor in of_heads.items()}
