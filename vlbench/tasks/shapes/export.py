"""Writes the generated world as files: PNG images and the JSON of VQAv2, NLVR2, Karpathy's splits and COCO's boxes.

Names and formats are those that the tools of each data set, and the readers here, expect. Images are PNG, and have the
names that VQA gives to images that are not COCO's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, TextIO

from PIL import Image
from pydantic import Field, ValidationError

from vlbench.errors import InputError
from vlbench.files.text import read_bytes
from vlbench.frozen import Frozen
from vlbench.tasks.readers.vqav2 import PEOPLE, SUBTYPES
from vlbench.tasks.shapes.drawing import COLUMNS, ROWS, draw, overview
from vlbench.tasks.shapes.items import VOCABULARY, question_number
from vlbench.tasks.shapes.language import ANSWERS as ANSWER_SET
from vlbench.tasks.shapes.language import captions, questions_about
from vlbench.tasks.shapes.scenes import CLASSES, SIDE, SPLITS, WORLD, Scene, class_of, scene_at
from vlbench.tasks.shapes.statements import statement_about

FIRST, MANIFEST = "vocab.txt", "shapes.json"  # the files written first and last
NAME = "shapes"  # in the places where VQA and Karpathy name COCO
NLVR2_SPLITS = {"train": "train", "val": "dev", "test": "test1"}
PAIRS_PER_FOLDER = 1000  # in NLVR2's training split


class Export(Frozen):
    """What an export holds.

    Attributes:
        scenes: how many of each split, from the first on.
        seed: of the scenes; 0 gives the scenes of the tasks `shapes`, `shapes-pairs` and `shapes-retrieval`.
        side: of the images, in pixels.
        world: the version of the world.
    """

    scenes: Mapping[str, int]
    seed: int = 0
    side: int = Field(default=SIDE, ge=32)
    world: int = WORLD


def export(content: Export, folder: Path, *, on_progress: Callable[[int], None] = lambda _: None) -> bool:
    """Writes the folder completely or not at all. Returns False if it already holds the same export.

    Raises InputError if the folder holds anything else or cannot be written.

    Args:
        on_progress: called with the number of scenes written since the last call.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: is a file; name a folder that is new")
    if folder.is_dir() and any(folder.iterdir()):
        if _read_manifest(folder) == content:
            return False
        raise InputError(f"--out {folder}: holds something else; name a folder that is new or empty")
    unfinished = folder.resolve().with_name(f"{folder.resolve().name}.unfinished")
    try:
        if (unfinished / FIRST).is_file():
            shutil.rmtree(unfinished)  # left by an export that was killed
        unfinished.mkdir(parents=True)
        _write(content, unfinished, on_progress)
        unfinished.replace(folder)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written: {error.strerror or error}") from error
    return True


def _read_manifest(folder: Path) -> Export | None:
    try:
        return Export.model_validate_json(read_bytes(folder / MANIFEST))
    except (InputError, ValidationError):
        return None


