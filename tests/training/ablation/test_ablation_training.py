"""Ablations trained for a few steps: end to end, each run once, and resumed."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import typer

from tests.helpers import write_yaml
from vlbench.architectures.build import build
from vlbench.architectures.grid import GridEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.cli.ablation import AblationOptions, reproduce_ablations
from vlbench.cli.options import SuiteFormat
from vlbench.suites.reader import LoadedAblation, read_ablation
from vlbench.tasks.features import open_regions
from vlbench.tasks.shapes.items import image_path
from vlbench.tasks.shapes.scenes import scene_at
from vlbench.training import loop
from vlbench.training.ablation import train_arms
from vlbench.training.ablation.arms import AblationRequest, planned_runs
from vlbench.training.ablation.train_arms import ArmTrainings
from vlbench.training.ablation.true_boxes import write_true_regions
from vlbench.training.budget import Budget
from vlbench.training.progress import TrainingListener, TrainingProgress
from vlbench.training.samples import ShapesStream, normalised
from vlbench.training.shapes_learner import ShapesLearner

TINIER = {"transformer.width": 32, "transformer.layers": 1, "transformer.heads": 2, "transformer.mlp_width": 32}
REQUEST = AblationRequest(budget=Budget(amount=32), quick=True, device="cpu", precision="fp32", threads=1, workers=0)


pytestmark = pytest.mark.usefixtures("one_thread", "few_scenes")


def suite(folder: Path, model: str = "vilt-b32", **changes: object) -> LoadedAblation:
    """Two arms of a model smaller than tiny."""
    content = {
        "name": "ablation-small",
        "kind": "ablation",
        "title": "Two ways",
        "source": {"paper": "none"},
        "models": [model],
        "budget": 32,
        "set": TINIER | {"batch": 16, "detector.samples": 32, "detector.half_samples": 16, "detector.batch": 16},
        "reference": "plain",
        "arms": [{"label": "plain"}, {"label": "changed", "recipe": {"augmentation": True}}],
    }
    return read_ablation(write_yaml(folder / "ablation-small.yaml", content | changes))


def options(folder: Path, **changes: object) -> AblationOptions:
    own: dict = {"budget": "32", "quick": True, "device": "cpu", "precision": "fp32", "threads": 1}
    own |= {"output": SuiteFormat.table, "figures": None, "folder": folder}
    return AblationOptions(**own | changes)


def silent(_name: str) -> TrainingListener:
    return TrainingListener()


def trainings(loaded: LoadedAblation, folder: Path) -> ArmTrainings:
    return ArmTrainings(planned_runs(loaded, REQUEST, folder), REQUEST, silent)


def test_a_suite_end_to_end_then_again(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, out = suite(tmp_path), tmp_path / "out"
    reproduce_ablations([loaded], options(out, figures=tmp_path / "drawn"))
    first = capsys.readouterr()
    assert "ablation-small: 4 trainings" in first.err
    assert "2 of 2" in first.out
    assert {path.name for path in out.iterdir()} == {"ablation-small.md", "ablation-small.json", "runs"}
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"ablation-small.png", "ablation-small.svg"}
    evaluations = trainings(loaded, out).evaluations
    assert {(arm, seed) for _, arm, seed in evaluations} == {
        (arm, seed) for arm in ("plain", "changed") for seed in (0, 1)
    }
    for (_, _, seed), evaluation in evaluations.items():
        assert evaluation.training is not None
        assert (evaluation.training.seed, evaluation.training.samples) == (seed, 32)
        assert (evaluation.accuracy.task, evaluation.accuracy.split, evaluation.items) == ("shapes", "test", 200)

    monkeypatch.setattr(train_arms, "train_one", None)  # whoever trains again fails
    reproduce_ablations([loaded], options(out))
    second = capsys.readouterr()
    assert "4 of them kept from" in second.err
    assert second.out == first.out


def test_a_changed_arm_is_trained_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    trainings(suite(tmp_path), out).train()
    arms = [{"label": "plain"}, {"label": "changed", "recipe": {"alignment": 0.1, "shares": {"vqa": 1, "itm": 1}}}]
    again = trainings(suite(tmp_path, arms=arms), out)
    assert {arm for _, arm, _ in again.evaluations} == {"plain"}


def test_ctrl_c_keeps_what_is_trained_and_shows_the_rest_as_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    plain = train_arms.train_one
    begun = []

    def stopped_in_the_third(run, *, process, listener_for):
        begun.append(run)
        return plain(
            run, process=process, listener_for=partial(_stopping, listener_for) if len(begun) == 3 else listener_for
        )

    monkeypatch.setattr(train_arms, "train_one", stopped_in_the_third)
    with pytest.raises(typer.Exit) as ended:
        reproduce_ablations([suite(tmp_path)], options(tmp_path / "out", budget="48"))
    printed = capsys.readouterr()
    assert ended.value.exit_code == 130
    assert "Not trained yet: vilt-b32 plain, seed 1; vilt-b32 changed, seed 1" in printed.out
    assert "resumes" in printed.err
    monkeypatch.setattr(train_arms, "train_one", plain)
    reproduce_ablations([suite(tmp_path)], options(tmp_path / "out", budget="48"))
    printed = capsys.readouterr()
    assert "2 of them kept" in printed.err
    assert "resumes after 32 samples" in printed.err
    assert "Not trained yet" not in printed.out


def _stopping(listener_for, name: str) -> TrainingListener:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.spent.steps == 1:
            signal.raise_signal(signal.SIGINT)

    return TrainingListener(on_progress=interrupt, on_message=listener_for(name).on_message)


def test_true_boxes_stand_in_for_the_detector_in_training_and_test(tmp_path: Path) -> None:
    arms = [{"label": "plain"}, {"label": "true", "recipe": {"detector": "ground-truth"}}]
    scenes_as_tested = {"stages": [{"start": 0}]}
    loaded = suite(tmp_path, "uniter-base", arms=arms, seeds=[3], recipe=scenes_as_tested)
    arm_trainings = trainings(loaded, tmp_path / "out")
    arm_trainings.train()
    plain, true = (arm_trainings.evaluations["uniter-base", label, 3] for label in ("plain", "true"))
    assert (plain.region_source, true.region_source) == ("detector", "precomputed")

    run = arm_trainings.runs["uniter-base", "true", 3]
    model = build(run.trained_spec)
    assert isinstance(model, VLModel)
    learner = ShapesLearner(model.eval(), run.spec, run.recipe, true_boxes=True)
    stream = run.stream()
    assert isinstance(stream, ShapesStream)
    batch = stream.batch(0, 4)
    regions_read = learner.visual_input(batch)
    scenes = [stream.scene(sample) for sample in range(4)]
    paths = [image_path("train", scene.index) for scene in scenes]
    write_true_regions(run, paths, tmp_path / "regions.tsv")
    regions = open_regions(tmp_path / "regions.tsv")
    for row, (path, scene) in enumerate(zip(paths, scenes, strict=True)):
        precomputed = regions.read(path.stem)
        assert scene_at("train", scene.index).things == scene.things
        assert (precomputed.height, precomputed.width) == (128, 128)
        assert np.array_equal(precomputed.boxes, np.array([thing.box for thing in scene.things], dtype=np.float32))
        features = regions_read.features[row, : len(scene.things)].numpy()  # type: ignore[union-attr]
        assert np.allclose(precomputed.features, features, atol=1e-4)


def test_sampled_pixels_reach_the_grid_while_it_is_trained(tmp_path: Path) -> None:
    arms = [{"label": "plain"}, {"label": "some", "recipe": {"sampled_pixels": 6}}]
    runs = planned_runs(suite(tmp_path, "pixelbert-r50", arms=arms), REQUEST, tmp_path)
    counts = []
    for label in ("plain", "some"):
        run = runs["pixelbert-r50", label, 0]
        model = build(run.spec)
        assert isinstance(model, VLModel)
        assert isinstance(model.visual, GridEmbedder)
        images = normalised(run.stream().batch(0, 2).pixels, run.spec)
        counts.append([model.visual.train(mode)(images).values.shape[1] for mode in (True, False)])
    assert counts == [[16, 16], [6, 16]]
