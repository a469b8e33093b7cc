"""NLVR (Suhr et al. 2017) and NLVR2 (Suhr et al. 2019), as lil-lab publishes them: one JSON object per line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from vlbench.errors import InputError, quoted
from vlbench.files.json_files import read_json_lines
from vlbench.tasks.items import Item
from vlbench.tasks.readers.files import find_file, find_folder, path_within
from vlbench.tasks.readers.records import Identifier, Record, checked

PICTURES = 6  # per statement: one for each order of the three boxes
HIDDEN = "hidden"


def _in_lower_case(label: object) -> object:
    lower = str(label).lower()
    return lower if lower in ("true", "false") else label


class StatementRecord(Record):
    """A line of either file; a split that does not publish its labels has none."""

    identifier: str
    sentence: str
    label: Annotated[Literal["true", "false"], BeforeValidator(_in_lower_case)] | None = None
    directory: Identifier | None = None
    left_url: str | None = None
    right_url: str | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        return () if self.label is None else (self.label,)


def read_nlvr(folder: Path, split: str) -> list[Item]:
    """NLVR v1: one item for each statement and each of its six pictures.

    Pictures are `images/DIRECTORY/SPLIT-IDENTIFIER-K.png`, in the folder of the JSON file. The lines of the split
    HIDDEN do not name the directory, so its pictures are found by their names.
    """
    path = find_file(folder, (f"{split}/{split}.json", f"{split}.json"))
    images = path.parent / "images"
    directories = {path.name: path.parent.name for path in images.glob("*/*.png")} if split == HIDDEN else {}
    items = []
    for number, content in read_json_lines(path):
        where = f"{path} line {number}"
        line = checked(where, content, StatementRecord)
        if line.directory is None and split != HIDDEN:
            raise InputError(f"{where}: the key 'directory' is missing")
        names = [f"{split}-{line.identifier}-{order}.png" for order in range(PICTURES)]
        statement = line.identifier.split("-")[0]
        items += [
            Item(
                identifier=f"{line.identifier}-{order}",
                text=line.sentence,
                images=(path_within(images, f"{directories.get(name, line.directory or '.')}/{name}", where),),
                answers=line.answers,
                unit=statement,
                group=statement,
            )
            for order, name in enumerate(names)
        ]
    return items


def read_nlvr2(folder: Path, split: str) -> list[Item]:
    """NLVR2: one item for each statement about two photographs, `SPLIT-SET-PAIR-img0.png` and `-img1.png`.

    Photographs are in `SPLIT/` or `images/SPLIT/`; those of the training split in `images/train/DIRECTORY/`.
    """
    path = find_file(folder, (f"{split}.json",))
    images = find_folder(folder, (f"images/{split}", split))
    return [_pair(f"{path} line {number}", content, images) for number, content in read_json_lines(path)]


def _pair(where: str, content: object, images: Path) -> Item:
    line = checked(where, content, StatementRecord)
    parts = line.identifier.split("-")
    if len(parts) != 4:
        raise InputError(f"{where}: the identifier {quoted(line.identifier)} is not SPLIT-SET-PAIR-SENTENCE")
    name, set_number, pair, sentence = parts
    directory = "" if line.directory is None else f"{line.directory}/"
    return Item(
        identifier=line.identifier,
        text=line.sentence,
        images=tuple(
            path_within(images, f"{directory}{name}-{set_number}-{pair}-img{side}.png", where) for side in (0, 1)
        ),
        answers=line.answers,
        unit=f"{set_number}-{sentence}",
        group=f"{set_number}-{sentence}",
        pair=f"{line.left_url or set_number} {line.right_url or pair}",
    )
