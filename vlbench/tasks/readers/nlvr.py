"""NLVR (Suhr et al. 2017) and NLVR2 (Suhr et al. 2019), as lil-lab publishes them: one JSON object per line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.tasks.items import Item
from vlbench.tasks.readers.files import find_file, find_folder, read_lines

PICTURES = 6  # per statement: one for each order of the three boxes
LABELS = ("true", "false")


def read_nlvr(folder: Path, split: str) -> list[Item]:
    """NLVR v1: one item for each statement and each of its six pictures.

    Pictures are `images/DIRECTORY/SPLIT-IDENTIFIER-K.png`, in the folder of the JSON file.
    """
    path = find_file(folder, (f"{split}/{split}.json", f"{split}.json"))

    def items(line: dict[str, Any]) -> list[Item]:
        identifier = line["identifier"]
        images = path.parent / "images" / str(line["directory"])
        statement = identifier.split("-")[0]
        return [
            Item(
                identifier=f"{identifier}-{number}",
                text=line["sentence"],
                images=(images / f"{split}-{identifier}-{number}.png",),
                answers=_answers(line),
                unit=statement,
                group=statement,
            )
            for number in range(PICTURES)
        ]

    return [item for line_items in read_lines(path, items) for item in line_items]


def read_nlvr2(folder: Path, split: str) -> list[Item]:
    """NLVR2: one item for each statement about two photographs, `SPLIT-SET-PAIR-img0.png` and `-img1.png`.

    Photographs are in `SPLIT/` or `images/SPLIT/`; those of the training split in `images/train/DIRECTORY/`.
    """
    path = find_file(folder, (f"{split}.json",))
    images = find_folder(folder, (f"images/{split}", split))

    def item(line: dict[str, Any]) -> Item:
        identifier = line["identifier"]
        name, set_number, pair, sentence = identifier.split("-")
        directory = images / str(line["directory"]) if "directory" in line else images
        return Item(
            identifier=identifier,
            text=line["sentence"],
            images=tuple(directory / f"{name}-{set_number}-{pair}-img{side}.png" for side in (0, 1)),
            answers=_answers(line),
            unit=f"{set_number}-{sentence}",
            group=f"{set_number}-{sentence}",
            pair=f"{line.get('left_url', set_number)} {line.get('right_url', pair)}",
        )

    return read_lines(path, item)


def _answers(line: dict[str, Any]) -> tuple[str, ...]:
    """The label; nothing if the split does not publish it."""
    if "label" not in line:
        return ()
    label = str(line["label"]).lower()
    if label not in LABELS:
        raise ValueError(f"the label {line['label']!r} is neither true nor false")
    return (label,)
