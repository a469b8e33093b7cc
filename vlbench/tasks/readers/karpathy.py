"""Flickr30K and COCO captions in Karpathy's splits (Karpathy and Fei-Fei 2015): `dataset_*.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.tasks.items import Gallery
from vlbench.tasks.readers.files import checked, find_file, find_folder, read_json

CAPTIONS = 5  # per image; of the few images with more, papers use the first five


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
    images: list[Path] = []
    texts: list[str] = []
    image_of_text: list[int] = []

    def read(entry: dict[str, Any]) -> tuple[str, Path, list[str]]:
        captions = [str(sentence["raw"]) for sentence in entry["sentences"]][:CAPTIONS]
        return entry["split"], folder / entry.get("filepath", "") / entry["filename"], captions

    entries = checked(str(path), read_json(path), lambda content: content["images"])
    for number, entry in enumerate(entries, start=1):
        entry_split, image, captions = checked(f"{path} image {number}", entry, read)
        if entry_split in (split, *also):
            image_of_text += [len(images)] * len(captions)
            images.append(image)
            texts += captions
    if not images:
        raise InputError(f"{path}: no image of the split {split!r}")
    return Gallery(images=tuple(images), texts=tuple(texts), image_of_text=tuple(image_of_text))