def _write(content: Export, folder: Path, on_progress: Callable[[int], None]) -> None:
    shutil.copyfile(VOCABULARY, folder / FIRST)
    (folder / "answers.txt").write_text("\n".join(ANSWER_SET) + "\n", encoding="utf-8")
    (folder / "annotations").mkdir()
    with _list_file(folder / "dataset_coco.json", "images", {"dataset": NAME}) as add_captions:
        images_before = 0
        for split in (split for split in SPLITS if split in content.scenes):
            _SplitWriter(content, folder, split, images_before).write(add_captions, on_progress)
            images_before += content.scenes[split]
    _overview(content).save(folder / "overview.png")
    (folder / MANIFEST).write_text(content.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _overview(content: Export) -> Image.Image:
    split = next(split for split in SPLITS if split in content.scenes)
    count = min(ROWS * COLUMNS, content.scenes[split])
    return overview([scene_at(split, index, seed=content.seed, side=content.side) for index in range(count)])


Add = Callable[[Any], None]


@contextmanager
def _list_file(path: Path, key: str, head: Mapping[str, Any]) -> Iterator[Add]:
    """Writes a JSON object: the head, then a list under `key`. Yields a function that appends an entry to the list."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{json.dumps(head)[:-1]}, {json.dumps(key)}: [")
        count = 0

        def add(entry: Any) -> None:
            nonlocal count
            file.write(f"{',' if count else ''}\n{json.dumps(entry)}")
            count += 1

        yield add
        file.write("\n]}\n")


class _SplitWriter:
    """Writes the files of one split.

    Args:
        images_before: images of other splits, whose captions are in the same file.
    """

    def __init__(self, content: Export, folder: Path, split: str, images_before: int) -> None:
        self.content, self.folder, self.split, self.images_before = content, folder, split, images_before
        self.count = content.scenes[split]
        self.subtype = SUBTYPES[split]  # train2014, val2014 or test2015
        self.nlvr2_split = NLVR2_SPLITS[split]
        (folder / "images" / self.subtype).mkdir(parents=True)

    def write(self, add_captions: Add, on_progress: Callable[[int], None]) -> None:
        info = {"info": {"description": f"Generated shapes, version {self.content.world}"}, "license": {}}
        vqa = info | {"data_type": NAME, "data_subtype": self.subtype}
        with ExitStack() as stack:
            add_question = stack.enter_context(
                _list_file(
                    self.folder / f"v2_OpenEnded_mscoco_{self.subtype}_questions.json",
                    "questions",
                    vqa | {"task_type": "Open-Ended"},
                )
            )
            add_annotation = stack.enter_context(
                _list_file(self.folder / f"v2_mscoco_{self.subtype}_annotations.json", "annotations", vqa)
            )
            add_box = stack.enter_context(
                _list_file(
                    self.folder / "annotations" / f"instances_{self.subtype}.json", "annotations", self._instances()
                )
            )
            statements = stack.enter_context((self.folder / f"{self.nlvr2_split}.json").open("w", encoding="utf-8"))
            left: tuple[Scene, bytes] | None = None
            for index in range(self.count):
                scene = scene_at(self.split, index, seed=self.content.seed, side=self.content.side)
                png = _png(scene)
                self._image_path(scene).write_bytes(png)
                _add_questions(scene, add_question, add_annotation)
                add_captions(self._captions(scene))
                for box in _boxes(scene):
                    add_box(box)
                if left is not None:
                    self._write_statement(statements, left, (scene, png))
                left = (scene, png) if index % 2 == 0 else None
                on_progress(1)

    def _image_path(self, scene: Scene) -> Path:
        return self.folder / "images" / self.subtype / f"{NAME}_{self.subtype}_{scene.index:012}.png"

    def _instances(self) -> dict[str, Any]:
        """COCO's instances file without the boxes."""
        side = self.content.side
        return {
            "info": {"description": f"Generated shapes, version {self.content.world}"},
            "licenses": [],
            "images": [
                {"id": index, "file_name": f"{NAME}_{self.subtype}_{index:012}.png", "width": side, "height": side}
                for index in range(self.count)
            ],
            "categories": [
                {"id": number, "name": name, "supercategory": name.split()[1]}
                for number, name in enumerate(CLASSES, start=1)
            ],
        }

    def _captions(self, scene: Scene) -> dict[str, Any]:
        texts, image = captions(scene), self.images_before + scene.index
        numbers = range(len(texts) * image, len(texts) * (image + 1))
        return {
            "filepath": self.subtype,
            "filename": self._image_path(scene).name,
            "split": self.split,
            "cocoid": scene.index,
            "imgid": image,
            "sentids": list(numbers),
            "sentences": [
                {"raw": text, "tokens": text.split(), "imgid": image, "sentid": number}
                for number, text in zip(numbers, texts, strict=True)
            ],
        }

    def _write_statement(self, file: TextIO, left: tuple[Scene, bytes], right: tuple[Scene, bytes]) -> None:
        """Writes a statement about two scenes, and their images."""
        pair, name = left[0].index // 2, self.nlvr2_split
        statement = statement_about(left[0], right[0])
        line = {"identifier": f"{name}-{pair}-0-0", "sentence": statement.text, "label": str(statement.label)}
        images = self.folder / "images" / name
        if self.split == "train":
            line["directory"] = str(pair // PAIRS_PER_FOLDER)
            images /= line["directory"]
        images.mkdir(parents=True, exist_ok=True)
        for side, (_, png) in enumerate((left, right)):
            (images / f"{name}-{pair}-0-img{side}.png").write_bytes(png)
        file.write(json.dumps(line) + "\n")


def _png(scene: Scene) -> bytes:
    file = BytesIO()
    Image.fromarray(draw(scene)).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def _add_questions(scene: Scene, add_question: Add, add_annotation: Add) -> None:
    for number, question in enumerate(questions_about(scene)):
        ids = {"question_id": question_number(scene.index, number), "image_id": scene.index}
        add_question(ids | {"question": question.text})
        people = [
            {"answer": question.answer, "answer_confidence": "yes", "answer_id": person}
            for person in range(1, PEOPLE + 1)
        ]
        kinds = {"question_type": question.kind, "answer_type": _answer_type(question.answer)}
        add_annotation(ids | kinds | {"multiple_choice_answer": question.answer, "answers": people})


def _answer_type(answer: str) -> str:
    """The type that VQA gives such an answer."""
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdecimal() else "other"


def _boxes(scene: Scene) -> Iterator[dict[str, Any]]:
    """COCO's annotations, from the back of the scene to the front."""
    for index, thing in enumerate(scene.things):
        x1, y1, x2, y2 = thing.box
        yield {
            "id": 10 * scene.index + index + 1,
            "image_id": scene.index,
            "category_id": class_of(thing) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
            "segmentation": [],
        }
