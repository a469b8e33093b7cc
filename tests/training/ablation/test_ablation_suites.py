"""Ablation suites: every shipped one can be trained and quotes its paper; mistakes are refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import vlbench
from tests.helpers import write_yaml
from tests.paths import ROOT
from vlbench.errors import InputError, SpecError
from vlbench.specs import GridSpec, PatchSpec
from vlbench.suites.ablations import Ablation
from vlbench.suites.reader import (
    LoadedAblation,
    ablation_paths,
    read_ablation,
    resolve_named,
    resolve_suites,
    suite_paths,
)
from vlbench.training.ablation.arms import AblationRequest, budget_of, planned_runs, seeds_of

SHIPPED = """
ablation-alignment ablation-augmentation ablation-conditional-masking ablation-detector ablation-pixel-sampling
ablation-resolution ablation-whole-word
""".split()
REQUEST = AblationRequest(budget=None, quick=False, device="cpu", precision="fp32", threads=1)
SMALL: dict[str, Any] = {
    "name": "ablation-small",
    "kind": "ablation",
    "title": "Two ways",
    "source": {"paper": "none"},
    "models": ["vilt-b32"],
    "budget": 100,
    "reference": "plain",
    "arms": [{"label": "plain"}, {"label": "changed", "recipe": {"augmentation": True}}],
}


def write_small(folder: Path, **changes: object) -> Path:
    return write_yaml(folder / "ablation-small.yaml", SMALL | changes)


def arm(**changes: object) -> dict[str, list]:
    """The second arm, changed."""
    first, second = SMALL["arms"]
    return {"arms": [first, second | changes]}


def shipped(name: str) -> LoadedAblation:
    return read_ablation(ablation_paths()[name])


def test_every_ablation_is_shipped_and_none_runs_unless_it_is_named() -> None:
    assert sorted(ablation_paths()) == SHIPPED
    for words in ([], ["*"], ["*sampling*"]):
        assert not any(isinstance(suite, LoadedAblation) for suite in resolve_named(words))
    assert sorted(loaded.suite.name for loaded in resolve_named([])) == sorted(suite_paths())
    assert [loaded.suite.name for loaded in resolve_named(["ablation-*"])] == SHIPPED
    assert [loaded.suite.name for loaded in resolve_named(["ablation-detector"])] == ["ablation-detector"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_ablation_can_be_trained(name: str, tmp_path: Path) -> None:
    loaded = shipped(name)
    runs = planned_runs(loaded, REQUEST, tmp_path)
    suite = loaded.suite
    assert seeds_of(suite, REQUEST) == (0, 1, 2)
    assert len(runs) == len(suite.models) * len(suite.arms) * 3
    assert {run.settings.seed for run in runs.values()} == {0, 1, 2}
    assert all(run.settings.budget == budget_of(loaded, REQUEST) for run in runs.values())
    starts = [stage.start for run in runs.values() for stage in run.recipe.stages]
    assert max(starts) < budget_of(loaded, REQUEST).amount, "all kinds of questions come before it ends"
    paths = [run.folder for run in runs.values()]
    assert len(set(paths)) == len(paths)


def test_arms_change_what_they_say(tmp_path: Path) -> None:
    def runs(name: str) -> dict[str, Any]:
        return {label: run for (_, label, _), run in planned_runs(shipped(name), REQUEST, tmp_path).items()}

    words = runs("ablation-whole-word")
    assert (words["whole words"].recipe.whole_words, words["pieces"].recipe.whole_words) == (True, False)
    assert {run.recipe.shares["vqa"] / sum(run.recipe.shares.values()) for run in words.values()} == {0.5}
    assert runs("ablation-alignment")["aligned"].recipe.alignment == 0.1
    assert runs("ablation-augmentation")["RandAugment"].recipe.augmentation
    assert not runs("ablation-conditional-masking")["both"].recipe.conditional
    detectors = [run.recipe.detector for run in runs("ablation-detector").values()]
    assert detectors == ["trained", "half-trained", "ground-truth"]
    sampled = [run.spec.visual for run in runs("ablation-pixel-sampling").values()]
    assert all(isinstance(visual, GridSpec) for visual in sampled)
    assert [visual.sampled_pixels for visual in sampled] == [100, 6]
    sizes = []
    for run in runs("ablation-resolution").values():
        assert isinstance(run.spec.visual, PatchSpec)
        sizes.append((run.spec.input.image_size[0], run.stream().side, run.spec.visual.patch_size))
    assert sizes == [(128, 128, 32), (128, 128, 16), (128, 128, 64), (64, 64, 16)]


def test_what_two_suites_train_alike_is_trained_once(tmp_path: Path) -> None:
    words, images = (
        planned_runs(shipped(f"ablation-{name}"), REQUEST, tmp_path) for name in ("whole-word", "augmentation")
    )
    same = [words["vilt-b32", "whole words", 0].folder, images["vilt-b32", "as they are", 0].folder]
    assert same[0] == same[1]
    assert words["vilt-b32", "pieces", 0].folder not in {run.folder for run in images.values()}


def table(papers: Path, paper: str, name: str) -> list[dict[str, Any]]:
    tables = json.loads((papers / f"{paper}.json").read_text())["tables"]
    return next(table["rows"] for table in tables if table["id"] == name)


METRICS = {
    "VQAv2 test-dev": {"ViLT": "vqav2_test_dev", "UNITER": "vqa_test_dev", "Pixel-BERT": "vqa_test_dev"},
    "NLVR2 dev": dict.fromkeys(("ViLT", "UNITER", "Pixel-BERT"), "nlvr2_dev"),
}
FILES = {"ViLT": "vilt", "UNITER": "uniter", "Pixel-BERT": "pixel_bert"}
ROWS = {  # of the reference and of the arm, from 1, and what tells the two apart there
    ("ablation-whole-word", "pieces"): ("Table 5", 4, 3, {"whole_word_mask"}),
    ("ablation-whole-word", "whole words and patches"): ("Table 5", 4, 5, {"mpp"}),
    ("ablation-augmentation", "RandAugment"): ("Table 5", 4, 6, {"randaug"}),
    ("ablation-alignment", "aligned"): ("Table 2", 10, 11, {"tasks"}),
    ("ablation-conditional-masking", "both"): ("Table 2", 10, 12, {"tasks"}),
    ("ablation-pixel-sampling", "6 pixels"): ("Table 6", 4, 5, {"sampling"}),
}


def test_what_is_reported_is_what_the_papers_print(reference_data: Path) -> None:
    papers = reference_data.parent / "papers"
    seen = set()
    for name in SHIPPED:
        for arm_of_suite in shipped(name).suite.arms:
            for reported in arm_of_suite.reported:
                seen.add((name, arm_of_suite.label))
                where, first, second, kinds = ROWS[name, arm_of_suite.label]
                rows = table(papers, FILES[reported.paper], where)
                reference, changed = rows[first - 1], rows[second - 1]
                assert reported.where.startswith(where)
                assert reported.where.endswith(f" {first} and {second}")
                key = METRICS[reported.metric][reported.paper]
                assert (reported.reference, reported.arm) == (reference[key], changed[key])
                assert reported.delta == pytest.approx(changed[key] - reference[key], abs=0.005)
                described = {name for name, cell in reference.items() if isinstance(cell, str | bool)}
                assert {name for name in described if reference[name] != changed[name]} == kinds
    assert seen == set(ROWS)


REPORTED = {"paper": "A", "where": "Table 1", "metric": "VQA", "reference": 70.0, "arm": 71.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titel": "x"}, "unknown key 'titel'; did you mean title?"),
        ({"reference": "plian"}, "reference: no arm 'plian'; did you mean plain?"),
        (arm(label="plain"), "more than one arm is called plain"),
        ({"seeds": [1, 1]}, "more than one seed is called 1"),
        (arm(reported=[REPORTED | {"model": "uniter"}]), "no model 'uniter' in models"),
        (arm(reported=[REPORTED | {"arm": 171}]), "less than or equal to 100"),
        ({"arms": SMALL["arms"][:1]}, "arms: "),
        ({"name": "small"}, "name: "),
        ({"name": "ablation-other"}, "the file is called 'ablation-small'"),
        ({"preset": "huge"}, "preset huge: no such preset; tiny, small, base work"),
        ({"models": ["vilt-b23"]}, "no model 'vilt-b23'; did you mean vilt-b32?"),
        ({"models": ["clip-vit-b32"]}, "clip-vit-b32"),
        ({"budget": "many"}, "budget many: not a budget"),
        (arm(recipe={"augmented": True}), "arm 'changed': recipe: unknown key 'augmented'; did you mean augmentation?"),
        (arm(recipe={"shares": {"vqq": 1}}), "arm 'changed': recipe: "),
        (
            arm(recipe={"shares": {"mrc": 1}}),
            "arm 'changed': vilt-b32 cannot be trained on mrc; vqa works for all models",
        ),
        (arm(set={"patch.size": 16}), "arm 'changed': set: unknown key 'patch.size'"),
        (arm(set={"pacth.patch_size": 16}), "arm 'changed': set: no part 'pacth'"),
        (arm(set={"patch.patch_size": 50}), "arm 'changed': "),
        (arm(recipe={}), "arms 'plain' and 'changed' of vilt-b32 train the same; change one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_refused_in_one_line(tmp_path: Path, changes: dict, message: str) -> None:
    path = write_small(tmp_path, **changes)
    with pytest.raises(InputError) as raised:
        planned_runs(read_ablation(path), REQUEST, tmp_path)
    line = str(raised.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert message in line


def test_nothing_is_reported_for_the_reference(tmp_path: Path) -> None:
    first, second = SMALL["arms"]
    with pytest.raises(SpecError, match="'plain': is the reference; move"):
        read_ablation(write_small(tmp_path, arms=[first | {"reported": [REPORTED]}, second]))


def test_measured_and_trained_are_asked_for_apart(tmp_path: Path) -> None:
    path = str(write_small(tmp_path))
    (loaded,) = resolve_named([path, path])
    assert isinstance(loaded.suite, Ablation)
    with pytest.raises(InputError, match="ablation-small is trained and vit-sizes is not; run them apart"):
        resolve_named(["vit-sizes", path])
    with pytest.raises(InputError, match="is trained, not measured"):
        resolve_suites([path])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ablation-alinment",), "no suite 'ablation-alinment'; did you mean ablation-alignment?"),
        (("ablation-alignment", "--train-budget", "many"), "--train-budget many: not a budget"),
        (("ablation-alignment", "--precision", "fp16"), "--precision fp16: ablations are trained in fp32 or bf16"),
        (
            ("ablation-alignment", "--budget", "5"),
            "--budget: ablation-alignment is trained, not timed; leave the option out",
        ),
        (("vit-sizes", "--train-budget", "100"), "--train-budget: vit-sizes is measured, not trained"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_of_the_command_is_one_line(arguments: tuple, message: str, tmp_path: Path) -> None:
    process = vlbench("reproduce", *arguments, "--out", tmp_path / "out")
    assert process.returncode == 2, process.stderr
    assert process.stderr.count("\n") == 1
    assert message in process.stderr
    assert not (tmp_path / "out").exists()


def test_the_example_of_the_guide_can_be_trained(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "reproduce.md").read_text()
    (example,) = [block for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "kind: ablation" in block]
    path = tmp_path / "ablation-depth.yaml"
    path.write_text(example)
    runs = planned_runs(read_ablation(path), REQUEST, tmp_path)
    layers = [run.spec.interaction.layers for run in runs.values()]  # type: ignore[union-attr]
    assert layers == [4, 2] * 3


def test_the_list_of_suites_has_them() -> None:
    process = vlbench("list", "suites")
    assert process.returncode == 0, process.stderr
    assert all(name in process.stdout for name in SHIPPED)
