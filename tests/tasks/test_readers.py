"""Data sets in their official layouts: what is read, and every kind of damage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import write_lines
from tests.tasks import data_sets
from vlbench.errors import InputError
from vlbench.tasks.items import check_images
from vlbench.tasks.registry import TASKS, task_named


def test_vqav2(tmp_path: Path) -> None:
    items = TASKS["vqav2"].items(data_sets.vqav2(tmp_path), "val")
    assert len(items) == 12
    first, second = items[:2]
    assert (first.identifier, first.unit, first.kind) == ("100", "1", "yes/no")
    assert first.answers == ("yes",) * 10
    assert second.answers == ("yes",) * 9 + ("no",)
    assert first.images == (tmp_path / "val2014" / "COCO_val2014_000000000001.jpg",)
    check_images(path for item in items for path in item.images)


def test_a_test_split_of_vqav2_has_no_answers(tmp_path: Path) -> None:
    data_sets.vqav2(tmp_path, split="test-dev2015", annotations=False)
    items = TASKS["vqav2"].items(tmp_path, "test-dev")
    assert {item.answers for item in items} == {()}
    assert items[0].images[0].name == "COCO_test2015_000000000001.jpg"


def test_nlvr2(tmp_path: Path) -> None:
    items = TASKS["nlvr2"].items(data_sets.nlvr2(tmp_path), "dev")
    assert len(items) == 12
    assert [path.name for path in items[0].images] == ["dev-0-0-img0.png", "dev-0-0-img1.png"]
    assert items[0].group == items[2].group != items[1].group
    check_images(path for item in items for path in item.images)


def test_training_pictures_of_nlvr2_are_in_numbered_folders(tmp_path: Path) -> None:
    line = {"identifier": "train-7-1-0", "sentence": "A dog.", "label": "True", "directory": 42}
    write_lines(tmp_path / "train.json", [line])
    (item,) = TASKS["nlvr2"].items(tmp_path, "train")
    assert item.images[0] == tmp_path / "images" / "train" / "42" / "train-7-1-img0.png"


def test_nlvr_has_six_pictures_per_statement(tmp_path: Path) -> None:
    items = TASKS["nlvr"].items(data_sets.nlvr(tmp_path), "dev")
    assert [item.identifier for item in items[:7]] == [f"0-0-{order}" for order in range(6)] + ["1-0-0"]
    check_images(path for item in items for path in item.images)


def test_pictures_of_nlvrs_hidden_split_are_found_by_name(tmp_path: Path) -> None:
    """As released: no line says which of the numbered directories its pictures are in, and they may be in several."""
    line = {"identifier": "3266-0", "sentence": "There is a blue tower.", "label": "true", "structured_rep": [[]]}
    write_lines(tmp_path / "hidden" / "hidden.json", [line])
    for order in range(6):
        data_sets.picture(tmp_path / "hidden" / "images" / str(order % 4) / f"hidden-3266-0-{order}.png")
    items = TASKS["nlvr"].items(tmp_path, "hidden")
    assert [item.identifier for item in items] == [f"3266-0-{order}" for order in range(6)]
    assert [item.images[0].parent.name for item in items] == ["0", "1", "2", "3", "0", "1"]
    check_images(path for item in items for path in item.images)
    items[0].images[0].unlink()
    with pytest.raises(InputError, match=r"images/hidden-3266-0-0\.png"):
        check_images(path for item in TASKS["nlvr"].items(tmp_path, "hidden") for path in item.images)


@pytest.mark.parametrize("data", ["flickr30k", "coco"])
def test_karpathys_splits(tmp_path: Path, data: str) -> None:
    gallery = TASKS[data].gallery(data_sets.karpathy(tmp_path, data=data, captions=7), "test")
    assert len(gallery.images) == 3
    assert gallery.image_of_text == tuple(image for image in range(3) for _ in range(5))
    assert gallery.texts[5] == "Caption 0 of 1."
    check_images(gallery.images)


def test_easy_vqa(tmp_path: Path) -> None:
    items = TASKS["easy-vqa"].items(data_sets.easy_vqa(tmp_path), "test")
    assert [(item.identifier, item.text, item.answers) for item in items[:2]] == [
        ("0", "is it red?", ("yes",)),
        ("1", "what color is it?", ("red",)),
    ]
    check_images(path for item in items for path in item.images)


def test_the_real_files_have_their_known_sizes(reference_data: Path) -> None:
    nlvr = TASKS["nlvr"].items(reference_data / "nlvr1", "dev")
    assert (len(nlvr), len({item.group for item in nlvr})) == (5934, 267)
    check_images(path for item in nlvr for path in item.images)
    nlvr2 = TASKS["nlvr2"].items(reference_data / "nlvr2", "dev")
    assert (len(nlvr2), Counter(item.answers for item in nlvr2)[("true",)]) == (6982, 3551)
    easy = TASKS["easy-vqa"].items(reference_data / "easy_vqa", "test")
    assert len({item.answers for item in easy}) == 13
    check_images(path for item in easy for path in item.images)


def damaged(folder: Path, name: str, change: Callable[[str], str]) -> Path:
    path = folder / name
    path.write_text(change(path.read_text()))
    return folder


def without(key: str, place: int = 2) -> Callable[[str], str]:
    """Removes a key from one line of a file."""

    def change(text: str) -> str:
        lines = text.splitlines()
        content = json.loads(lines[place - 1])
        del content[key]
        return "\n".join([*lines[: place - 1], json.dumps(content), *lines[place:]])

    return change


@pytest.mark.parametrize(
    ("name", "make", "file", "change", "said"),
    [
        ("nlvr2", data_sets.nlvr2, "dev.json", lambda text: text[:-20], r"dev.json line 12: not JSON; cut off"),
        ("nlvr2", data_sets.nlvr2, "dev.json", without("sentence"), r"dev.json line 2: the key 'sentence' is missing"),
        (
            "nlvr2",
            data_sets.nlvr2,
            "dev.json",
            lambda text: text.replace("False", "Maybe"),
            "line 2: label: input should be 'true' or 'false', not 'Maybe'",
        ),
        (
            "nlvr2",
            data_sets.nlvr2,
            "dev.json",
            lambda text: text.replace("dev-0-1-0", "dev-0"),
            "line 3: the identifier 'dev-0'",
        ),
        ("nlvr2", data_sets.nlvr2, "dev.json", lambda text: text * 2, "dev-0-0-0 occurs twice in the split 'dev'"),
        ("nlvr2", data_sets.nlvr2, "dev.json", lambda text: "", "the split 'dev' of nlvr2 is empty"),
        ("nlvr", data_sets.nlvr, "dev/dev.json", lambda text: "[1]\n", "line 1: the key 'identifier' is missing"),
        (
            "vqav2",
            data_sets.vqav2,
            "v2_mscoco_val2014_annotations.json",
            lambda text: text.replace('"question_id": 103', '"question_id": 999'),
            r"questions.json question 4: question_id 103 has no annotation",
        ),
        (
            "vqav2",
            data_sets.vqav2,
            "v2_mscoco_val2014_annotations.json",
            lambda text: text.replace('{"answer": "yes", "answer_id": 1}, ', "", 1),
            "annotation 1: 9 answers, not 10",
        ),
        ("vqav2", data_sets.vqav2, "v2_OpenEnded_mscoco_val2014_questions.json", lambda text: text[:-9], "not JSON"),
        ("easy-vqa", data_sets.easy_vqa, "test/questions.json", lambda text: '{"a": 1}', "not a list of"),
        (
            "easy-vqa",
            data_sets.easy_vqa,
            "test/questions.json",
            lambda text: text.replace('"red"', '"crimson"'),
            "question 2: the answer 'crimson' is not among those of answers.txt",
        ),
        ("easy-vqa", data_sets.easy_vqa, "test/questions.json", lambda text: "[[1, 2]]", "question 1: not .question"),
    ],
)
def test_damage_is_reported_in_one_line_with_its_location(
    tmp_path: Path, name: str, make: Callable[[Path], Path], file: str, change: Callable[[str], str], said: str
) -> None:
    task = TASKS[name]
    with pytest.raises(InputError, match=said) as raised:
        task.items(damaged(make(tmp_path), file, change), task.splits[0])
    assert "\n" not in str(raised.value)


def test_karpathys_file_must_have_the_split_and_its_keys(tmp_path: Path) -> None:
    data_sets.karpathy(tmp_path, images=1)
    with pytest.raises(InputError, match="no image of the split 'test'"):
        TASKS["flickr30k"].gallery(tmp_path, "test")
    damaged(tmp_path, "dataset_flickr30k.json", lambda text: text.replace('"filename"', '"name"'))
    with pytest.raises(InputError, match="image 1: the key 'filename' is missing"):
        TASKS["flickr30k"].gallery(tmp_path, "val")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        TASKS["nlvr2"].items(tmp_path / "nowhere", "dev")
    with pytest.raises(InputError, match=r"holds no v2_OpenEnded_mscoco_val2014_questions.json"):
        TASKS["vqav2"].items(tmp_path, "val")
    with pytest.raises(InputError, match="--split val: nlvr2 has dev, test1, test2, train"):
        TASKS["nlvr2"].items(tmp_path, "val")
    with pytest.raises(InputError, match=r"--task vqa: no such task; did you mean vqav2\?"):
        task_named("vqa")


def test_missing_images_are_reported_before_anything_runs(tmp_path: Path) -> None:
    items = TASKS["nlvr2"].items(data_sets.nlvr2(tmp_path), "dev")
    for path in items[3].images:
        path.unlink()
    with pytest.raises(InputError, match=r"dev-0-1-img0.png: no such image \(and 1 more\)"):
        check_images(path for item in items for path in item.images)
