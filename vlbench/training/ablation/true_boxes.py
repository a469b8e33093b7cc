"""Precomputed regions at the true boxes of things, instead of those of a detector."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vlbench.architectures.build import build
from vlbench.architectures.region import RegionEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.files.writing import write_text
from vlbench.tasks.shapes.drawing import draw
from vlbench.tasks.shapes.items import generated_scene
from vlbench.tasks.shapes.scenes import Scene
from vlbench.training.samples import normalised
from vlbench.training.train import TrainingRun

BATCH = 64


def write_true_regions(run: TrainingRun, paths: Iterable[Path], file: Path) -> None:
    """Writes a TSV of regions (`vlbench.tasks.features`) at the true boxes of images of the generated world.

    Their features are those of the trained detector's head.

    Args:
        run: the finished training.
        paths: names of the images.
    """
    model = build(run.trained_spec)
    assert isinstance(model, VLModel)
    device = torch.device(run.device)
    visual = model.visual.to(device).eval()
    assert isinstance(visual, RegionEmbedder)
    lines = []
    images = list(paths)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        scenes = [_scene(path, run.preset.image_side) for path in batch]
        boxes = [torch.tensor([thing.box for thing in scene.things], dtype=torch.float32) for scene in scenes]
        pixels = torch.from_numpy(np.stack([draw(scene) for scene in scenes])).permute(0, 3, 1, 2)
        with torch.inference_mode():
            boxes_on_device = [boxes_T4.to(device) for boxes_T4 in boxes]
            regions = visual.regions(normalised(pixels.to(device), run.spec), boxes=boxes_on_device)
        features, region_boxes = regions.features.float().cpu().numpy(), regions.boxes.float().cpu().numpy()
        for row, path in enumerate(batch):
            count = len(boxes[row])
            lines.append(_line(path.stem, run.preset.image_side, region_boxes[row, :count], features[row, :count]))
    write_text(file, "".join(lines))


def _scene(path: Path, side: int) -> Scene:
    scene = generated_scene(path, side)
    assert scene is not None
    return scene


def _line(name: str, side: int, boxes: NDArray[np.float32], features: NDArray[np.float32]) -> str:
    """Ten fields; classes and attributes are empty, and every box has confidence 1."""
    count = len(boxes)
    confidence = np.ones(count, dtype=np.float32)
    fields = [name, str(side), str(side), "", _encoded(confidence), "", "", str(count)]
    return "\t".join([*fields, _encoded(boxes), _encoded(features)]) + "\n"


def _encoded(values: NDArray[np.float32]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.float32).tobytes()).decode()
