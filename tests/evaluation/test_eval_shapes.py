"""`vlbench eval` and `vlbench score` on the generated tasks, which have no files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.helpers import tiny, write_yaml
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.native import save_model
from vlbench.architectures.region import RegionEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.cli.main import app
from vlbench.errors import InputError
from vlbench.evaluation import split as split_module
from vlbench.evaluation.images import preprocessed
from vlbench.evaluation.split import EvaluationSettings, Split
from vlbench.inputs import normalised
from vlbench.report.accuracy import notes
from vlbench.runner.records import Evaluation
from vlbench.specs import Input, ModelSpec
from vlbench.tasks.registry import TASKS
from vlbench.tasks.shapes import items
from vlbench.tasks.shapes.drawing import draw
from vlbench.tasks.shapes.scenes import scene_at

GENERATED = ("shapes", "shapes-pairs", "shapes-retrieval")


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("test", 3), ("train", 10)):
        monkeypatch.setitem(items.SCENES, split, count)
    monkeypatch.setitem(items.SEARCHED, "test", 3)


def write_spec(spec: ModelSpec, folder: Path) -> Path:
    return write_yaml(folder / f"{spec.name}.yaml", spec.model_dump(mode="json", exclude_none=True))


def run(*arguments: object) -> dict:
    found = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    return content[0] if isinstance(content, list) else content


def evaluate(model: Path, task: str, out: Path) -> dict:
    quick = ("--device", "cpu", "--threads", "1", "--batch", "8", "--no-latency")
    return run("eval", "--models", model, "--task", task, "--out", out, *quick)


@pytest.mark.parametrize("task", GENERATED)
@pytest.mark.parametrize("name", ["vilt-b32", "uniter-base"])
def test_score_confirms_what_eval_reports(tmp_path: Path, task: str, name: str) -> None:
    found = evaluate(write_spec(tiny(name), tmp_path), task, tmp_path / "out")
    accuracy = found["accuracy"]
    scored = run("score", "--task", task, "--predictions", tmp_path / "out" / found["predictions"])
    assert scored["metrics"] == accuracy["metrics"]
    assert scored["baselines"] == accuracy["baselines"]
    assert 0 <= accuracy["shuffled_images"] <= 1
    assert found["detector_weights"] == ("random" if name == "uniter-base" else None)
    kept = evaluate(tmp_path / f"{tiny(name).name}.yaml", task, tmp_path / "out")
    assert kept["evaluation_hash"] == found["evaluation_hash"]


def test_statements_about_pairs_of_scenes_have_no_consistency(tmp_path: Path) -> None:
    right = "".join(f"{one.identifier},{one.answers[0]}\n" for one in items.statement_items("test"))
    (tmp_path / "right.csv").write_text(right)
    scored = run("score", "--task", "shapes-pairs", "--predictions", tmp_path / "right.csv")
    names = [metric["name"] for metric in scored["metrics"]]
    assert names[0] == "accuracy"
    assert scored["metrics"][0]["value"] == 1
    assert "consistency" not in names


def test_perfect_scores_have_perfect_recall(tmp_path: Path) -> None:
    gallery = items.gallery("test")
    scores = np.eye(len(gallery.images), dtype=np.float32)[list(gallery.image_of_text)]
    np.save(tmp_path / "scores.npy", scores)
    scored = run("score", "--task", "shapes-retrieval", "--predictions", tmp_path / "scores.npy")
    assert {metric["value"] for metric in scored["metrics"]} == {1}


@pytest.mark.parametrize("side", [128, 256])
def test_an_image_is_drawn_at_the_models_size(side: int) -> None:
    wanted = Input(image_size=(side, side))
    drawn = Image.fromarray(draw(scene_at("test", 3, side=side)))
    assert np.array_equal(preprocessed(items.image_path("test", 3), wanted), normalised(drawn, wanted))


@pytest.mark.parametrize("task", GENERATED)
def test_another_version_of_the_world_is_evaluated_again(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EvaluationSettings(task=TASKS[task], data=Path(), split="test")
    before = Split(settings).digest
    assert Split(settings).digest == before
    monkeypatch.setattr(split_module, "WORLD", split_module.WORLD + 1)
    assert Split(settings).digest != before


def test_only_tasks_with_files_need_a_folder() -> None:
    refused = {
        "nlvr2": ("--task nlvr2: needs its files; --data DIR names their folder", ()),
        "shapes": ("--data here: shapes is generated and reads no files; leave --data out", ("--data", "here")),
    }
    for task, (message, data) in refused.items():
        for command in (["score", "--predictions", "none.json"], ["eval", "--models", "vilt-b32"]):
            found = CliRunner().invoke(app, [*command, "--task", task, *data])
            assert isinstance(found.exception, InputError)
            assert str(found.exception) == message


@pytest.mark.parametrize("command", ["eval", "score"])
def test_help_names_every_task(command: str) -> None:
    words = " ".join(CliRunner().invoke(app, [command, "--help"]).stdout.split())
    assert all(task in words for task in TASKS)


def test_a_detector_that_was_trained_is_not_called_random(tmp_path: Path) -> None:
    spec = tiny("uniter-base").for_task("ranking")
    model = build(spec)
    assert isinstance(model, VLModel)
    assert isinstance(model.visual, RegionEmbedder)
    said = {}
    for state in ("random", "trained"):
        if state == "trained":
            model.visual.trust_weights()
        folder = tmp_path / state
        save_model(folder / "model.safetensors", model, spec)
        pieces = items.VOCABULARY.read_text().splitlines()[:100]  # no more than the tiny model has embeddings for
        (folder / "vocab.txt").write_text("\n".join(pieces))
        named = spec.model_copy(update={"weights": str(folder / "model.safetensors")})
        found = evaluate(write_spec(named, folder), "shapes-retrieval", folder / "out")
        assert found["detector_weights"] == state
        line = (folder / "out" / "evaluations.jsonl").read_text()
        said[state] = "detector has random" in "\n".join(notes([Evaluation.model_validate_json(line)], {}))
    assert said == {"random": True, "trained": False}
