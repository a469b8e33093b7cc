"""The generated world as files: PNG, and beside them the JSON of VQAv2, NLVR2, Karpathy's splits and COCO's boxes.

Each file has the name and the form that its data set's own tools read, and so do the readers here; only the images are
PNG, and are named as VQA names those that are none of COCO's.
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
from vlbench.frozen import Frozen
from vlbench.tasks.readers.vqav2 import ANSWERS, SPLITS
from vlbench.tasks.shapes.drawing import COLUMNS, ROWS, draw, overview
from vlbench.tasks.shapes.items import VOCABULARY, question_number
from vlbench.tasks.shapes.language import ANSWERS as ANSWER_SET
from vlbench.tasks.shapes.language import captions, questions
from vlbench.tasks.shapes.scenes import CLASSES, SIDE, WORLD, Scene, class_of, scene_at
from vlbench.tasks.shapes.scenes import SPLITS as ALL
from vlbench.tasks.shapes.statements import statement

FIRST, MANIFEST = "vocab.txt", "shapes.json"  # what is written first and last
NAME = "shapes"  # of the data, where VQA and Karpathy have the name of COCO
OF_NLVR2 = {"train": "train", "val": "dev", "test": "test1"}
A_FOLDER = 1000  # pairs of NLVR2's training split


class Export(Frozen):
    """What is exported: so many scenes of each split, from the first on. `world` is the version of the world.

    Attributes:
        side: of the images, in pixels.
        seed: of the scenes; 0 gives those that the tasks `shapes...` have.
    """

    scenes: Mapping[str, int]
    seed: int = 0
    side: int = Field(default=SIDE, ge=32)
    world: int = WORLD


def export(wanted: Export, folder: Path, *, listen: Callable[[int], None] = lambda _: None) -> bool:
    """Writes the folder, all of it or nothing; False where it is there already, exported alike.

    Raises InputError where the folder holds anything else or cannot be written.

    Args:
        listen: is told of scenes as they are written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: is a file; name a folder that is new")
    if folder.is_dir() and any(folder.iterdir()):
        if _exported(folder) == wanted:
            return False
        raise InputError(f"--out {folder}: holds something else; name a folder that is new or empty")
    unfinished = folder.resolve().with_name(f"{folder.resolve().name}.unfinished")
    try:
        if (unfinished / FIRST).is_file():
            shutil.rmtree(unfinished)  # of a run that was killed
        unfinished.mkdir(parents=True)
        _write(wanted, unfinished, listen)
        unfinished.replace(folder)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written: {error.strerror or error}") from error
    return True


