"""NLVR (Suhr et al. 2017) and NLVR2 (Suhr et al. 2019): one JSON object a line, as lil-lab publishes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.tasks.items import Item
from vlbench.tasks.readers.files import folder_of, found, read_lines

ORDERS = 6  # of NLVR's three boxes, a picture each
LABELS = ("true", "false")


def read_nlvr(folder: Path, split: str) -> list[Item]:
    """NLVR v1: each statement with every picture, one of six orders of its boxes.

    Pictures lie in `images/DIRECTORY/` beside the file as `SPLIT-IDENTIFIER-K.png`.
    """
    path = found(folder, (f"{split}/{split}.json", f"{split}.json"))

    def items(line: dict[str, Any]) -> list[Item]:
        identifier = line["identifier"]
        images = path.parent / "images" / str(line["directory"])
        return [
            Item(
                identifier=f"{identifier}-{order}",
                text=line["sentence"],
                images=(images / f"{split}-{identifier}-{order}.png",),
                answers=_answers(line),
                unit=identifier.split("-")[0],
                group=identifier.split("-")[0],
            )
            for order in range(ORDERS)
        ]

    return [item for made in read_lines(path, items) for item in made]


def read_nlvr2(folder: Path, split: str) -> list[Item]:
    """NLVR2: each statement with two photographs, `SPLIT-SET-PAIR-img0.png` and `-img1.png`.

    They lie in `SPLIT/` or `images/SPLIT/`; those of train in `images/train/DIRECTORY/`.
    """
    path = found(folder, (f"{split}.json",))
    images = folder_of(folder, (f"images/{split}", split))

    def item(line: dict[str, Any]) -> Item:
        identifier = line["identifier"]
        name, set_number, pair, sentence = identifier.split("-")
        own = images / str(line["directory"]) if "directory" in line else images
        return Item(
            identifier=identifier,
            text=line["sentence"],
            images=tuple(own / f"{name}-{set_number}-{pair}-img{side}.png" for side in (0, 1)),
            answers=_answers(line),
            unit=f"{set_number}-{sentence}",
            group=f"{set_number}-{sentence}",
            pair=f"{line.get('left_url', set_number)} {line.get('right_url', pair)}",
        )

    return read_lines(path, item)


def _answers(line: dict[str, Any]) -> tuple[str, ...]:
    if "label" not in line:
        return ()
    label = str(line["label"]).lower()
    if label not in LABELS:
        raise ValueError(f"the label {line['label']!r} is neither true nor false")
    return (label,)
