"""Small data sets in the official layouts, made here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.helpers import write_lines


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def picture(path: Path, colour: Sequence[int] = (200, 30, 30), size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = "RGBA" if len(colour) == 4 else "RGB"
    Image.new(mode, size, tuple(colour)).save(path)
    return path


def vqav2(folder: Path, *, questions: int = 12, split: str = "val2014", annotations: bool = True) -> Path:
    """Two questions per image; ten people answer each, and some disagree."""
    asked = [
        {"image_id": 1 + number // 2, "question": f"What is number {number % 3}?", "question_id": 100 + number}
        for number in range(questions)
    ]
    write_json(folder / f"v2_OpenEnded_mscoco_{split}_questions.json", {"questions": asked})
    if annotations:
        answered = [
            {
                "question_id": one["question_id"],
                "image_id": one["image_id"],
                "answer_type": ("yes/no", "number", "other")[number % 3],
                "answers": [
                    {"answer": answer, "answer_id": place}
                    for place, answer in enumerate(["yes"] * (10 - number % 4) + ["no"] * (number % 4), start=1)
                ],
            }
            for number, one in enumerate(asked)
        ]
        write_json(folder / f"v2_mscoco_{split}_annotations.json", {"annotations": answered})
    for image in range(1, questions // 2 + 1):
        picture(folder / split / f"COCO_{split}_{image:012}.jpg")
    return folder


def nlvr2(folder: Path, *, sets: int = 3, split: str = "dev") -> Path:
    """Two statements for each of two pairs per set."""
    lines = [
        {
            "identifier": f"{split}-{number}-{pair}-{sentence}",
            "sentence": f"There are {number} dogs.",
            "label": ("True", "False")[(pair + sentence) % 2],
            "left_url": f"left{number}{pair}",
            "right_url": "right",
        }
        for number in range(sets)
        for pair in range(2)
        for sentence in range(2)
    ]
    write_lines(folder / f"{split}.json", lines)
    for number in range(sets):
        for pair in range(2):
            for side in range(2):
                picture(folder / split / f"{split}-{number}-{pair}-img{side}.png")
    return folder


def nlvr(folder: Path, *, statements: int = 3, split: str = "dev") -> Path:
    """RGBA pictures, as the real ones are."""
    lines = [
        {"identifier": f"{number}-0", "sentence": "A box.", "label": ("true", "false")[number % 2], "directory": "4"}
        for number in range(statements)
    ]
    write_lines(folder / split / f"{split}.json", lines)
    for number in range(statements):
        for order in range(6):
            picture(
                folder / split / "images" / "4" / f"{split}-{number}-0-{order}.png", (0, 0, 9 * order, 255), (64, 16)
            )
    return folder


def karpathy(folder: Path, *, images: int = 4, data: str = "flickr30k", captions: int = 5) -> Path:
    """All but the last image are of the test split."""
    entries = [
        {
            "filename": f"{number}.jpg",
            "split": "test" if number < images - 1 else "val",
            "sentences": [{"raw": f"Caption {place} of {number}."} for place in range(captions)],
            **({"filepath": "val2014"} if data == "coco" else {}),
        }
        for number in range(images)
    ]
    write_json(folder / f"dataset_{data}.json", {"images": entries})
    for number in range(images):
        picture(folder / "images" / ("val2014" if data == "coco" else "") / f"{number}.jpg")
    return folder


def easy_vqa(folder: Path, *, questions: int = 12) -> Path:
    """A test split of two questions per image, and a training split with the same questions."""
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255)}
    (folder / "answers.txt").parent.mkdir(parents=True, exist_ok=True)
    (folder / "answers.txt").write_text("red\nblue\nyes\nno")
    for split in ("train", "test"):
        triples = []
        for number in range(questions):
            colour = ("red", "blue")[number // 2 % 2]
            triples.append(
                ["what color is it?", colour, number // 2]
                if number % 2
                else ["is it red?", "yes" if colour == "red" else "no", number // 2]
            )
            picture(folder / split / "images" / f"{number // 2}.png", colours[colour])
        write_json(folder / split / "questions.json", triples)
    return folder
