"""Training on the generated world: samples, recipes, learners, and what a short training comes to."""

from __future__ import annotations

import dataclasses
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Tokens, whole_mask
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.evaluation.processes import Process
from vlbench.runner.records import Training
from vlbench.specs import ModelSpec
from vlbench.specs.base import RANDOM
from vlbench.specs.catalog import catalog, read_spec
from vlbench.tasks.registry import TASKS
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.tasks.shapes.language import ANSWERS, KINDS
from vlbench.tasks.wordpiece import WordPiece
from vlbench.training import loop
from vlbench.training.budget import Budget
from vlbench.training.checkpoint import Interrupted
from vlbench.training.learner import TrainingSettings
from vlbench.training.preset import PRESETS, Preset, read_preset, with_preset_sizes
from vlbench.training.progress import TrainingListener, TrainingProgress
from vlbench.training.recipe import OBJECTIVES, CurriculumStage, Recipe
from vlbench.training.samples import ShapesStream, TrainingSamples, normalised
from vlbench.training.shapes_learner import ShapesLearner
from vlbench.training.train import TrainingRun, draw_first_weights, forward_macs, train_one
from vlbench.training.trained_model import MODEL

PIECES = len(WordPiece(VOCABULARY))
FAMILIES = {"patch": "vilt-b32", "grid": "pixelbert-r50", "region": "uniter-base"}


pytestmark = pytest.mark.usefixtures("one_thread")


def preset() -> Preset:
    """Even smaller than `tiny`."""
    tiny = read_preset("tiny")
    transformer = tiny.transformer.model_copy(update={"width": 64, "layers": 2, "heads": 4, "mlp_width": 128})
    return tiny.model_copy(update={"transformer": transformer})


def spec_of(family: str) -> ModelSpec:
    return with_preset_sizes(catalog()[FAMILIES[family]], preset(), "tiny", vocabulary=PIECES, answers=len(ANSWERS))


def stream(*, batch: int = 16, **recipe: object) -> ShapesStream:
    return ShapesStream(side=128, seed=0, batch=batch, recipe=Recipe(**recipe), max_tokens=52)  # type: ignore[arg-type]


def learner(family: str, recipe: Recipe | None = None, *, true_boxes: bool = False) -> ShapesLearner:
    spec = spec_of(family)
    model = build(spec)
    assert isinstance(model, VLModel)
    draw_first_weights(model, 0)
    if family == "region":
        model.visual.trust_weights()  # type: ignore[operator]
        model.visual.freeze_detector()  # type: ignore[operator]
    return ShapesLearner(model, spec, recipe or Recipe(), true_boxes=true_boxes)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(first: TrainingSamples, second: TrainingSamples) -> bool:
    def tensors(samples: TrainingSamples) -> list[torch.Tensor]:
        texts = [samples.questions.ids, samples.captions.ids]
        return [samples.pixels, samples.answers, *texts, *samples.boxes, *samples.classes]

    return all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))


def test_seeds_give_identical_batches() -> None:
    assert same(stream().batch(32, 8), stream().batch(32, 8))
    assert not torch.equal(stream().batch(0, 8).pixels, stream().batch(8, 8).pixels)
    other = ShapesStream(side=128, seed=1, batch=16, recipe=Recipe(), max_tokens=52)
    assert not torch.equal(other.batch(32, 8).pixels, stream().batch(32, 8).pixels)


def test_a_batch_is_its_samples_however_it_is_cut() -> None:
    whole, parts = stream().batch(0, 8), [stream().batch(0, 3), stream().batch(3, 5)]
    assert torch.equal(whole.pixels, torch.cat([part.pixels for part in parts]))
    assert torch.equal(whole.answers, torch.cat([part.answers for part in parts]))
    assert {part.draw for part in parts} == {whole.draw}


def test_kinds_of_questions_take_turns_and_stages_follow_each_other() -> None:
    stages = (CurriculumStage(kinds=("colour",), most=2), CurriculumStage(start=70, kinds=KINDS))
    samples = stream(stages=stages)
    early = [samples.question(samples.scene(index), index).kind for index in range(70)]
    assert early.count("colour") > 60
    assert all(len(samples.scene(index).things) == 2 for index in range(70))
    late = [samples.question(samples.scene(index), index).kind for index in range(70, 140)]
    assert set(late) == set(KINDS)
    assert max(late.count(kind) for kind in KINDS) <= 14


def test_augmentation_leaves_questions_alone() -> None:
    plain, augmented = stream().batch(0, 8), stream(augmentation=True).batch(0, 8)
    assert not torch.equal(plain.pixels, augmented.pixels)
    assert torch.equal(plain.answers, augmented.answers)
    assert same(augmented, stream(augmentation=True).batch(0, 8))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "joint"])
