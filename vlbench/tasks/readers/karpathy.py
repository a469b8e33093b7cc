"""Flickr30K and COCO captions in Karpathy's splits (Karpathy and Fei-Fei 2015): `dataset_*.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.tasks.items import Gallery
from vlbench.tasks.readers.files import checked, folder_of, found, read_json

CAPTIONS = 5  # an image; the few that have more are scored by their first five, as papers do


def read_karpathy(folder: Path, split: str, *, data: str) -> Gallery:
    """The images and captions of a split of `dataset_DATA.json`, in its order; `data` is flickr30k or coco."""
    path = found(folder, (f"dataset_{data}.json",))
    wanted = {"train", "restval"} if split == "train" and data == "coco" else {split}
    images: list[Path] = []
    texts: list[str] = []
    owners: list[int] = []
    pictures = folder_of(
        folder, ("images", "flickr30k-images", "flickr30k_images") if data == "flickr30k" else ("images", ".")
    )

    def read(entry: dict[str, Any]) -> tuple[str, Path, list[str]]:
        sentences = [str(one["raw"]) for one in entry["sentences"]][:CAPTIONS]
        return entry["split"], pictures / entry.get("filepath", "") / entry["filename"], sentences

    entries = checked(str(path), read_json(path), lambda content: content["images"])
    for place, entry in enumerate(entries, start=1):
        own, image, captions = checked(f"{path} image {place}", entry, read)
        if own in wanted:
            owners += [len(images)] * len(captions)
            images.append(image)
            texts += captions
    if not images:
        raise InputError(f"{path}: no image of the split {split!r}")
    return Gallery(images=tuple(images), texts=tuple(texts), image_of_text=tuple(owners))
