"""A timm model is trained like any other: at a preset's size, saved, read again, resumed and explained."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_shapes_training import FAMILIES, alone, run_of, stopping_in

from tests.command_line import vlbench
from tests.helpers import others_slow
from vlbench.architectures.build import build
from vlbench.evaluation.processes import Process
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog
from vlbench.tasks.shapes import items
from vlbench.training import loop
from vlbench.training.checkpoint import Interrupted
from vlbench.training.preset import read_preset, with_preset_sizes
from vlbench.training.train import train_one

SHORT = ["--batch", "16", "--workers", "0", "--threads", "1", "--no-latency"]


@pytest.fixture(autouse=True)
def _small_world(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setattr(items, "SCENES", {"test": 3, "val": 2, "train": 20})


def sized(name: str, preset: str) -> ModelSpec:
    return with_preset_sizes(catalog()[name], read_preset(preset), preset, vocabulary=100, answers=5)


def test_a_map_has_the_presets_pixels_and_the_files_size() -> None:
    visual = sized("pixelbert-convnext-tiny", "tiny").visual
    assert (visual.width, visual.pool_size, visual.stage) == (192, 1, 3)
    assert visual.model_args == {"depths": [1, 1, 2, 1], "dims": [16, 32, 64, 128]}
    assert sized("pixelbert-convnext-tiny", "base").visual.model_args == {}


def test_tokens_have_the_presets_patches_and_positions() -> None:
    visual = sized("vilt-vit-tiny", "small").visual
    assert (visual.width, visual.patch_size, visual.stage) == (384, 32, 0)
    assert visual.model_args == {"patch_size": 32, "img_size": 192}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "objectives"), [("vilt-vit-tiny", "vqa,itm,mlm,mpp"), ("pixelbert-convnext-tiny", "vqa")]
)
def test_trained_saved_evaluated_and_explained(tmp_path: Path, model: str, objectives: str) -> None:
    out = str(tmp_path / "out")
    trained = vlbench("train", "--models", model, *SHORT, "--budget", "64", "--objectives", objectives, "--out", out)
    assert trained.returncode == 0, trained.stderr
    folder = tmp_path / "out" / f"{model}-tiny"
    losses = [json.loads(line)["loss"] for line in (folder / "training.jsonl").read_text().splitlines()]
    assert losses
    assert torch.tensor(losses).isfinite().all()

    evaluated = vlbench(
        "eval", "--models", str(folder / "model.yaml"), "--task", "shapes", "--no-latency", "--threads", "1"
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert "model.safetensors" in evaluated.stdout

    Image.new("RGB", (150, 100), "red").save(tmp_path / "photo.png")
    words = ["--image", str(tmp_path / "photo.png"), "--text", "what is red ?", "--out", str(tmp_path / "figures")]
    explained = vlbench("explain", "--model", str(folder / "model.yaml"), *words, "--threads", "1")
    assert explained.returncode == 0, explained.stderr
    assert (tmp_path / "figures" / "attention.png").is_file()


@pytest.mark.parametrize("model", others_slow(["pixelbert-convnext-tiny", "vilt-vit-tiny"]))
def test_a_resumed_training_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setitem(FAMILIES, "grid", model)
    whole, cut = (run_of("grid", tmp_path / name, 64) for name in ("whole", "cut"))
    alone(whole)
    with pytest.raises(Interrupted):
        train_one(cut, process=Process(), listener_for=partial(stopping_in, f"{model}-tiny"))
    alone(cut)
    first, second = (build(run.trained_spec).state_dict() for run in (whole, cut))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
