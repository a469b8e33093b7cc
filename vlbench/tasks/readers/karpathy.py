"""Flickr30K and COCO captions in Karpathy's splits (Karpathy and Fei-Fei 2015): `dataset_*.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.files.json_files import read_json
from vlbench.tasks.items import Gallery
from vlbench.tasks.readers.files import find_file, find_folder, path_within
from vlbench.tasks.readers.records import Record, checked

CAPTIONS = 5  # per image; of the few images with more, papers use the first five


class CaptionRecord(Record):
    """A caption."""

    raw: str


class ImageRecord(Record):
    """An image and its captions; in COCO `filepath` is the folder of its file."""

    split: str
    filename: str
    filepath: str = ""
    sentences: list[CaptionRecord]


class CaptionFile(Record):
    """The whole file; entries are checked one by one, so that an error names one."""

    images: list[Any]


def read_flickr30k(folder: Path, split: str) -> Gallery:
    """The images and captions of a split of `dataset_flickr30k.json`, in its order."""
    images = find_folder(folder, ("images", "flickr30k-images", "flickr30k_images"))
    return _gallery(find_file(folder, ("dataset_flickr30k.json",)), split, images)


def read_coco(folder: Path, split: str) -> Gallery:
    """The images and captions of a split of `dataset_coco.json`, in its order; `train` includes `restval`."""
    images = find_folder(folder, ("images", "."))
    also = ("restval",) if split == "train" else ()
    return _gallery(find_file(folder, ("dataset_coco.json",)), split, images, also=also)


def _gallery(path: Path, split: str, folder: Path, *, also: tuple[str, ...] = ()) -> Gallery:
    """The entries of a split, and of those that belong to it `also`; their images are within `folder`."""
    captions_of: dict[Path, list[str]] = {}
    for number, content in enumerate(checked(str(path), read_json(path), CaptionFile).images, start=1):
        where = f"{path} image {number}"
        entry = checked(where, content, ImageRecord)
        if entry.split not in (split, *also):
            continue
        image = path_within(folder, str(Path(entry.filepath, entry.filename)), where)
        captions = [sentence.raw for sentence in entry.sentences][:CAPTIONS]
        if not captions:
            raise InputError(f"{where}: has no sentences")
        if image in captions_of:
            raise InputError(f"{where}: {entry.filename} occurs twice in the split {split!r}")
        captions_of[image] = captions
    if not captions_of:
        raise InputError(f"{path}: no image of the split {split!r}")
    return Gallery(
        images=tuple(captions_of),
        texts=tuple(caption for captions in captions_of.values() for caption in captions),
        image_of_text=tuple(index for index, captions in enumerate(captions_of.values()) for _ in captions),
    )
