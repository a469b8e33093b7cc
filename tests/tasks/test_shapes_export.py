"""The generated world as files: the readers of the official formats read it back; and bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vlbench.cli.main import app
from vlbench.errors import InputError
from vlbench.tasks.items import Item, check_images
from vlbench.tasks.metrics import vqa_accuracy
from vlbench.tasks.readers.karpathy import read_coco
from vlbench.tasks.readers.nlvr import read_nlvr2
from vlbench.tasks.readers.vqav2 import read_vqav2
from vlbench.tasks.shapes import items
from vlbench.tasks.shapes.drawing import GAP, SIDE, draw
from vlbench.tasks.shapes.export import NLVR2_SPLITS, Export, export
from vlbench.tasks.shapes.scenes import CLASSES, SPLITS, class_of, scene_at
from vlbench.tasks.wordpiece import WordPiece

SCENES = {"test": 5, "val": 4, "train": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("exported") / "shapes"
    assert export(Export(scenes=SCENES), made)
    return made


def generated(split: str) -> list[Item]:
    return [item for item in items.question_items(split) if int(item.unit) < SCENES[split]]


def test_questions_and_answers_round_trip(folder: Path) -> None:
    for split in SPLITS:
        found, wanted = read_vqav2(folder, split), generated(split)
        assert [(one.identifier, one.text, one.unit) for one in found] == [
            (one.identifier, one.text, one.unit) for one in wanted
        ]
        assert [one.answers for one in found] == [10 * one.answers for one in wanted]
        assert all(vqa_accuracy(one.answers[0], read.answers) == 1 for one, read in zip(wanted, found, strict=True))
        assert {one.kind for one in found} <= {"yes/no", "number", "other"}


def test_statements_round_trip(folder: Path) -> None:
    for split in SPLITS:
        found, wanted = read_nlvr2(folder, NLVR2_SPLITS[split]), items.statement_items(split)[: SCENES[split] // 2]
        assert [(one.text, one.answers) for one in found] == [(one.text, one.answers) for one in wanted]
        assert [one.identifier.partition("-")[2] for one in found] == [
            one.identifier.partition("-")[2] for one in wanted
        ]


def test_captions_round_trip(folder: Path) -> None:
    for split in SPLITS:
        found, wanted = read_coco(folder, split), items.gallery(split)
        texts = sum(owner < SCENES[split] for owner in wanted.image_of_text)
        assert found.texts == wanted.texts[:texts]
        assert found.image_of_text == wanted.image_of_text[:texts]
    entries = json.loads((folder / "dataset_coco.json").read_text())["images"]
    assert [entry["imgid"] for entry in entries] == list(range(sum(SCENES.values())))


def test_pixels_round_trip(folder: Path) -> None:
    for split in SPLITS:
        single = read_vqav2(folder, split)
        pairs = read_nlvr2(folder, NLVR2_SPLITS[split])
        gallery = read_coco(folder, split)
        named = [(item.images[0], int(item.unit)) for item in single]
        named += [(path, 2 * place + side) for place, item in enumerate(pairs) for side, path in enumerate(item.images)]
        named += [(path, index) for index, path in enumerate(gallery.images)]
        check_images(path for path, _ in named)
        for path, index in named:
            with Image.open(path) as image:
                assert image.format == "PNG"
                assert np.array_equal(np.asarray(image), draw(scene_at(split, index)))


def test_boxes_are_those_of_the_things(folder: Path) -> None:
    for split, subtype in (("train", "train2014"), ("val", "val2014"), ("test", "test2015")):
        content = json.loads((folder / "annotations" / f"instances_{subtype}.json").read_text())
        assert [one["name"] for one in content["categories"]] == list(CLASSES)
        assert len({one["id"] for one in content["annotations"]}) == len(content["annotations"])
        for image in content["images"]:
            assert (folder / "images" / subtype / image["file_name"]).is_file()
            own = [one for one in content["annotations"] if one["image_id"] == image["id"]]
            boxes = [(x, y, x + width, y + height) for x, y, width, height in (one["bbox"] for one in own)]
            things = scene_at(split, image["id"]).things
            assert boxes == [thing.box for thing in things]
            assert [one["category_id"] - 1 for one in own] == [class_of(thing) for thing in things]
            assert all(one["area"] == one["bbox"][2] * one["bbox"][3] for one in own)


def test_the_exported_vocabulary_knows_every_word(folder: Path) -> None:
    words = WordPiece(folder)
    texts = [item.text for item in read_vqav2(folder, "train") + read_nlvr2(folder, "train")]
    for text in (*texts, *read_coco(folder, "train").texts):
        assert "[UNK]" not in words.words(text)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_export_has_the_same_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    export(Export(scenes=SCENES), tmp_path / "again")
    assert contents(tmp_path / "again") == contents(folder)
    export(Export(scenes=SCENES, seed=1), tmp_path / "other")
    assert contents(tmp_path / "other") != contents(folder)


def test_the_side_is_that_of_images_and_boxes(tmp_path: Path) -> None:
    export(Export(scenes={"val": 2}, side=64), tmp_path / "small")
    (image,) = {item.images[0] for item in read_vqav2(tmp_path / "small", "val") if item.unit == "1"}
    assert Image.open(image).size == (64, 64)
    content = json.loads((tmp_path / "small" / "annotations" / "instances_val2014.json").read_text())
    assert max(one["bbox"][0] + one["bbox"][2] for one in content["annotations"]) <= 64


def test_an_equal_export_is_kept_and_other_files_are_left_alone(tmp_path: Path) -> None:
    wanted, out = Export(scenes={"val": 2}), tmp_path / "out"
    out.mkdir()
    assert export(wanted, out)
    before = contents(out)
    assert not export(wanted, out)
    for other in (Export(scenes={"val": 3}), Export(scenes={"val": 2}, seed=1)):
        with pytest.raises(InputError, match="holds something else") as error:
            export(other, out)
        assert "\n" not in str(error.value)
    assert contents(out) == before


def test_a_killed_export_leaves_nothing_in_its_place(tmp_path: Path) -> None:
    out, wanted = tmp_path / "out", Export(scenes={"val": 3})

    def killed(_count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(wanted, out, on_progress=killed)
    assert not out.exists()
    assert export(wanted, out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=f"--out {out}: ") as error:
            export(Export(scenes={"val": 2}), out)
        assert "\n" not in str(error.value)
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "out.unfinished" / "mine").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        export(Export(scenes={"val": 2}), tmp_path / "out")
    assert os.listdir(tmp_path / "out.unfinished") == ["mine"]


def test_the_command(folder: Path, tmp_path: Path) -> None:
    command = ["export", "shapes", "--split", "val", "--split", "test", "--scenes", "2", "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(app, command, catch_exceptions=False)
    assert found.exit_code == 0
    assert not (tmp_path / "out" / "train.json").exists()
    assert read_vqav2(tmp_path / "out", "val")[0].text == read_vqav2(folder, "val")[0].text
    assert "kept" in CliRunner().invoke(app, command).stderr


def test_the_overview_shows_each_scene(folder: Path) -> None:
    with Image.open(folder / "overview.png") as sheet:
        pixels = np.asarray(sheet)
    for place in range(SCENES["test"]):
        left = GAP + (SIDE + GAP) * place
        drawn = Image.fromarray(draw(scene_at("test", place))).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        assert np.array_equal(pixels[GAP : GAP + SIDE, left : left + SIDE], np.asarray(drawn))
        below = pixels[GAP + SIDE :, left : left + SIDE]
        assert (below != 255).any()