def _exported(folder: Path) -> Export | None:
    try:
        return Export.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def _write(wanted: Export, folder: Path, listen: Callable[[int], None]) -> None:
    shutil.copyfile(VOCABULARY, folder / FIRST)
    (folder / "answers.txt").write_text("\n".join(ANSWER_SET) + "\n", encoding="utf-8")
    (folder / "annotations").mkdir()
    with _listing(folder / "dataset_coco.json", "images", {"dataset": NAME}) as described:
        before = 0
        for split in (one for one in ALL if one in wanted.scenes):
            _Split(wanted, folder, split, before).write(described, listen)
            before += wanted.scenes[split]
    _overview(wanted).save(folder / "overview.png")
    (folder / MANIFEST).write_text(wanted.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _overview(wanted: Export) -> Image.Image:
    split = next(one for one in ALL if one in wanted.scenes)
    count = min(ROWS * COLUMNS, wanted.scenes[split])
    return overview([scene_at(split, index, seed=wanted.seed, side=wanted.side) for index in range(count)])


Add = Callable[[Any], None]


@contextmanager
def _listing(path: Path, key: str, head: Mapping[str, Any]) -> Iterator[Add]:
    """A JSON object that ends with a list, an entry a line, which is written as it comes."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{json.dumps(head)[:-1]}, {json.dumps(key)}: [")
        count = 0

        def add(entry: Any) -> None:
            nonlocal count
            file.write(f"{',' if count else ''}\n{json.dumps(entry)}")
            count += 1

        yield add
        file.write("\n]}\n")


class _Split:
    """The files of one split. `before` images of other splits have their captions in the same file."""

    def __init__(self, wanted: Export, folder: Path, split: str, before: int) -> None:
        self.wanted, self.folder, self.split, self.before = wanted, folder, split, before
        self.count = wanted.scenes[split]
        self.subtype = SPLITS[split]  # train2014, val2014 or test2015
        self.sides = OF_NLVR2[split]
        (folder / "images" / self.subtype).mkdir(parents=True)

    def write(self, described: Add, listen: Callable[[int], None]) -> None:
        about = {"info": {"description": f"Generated shapes, version {self.wanted.world}"}, "license": {}}
        vqa = about | {"data_type": NAME, "data_subtype": self.subtype}
        with ExitStack() as stack:
            asked = stack.enter_context(
                _listing(
                    self.folder / f"v2_OpenEnded_mscoco_{self.subtype}_questions.json",
                    "questions",
                    vqa | {"task_type": "Open-Ended"},
                )
            )
            answered = stack.enter_context(
                _listing(self.folder / f"v2_mscoco_{self.subtype}_annotations.json", "annotations", vqa)
            )
            boxed = stack.enter_context(
                _listing(
                    self.folder / "annotations" / f"instances_{self.subtype}.json", "annotations", self._instances()
                )
            )
            stated = stack.enter_context((self.folder / f"{self.sides}.json").open("w", encoding="utf-8"))
            before: tuple[Scene, bytes] | None = None
            for index in range(self.count):
                scene = scene_at(self.split, index, seed=self.wanted.seed, side=self.wanted.side)
                encoded = _png(scene)
                self._image(scene).write_bytes(encoded)
                _add_questions(scene, asked, answered)
                described(self._captions(scene))
                for box in _boxes(scene):
                    boxed(box)
                if before is not None:
                    self._state(stated, before, (scene, encoded))
                before = (scene, encoded) if index % 2 == 0 else None
                listen(1)

    def _image(self, scene: Scene) -> Path:
        return self.folder / "images" / self.subtype / f"{NAME}_{self.subtype}_{scene.index:012}.png"

    def _instances(self) -> dict[str, Any]:
        """All of COCO's instances but the boxes themselves."""
        side = self.wanted.side
        return {
            "info": {"description": f"Generated shapes, version {self.wanted.world}"},
            "licenses": [],
            "images": [
                {"id": index, "file_name": f"{NAME}_{self.subtype}_{index:012}.png", "width": side, "height": side}
                for index in range(self.count)
            ],
            "categories": [
                {"id": place, "name": name, "supercategory": name.split()[1]}
                for place, name in enumerate(CLASSES, start=1)
            ],
        }

    def _captions(self, scene: Scene) -> dict[str, Any]:
        texts, image = captions(scene), self.before + scene.index
        numbers = range(len(texts) * image, len(texts) * (image + 1))
        return {
            "filepath": self.subtype,
            "filename": self._image(scene).name,
            "split": self.split,
            "cocoid": scene.index,
            "imgid": image,
            "sentids": list(numbers),
            "sentences": [
                {"raw": text, "tokens": text.split(), "imgid": image, "sentid": number}
                for number, text in zip(numbers, texts, strict=True)
            ],
        }

    def _state(self, file: TextIO, left: tuple[Scene, bytes], right: tuple[Scene, bytes]) -> None:
        pair = left[0].index // 2
        said = statement(left[0], right[0])
        line = {"identifier": f"{self.sides}-{pair}-0-0", "sentence": said.text, "label": str(said.label)}
        images = self.folder / "images" / self.sides
        if self.split == "train":
            line["directory"] = str(pair // A_FOLDER)
            images /= line["directory"]
        images.mkdir(parents=True, exist_ok=True)
        for side, (_, encoded) in enumerate((left, right)):
            (images / f"{self.sides}-{pair}-0-img{side}.png").write_bytes(encoded)
        file.write(json.dumps(line) + "\n")


def _png(scene: Scene) -> bytes:
    encoded = BytesIO()
    Image.fromarray(draw(scene)).save(encoded, format="PNG", compress_level=1)
    return encoded.getvalue()


def _add_questions(scene: Scene, asked: Add, answered: Add) -> None:
    for number, one in enumerate(questions(scene)):
        named = {"question_id": question_number(scene.index, number), "image_id": scene.index}
        asked(named | {"question": one.text})
        people = [
            {"answer": one.answer, "answer_confidence": "yes", "answer_id": place} for place in range(1, ANSWERS + 1)
        ]
        kinds = {"question_type": one.kind, "answer_type": _answer_type(one.answer)}
        answered(named | kinds | {"multiple_choice_answer": one.answer, "answers": people})


def _answer_type(answer: str) -> str:
    """As VQA has it."""
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdecimal() else "other"


def _boxes(scene: Scene) -> Iterator[dict[str, Any]]:
    """COCO's annotations: x, y, width and height; those behind come first."""
    for place, thing in enumerate(scene.things):
        x1, y1, x2, y2 = thing.box
        yield {
            "id": 10 * scene.index + place + 1,
            "image_id": scene.index,
            "category_id": class_of(thing) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
            "segmentation": [],
        }
