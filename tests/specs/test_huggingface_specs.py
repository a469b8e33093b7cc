"""What a model file that names a class of transformers may say, and what its tasks, input and hash are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.specs.changes import ABSENT, error_after
from vlbench.inputs import padded_ids, read_example, words
from vlbench.runner.cells import Cell
from vlbench.specs import HuggingFaceSpec, ModelSpec
from vlbench.specs.catalog import catalog
from vlbench.suites.collect import small_spec
from vlbench.suites.quantities import DESCRIPTIONS

REFUSED = [
    ("hf-vilt-b32", {"stagse": {}}, "unknown key 'stagse'; did you mean stages?"),
    ("hf-vilt-b32", {"inputs/pixel": "x"}, "unknown key 'inputs.pixel'; did you mean pixels?"),
    ("hf-vilt-b32", {"text/vocabluary": 3}, "unknown key 'text.vocabluary'; did you mean vocabulary?"),
    ("hf-vilt-b32", {"stages/visul": "vilt"}, "stages.visul"),
    ("hf-vilt-b32", {"stages/visual": []}, "stages.visual: tuple should have at least 1 item"),
    ("hf-vilt-b32", {"stages/visual": ABSENT, "stages/visual.patch": ABSENT}, "stages: the key 'visual' is missing"),
    ("hf-vilt-b32", {"stages": ABSENT}, "the key 'stages' is missing"),
    ("hf-vilt-b32", {"gives": "words"}, "call generate gives words, and forward gives anything else"),
    ("hf-vilt-b32", {"gives": "logits"}, "gives: input should be 'answers', 'words', 'pairs', 'matching'"),
    ("hf-vilt-b32", {"inputs/features": "x"}, "inputs: names both pixels and features, or neither"),
    ("hf-lxmert-vqa", {"features": ABSENT}, "inputs.features needs the key 'features'"),
    ("hf-vilt-b32", {"input/image_size": [380, 640]}, "380x640 is no multiple of the 32-pixel patch; 384x640 works"),
    ("hf-vilt-b32", {"input/text_tokens": 41}, "41 text tokens, but the model has 40 positions"),
    ("hf-vilt-b32", {"input/text_tokens": 0}, "input.text_tokens is missing"),
    (
        "hf-vilt-b32",
        {"small/config/vocab_size": "x"},
        "small.config: vocab_size is 'x', not a number from 4 to 10,000,000",
    ),
    ("hf-vilt-b32", {"small/config/patch_size": [8, 8]}, "small.config: patch_size is [8, 8], not a number"),
    ("hf-vilt-b32", {"small/image_size": [100, 64]}, "small: image size 100x64 is no multiple of the 32-pixel patch"),
    ("hf-vilt-b32", {"heads/answer": {}}, "heads.answer"),
    ("hf-vilt-b32", {"heads/pairs": {"gives": "pairs"}}, "the key 'heads.pairs.transformers' is missing"),
]


@pytest.mark.parametrize(("name", "changes", "says"), REFUSED, ids=[says for *_, says in REFUSED])
def test_a_file_that_does_not_hold_together_is_refused_in_one_line(
    tmp_path: Path, name: str, changes: dict, says: str
) -> None:
    assert says in error_after(tmp_path, name, changes, "/")


def test_a_stage_of_one_path_needs_no_list(tmp_path: Path) -> None:
    spec = catalog()["hf-lxmert-vqa"]
    assert spec.stages["text"] == ("lxmert.embeddings",)
    assert len(spec.stages["interaction"]) == 3


TASKS = {
    "hf-vilt-b32": {
        "answers": "ViltForQuestionAnswering",
        "pairs": "ViltForImagesAndTextClassification",
        "ranking": "ViltForImageAndTextRetrieval",
    },
    "hf-visualbert-vqa": {"answers": "VisualBertForQuestionAnswering"},
    "hf-lxmert-vqa": {"answers": "LxmertForQuestionAnswering"},
    "hf-clip-vit-b32": {"ranking": "CLIPModel"},
    "hf-siglip-b16": {"ranking": "SiglipModel"},
    "hf-blip-itm": dict.fromkeys(("ranking", "statement"), "BlipForImageTextRetrieval"),
    "hf-blip-vqa": {"answers": "BlipForQuestionAnswering"},
    "hf-bridgetower-base": dict.fromkeys(("ranking", "statement"), "BridgeTowerForImageAndTextRetrieval"),
}


def test_every_model_of_transformers_has_its_tasks_here() -> None:
    assert set(TASKS) == {name for name, spec in catalog().items() if isinstance(spec, HuggingFaceSpec)}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("kind", ["answers", "pairs", "statement", "ranking"])
def test_a_task_takes_the_class_that_serves_it(name: str, kind: Any) -> None:
    spec = catalog()[name]
    if kind in TASKS[name]:
        assert spec.for_task(kind).transformers == TASKS[name][kind]
    else:
        with pytest.raises(ValueError, match=f"{name} has no head for {kind}; it has one for") as caught:
            spec.for_task(kind)
        assert str(caught.value).endswith(", ".join(sorted(TASKS[name])))


def test_another_head_keeps_what_it_does_not_change() -> None:
    spec = catalog()["hf-vilt-b32"].for_task("answers", 13)
    assert (spec.answers, spec.gives, spec.name) == (13, "answers", "hf-vilt-b32")
    assert spec.stages["head"] == ("vilt.pooler", "classifier")
    assert spec.stages["interaction"] == catalog()["hf-vilt-b32"].stages["interaction"]
    assert catalog()["hf-lxmert-vqa"].for_task("answers", 7).answers == 7
    assert catalog()["hf-clip-vit-b32"].for_task("ranking", 7).answers is None


def test_the_hash_is_of_what_is_measured() -> None:
    spec = catalog()["hf-vilt-b32"]
    alike = [{"aliases": ()}, {"note": "x"}, {"source": "x"}, {"archetype": None}, {"heads": {}}]
    alike += [{"small": spec.small.model_copy(update={"text_tokens": 7})}, {"weights": "random"}, {"answers": None}]
    assert {spec.model_copy(update=change).hash() for change in alike} == {spec.hash()}
    others = [{"seed": 1}, {"weights": "hub:x"}, {"answers": 3}, {"config": {"hidden_size": 96}}, {"options": {"x": 1}}]
    others += [{"transformers": "ViltModel"}, {"output": "x"}, {"stages": {}}, {"call": "generate"}, {"patch_size": 16}]
    assert len({spec.hash(), *(spec.model_copy(update=change).hash() for change in others)}) == 1 + len(others)
    assert "weights" in spec.model_dump()


def test_another_input_is_checked_as_the_files_own() -> None:
    spec = catalog()["hf-vilt-b32"]
    assert spec.with_input(image_size=(64, 96)).input.image_size == (64, 96)
    assert spec.with_input(text_tokens=7).input.text_tokens == 7
    assert spec.with_input() == spec
    with pytest.raises(ValueError, match="96x96 works"):
        spec.with_input(image_size=(100, 100))
    with pytest.raises(ValueError, match="40 positions"):
        spec.with_input(text_tokens=41)


def test_a_text_begins_ends_and_is_padded_as_the_model_knows_it() -> None:
    example, count = read_example(None, None), len(words(read_example(None, None).text))
    marks = {"hf-clip-vit-b32": (49406, 49407, 49407), "hf-bridgetower-base": (0, 2, 1), "vilt-b32": (101, 102, 0)}
    for name, (begin, end, padding) in marks.items():
        spec = catalog()[name]
        ids, real = padded_ids(example.text, spec)
        assert (ids[0], ids[real - 1], set(ids[real:])) == (begin, end, {padding})
        assert (real, len(ids)) == (count + 2, spec.input.text_tokens)
    ids, real = padded_ids(example.text, catalog()["hf-siglip-b16"])
    assert (real, ids[real - 1], set(ids[real:]), len(ids)) == (count + 1, 1, {1}, 64)


@pytest.mark.parametrize("name", TASKS)
def test_a_tiny_vocabulary_holds_every_id(name: str) -> None:
    for spec in (catalog()[name], catalog()[name].tiny()):
        ids, real = padded_ids("a cat, two cats and a photograph", spec)
        assert len(ids) == spec.input.text_tokens > real
        assert 0 <= min(ids) <= max(ids) < spec.text.vocabulary


@pytest.mark.parametrize("name", ["hf-siglip-b16", "vilt-b32"])
def test_a_cell_keeps_its_kind_of_model_through_json(name: str) -> None:
    cell = Cell(spec=catalog()[name], image=Path("photo.jpg"), image_sha256="ab" * 32, text="a photograph")
    again = Cell.model_validate(cell.model_dump(mode="json"))
    assert again == cell
    assert type(again.spec) is (HuggingFaceSpec if name.startswith("hf-") else ModelSpec)


def test_suites_know_of_no_parts_and_take_the_small_one_for_quick() -> None:
    spec = catalog()["hf-vilt-b32"]
    assert {name: describe(spec) for name, describe in DESCRIPTIONS.items()} == {
        "cnn": "-",
        "roi_head": "-",
        "nms": "-",
        "layers": 0,
    }
    assert small_spec(spec) == spec.tiny()