def test_every_objective_of_a_family_has_a_loss_that_reaches_the_model(family: str, conditional: bool) -> None:
    recipe = Recipe(shares=dict.fromkeys(OBJECTIVES, 1.0), alignment=0.1, conditional=conditional)  # type: ignore[arg-type]
    training = learner(family, recipe)
    batch = stream(batch=4).batch(0, 4)
    shares = recipe.shares_for(family)
    of_family = {"patch": {"mpp"}, "grid": set(), "region": {"mrfr", "mrc", "mrc-kl"}}[family]
    assert set(shares) == {"vqa", "itm", "mlm"} | of_family
    reached = training.module.model.text.words.weight  # type: ignore[union-attr]
    for number, objective in enumerate(shares):
        training.module.zero_grad()
        draw = (number + 0.5) / len(shares)
        losses = training.losses(dataclasses.replace(batch, draw=draw), seeded())
        losses.total.backward()
        assert objective in losses.parts
        assert ("wpa" in losses.parts) == (objective == "itm")
        assert torch.isfinite(losses.total)
        assert reached.grad is not None
        assert reached.grad.abs().sum() > 0, objective


@pytest.mark.parametrize("family", FAMILIES)
def test_matching_and_alignment_follow_the_released_code_of_the_family(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ViLT: exactly half of a batch, and neither [CLS] nor [SEP]; UNITER: each text on its own, and every token."""
    seen: list[tuple[int, int, torch.Tensor]] = []

    def recorded(words: Tokens, image: Tokens, matches: torch.Tensor) -> torch.Tensor:
        seen.append((int(whole_mask(words)[0].sum()), int(whole_mask(image)[0].sum()), matches))
        return words.values.sum() * 0

    monkeypatch.setattr("vlbench.training.shapes_learner.alignment_loss", recorded)
    training = learner(family, Recipe(shares={"itm": 1.0}, alignment=0.1))
    batch = stream(batch=8).batch(0, 8)
    with torch.no_grad():
        for seed in range(12):
            training.losses(batch, seeded(seed))
        joint = training.module.joint(batch.captions, training.visual_input(batch))
    words, tokens = int(whole_mask(joint.text)[0].sum()), int(whole_mask(joint.image)[0].sum())
    left_out = {"patch": (2, 1), "grid": (2, 0), "region": (0, 0)}[family]
    assert {each[:2] for each in seen} == {(words - left_out[0], tokens - left_out[1])}
    counts = {int(matches.sum()) for *_, matches in seen}
    assert (counts == {4}) is (family == "patch")


def test_four_fifths_of_the_chosen_patches_are_masked() -> None:
    training = learner("patch", Recipe(shares={"mpp": 1.0}))
    images = training.visual_input(stream(batch=16).batch(0, 16))
    chosen = masked = 0
    for seed in range(100):
        shown, chosen_BP = training._with_masked_parts(images, seeded(seed))
        changed = (shown.pixels != images.pixels).any(dim=1).float()
        masked_BP = torch.nn.functional.max_pool2d(changed, 32).flatten(1) > 0
        assert not (masked_BP & ~chosen_BP).any()
        chosen, masked = chosen + int(chosen_BP.sum()), masked + int(masked_BP.sum())
    assert abs(masked / chosen - 0.8) < 5 * (0.16 / chosen) ** 0.5


def test_a_frozen_detector_is_not_trained_and_true_boxes_take_its_place() -> None:
    training = learner("region", true_boxes=True)
    batch = stream(batch=4).batch(0, 4)
    regions = training.visual_input(batch)
    for image, boxes in enumerate(batch.boxes):
        assert torch.equal(regions.boxes[image, : len(boxes)], boxes)  # type: ignore[union-attr]
    training.losses(batch, seeded()).total.backward()
    visual = training.module.model.visual
    assert all(
        parameter.grad is None for name, parameter in visual.named_parameters() if not name.startswith("projection")
    )
    assert any(
        parameter.grad is not None for name, parameter in visual.named_parameters() if name.startswith("projection")
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_two_hundred_steps_overfit_one_batch(family: str) -> None:
    training = learner(family, true_boxes=True)
    batch = stream(batch=8).batch(0, 8)
    optimizer = torch.optim.AdamW(training.module.parameters(), lr=2e-3)
    training.module.train()
    for _ in range(200):
        optimizer.zero_grad()
        losses = training.losses(batch, seeded())
        losses.total.backward()
        optimizer.step()
        if losses.total < 0.02:
            break
    assert losses.correct == 8
    assert losses.total < 0.1


def test_shuffled_labels_teach_nothing() -> None:
    """On other scenes it is correct as often as by chance: the answers are its only supervision."""
    training = learner("patch")
    optimizer = torch.optim.AdamW(training.module.parameters(), lr=1e-3)
    training.module.train()
    samples = stream(batch=32, stages=(CurriculumStage(kinds=("colour", "shape", "exist")),))
    for step in range(40):
        batch = samples.batch(32 * step, 32)
        shuffled = batch.answers[torch.randperm(32, generator=seeded(step))]
        optimizer.zero_grad()
        training.losses(dataclasses.replace(batch, answers=shuffled), seeded()).total.backward()
        optimizer.step()
    training.module.eval()
    held_out = samples.batch(100_000, 300)
    with torch.no_grad():
        correct = training.losses(held_out, seeded()).correct
    assert correct is not None
    most_frequent = held_out.answers.bincount().max() / 300
    assert correct / 300 <= most_frequent + 4 * (0.25 / 300) ** 0.5


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_every_architecture_that_answers(name: str) -> None:
    preset_sizes = read_preset(name)
    for spec in catalog().values():
        if not isinstance(spec, ModelSpec) or spec.text is None or spec.interaction.scores:
            with pytest.raises(InputError, match=r"vlbench's own parts|answers no questions"):
                with_preset_sizes(spec, preset_sizes, name, vocabulary=PIECES, answers=3)
            continue
        sized = with_preset_sizes(spec, preset_sizes, name, vocabulary=PIECES, answers=3)
        assert (sized.family, sized.interaction.kind) == (spec.family, spec.interaction.kind)
        assert sized.input.image_size == (preset_sizes.image_side, preset_sizes.image_side)


def test_families_differ_only_in_how_they_see() -> None:
    parts = [spec_of(family).model_dump(include={"text", "interaction", "head", "input"}) for family in FAMILIES]
    assert parts[0] == parts[1] == parts[2]


def test_macs_of_a_detector_are_separate() -> None:
    region, patch = forward_macs(spec_of("region")), forward_macs(spec_of("patch"))
    assert region.detector > region.rest > 0
    assert patch.detector == 0


def run_of(family: str, folder: Path, samples: int) -> TrainingRun:
    spec = spec_of(family)
    small = preset()
    detector = small.detector.model_copy(update={"samples": 128})
    return TrainingRun(
        spec=spec,
        preset=small.model_copy(update={"detector": detector}),
        preset_name="tiny",
        recipe=Recipe(),
        settings=TrainingSettings(budget=Budget(amount=samples), batch=16, workers=0, learning_rate=1e-3),
        folder=folder / spec.name,
        device="cpu",
        task=TASKS["shapes"],
        answers=ANSWERS,
    )


def alone(run: TrainingRun) -> Training:
    return train_one(run, process=Process(), listener_for=lambda _name: TrainingListener())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_model_is_left_as_eval_reads_it(family: str, tmp_path: Path) -> None:
    run = run_of(family, tmp_path, 48)
    record = alone(run)
    assert (record.preset, record.samples, record.steps, record.seed) == ("tiny", 48, 3, 0)
    assert record.macs is not None
    assert record.macs > 0
    assert set(record.seconds_by_phase) == ({"detector", "training"} if family == "region" else {"training"})
    spec = read_spec(run.folder / MODEL)
    assert isinstance(spec, ModelSpec)
    assert spec.weights != RANDOM
    read, again = (build(trained).eval() for trained in (spec, run.trained_spec))
    batch = stream(batch=2).batch(0, 2)
    with torch.no_grad():
        outputs = [model(batch.questions, normalised(batch.pixels, spec)) for model in (read, again)]
    assert torch.equal(outputs[0], outputs[1])
    assert alone(run).samples == 48  # finished: nothing is trained again


@pytest.mark.slow
def test_a_resumed_training_of_a_region_model_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within the detector's training and within the model's."""
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    whole, cut = (run_of("region", tmp_path / name, 64) for name in ("whole", "cut"))
    alone(whole)
    for phase in ("uniter-base-tiny: detector", "uniter-base-tiny"):
        with pytest.raises(Interrupted):
            train_one(cut, process=Process(), listener_for=partial(stopping_in, phase))
    alone(cut)
    first, second = (build(run.trained_spec).state_dict() for run in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


def stopping_in(phase: str, name: str) -> TrainingListener:
    """Interrupts a phase, as Ctrl-C does, after its second step."""

    def interrupt(progress: TrainingProgress) -> None:
        if name == phase and progress.spent.steps == 2:
            signal.raise_signal(signal.SIGINT)

    return TrainingListener(on_progress=interrupt)
