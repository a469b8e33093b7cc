"""Reads and writes predictions in each benchmark's submission format.

Raises InputError if a file lacks an item, names one twice or an unknown one, or holds something other than answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vlbench.errors import InputError, quoted, shortened
from vlbench.files.arrays import read_arrays
from vlbench.files.csv_files import read_csv_rows
from vlbench.files.json_files import json_line, read_json
from vlbench.files.writing import replacing, write_text
from vlbench.tasks.items import Gallery, Item, and_more
from vlbench.tasks.metrics import Scores

LABELS = {"true": "True", "false": "False"}
NPZ_ARRAYS = ("scores", "image_of_text")
REAL_NUMBERS = "biuf"  # NumPy's kinds


def read_answers(path: Path) -> dict[str, str]:
    """VQA's result format: a JSON list of `{"question_id": ..., "answer": ...}`."""
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f'{path}: not a list of {{"question_id": 1, "answer": "yes"}}')
    pairs = []
    for number, entry in enumerate(content, start=1):
        fields = entry if isinstance(entry, dict) else {}
        if type(fields.get("question_id")) not in (int, str) or not isinstance(fields.get("answer"), str):
            raise InputError(f'{path} entry {number}: not {{"question_id": 1, "answer": "yes"}}')
        pairs.append((str(fields["question_id"]), fields["answer"]))
    return _without_duplicates(path, pairs)


def read_labels(path: Path) -> dict[str, str]:
    """NLVR's and NLVR2's CSV, with lines such as `identifier,True`. NLVR may name a picture's file, `dev-1-0-5.png`."""
    pairs = []
    for number, row in read_csv_rows(path):
        if len(row) != 2 or row[1].strip().lower() not in LABELS:
            raise InputError(f"{path} line {number}: not IDENTIFIER,True or IDENTIFIER,False: {quoted(','.join(row))}")
        pairs.append((_without_file_name(row[0].strip()), row[1].strip().lower()))
    return _without_duplicates(path, pairs)


def _without_file_name(identifier: str) -> str:
    """`1-0-5` for `dev-1-0-5.png`; any other identifier as it is."""
    return identifier.removesuffix(".png").partition("-")[2] if identifier.endswith(".png") else identifier


def read_scores(path: Path, gallery: Gallery) -> Scores:
    """A matrix of texts x images in the split's order: `.npy`, or `.npz` with the arrays `scores` and `image_of_text`.

    Raises InputError if its shape or its index does not fit the gallery, or if a score is not finite.
    """
    arrays = read_arrays(path)
    if set(arrays) == {""}:
        scores, index = arrays[""], gallery.image_of_text
    else:
        if set(NPZ_ARRAYS) - set(arrays):
            raise InputError(f"{path}: holds {', '.join(arrays) or 'nothing'}, not {' and '.join(NPZ_ARRAYS)}")
        scores, index = arrays["scores"], tuple(arrays["image_of_text"].ravel().tolist())
    if scores.dtype.kind not in REAL_NUMBERS:
        raise InputError(f"{path}: scores of type {scores.dtype}; save real numbers")
    texts, images = len(gallery.texts), len(gallery.images)
    if scores.shape == (images, texts) != (texts, images):
        raise InputError(f"{path}: images x texts; transpose it to texts x images, {texts} x {images}")
    if scores.shape != (texts, images):
        shape = " x ".join(map(str, scores.shape))
        raise InputError(f"{path}: {shape}, where the split has {texts} texts x {images} images")
    if index != gallery.image_of_text:
        raise InputError(f"{path}: image_of_text is not the split's; keep its order of texts and images")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        text, image = np.argwhere(~np.isfinite(scores))[0]
        raise InputError(f"{path}: the score of text {text} and image {image} is not a finite number")
    return scores


def write_answers(path: Path, predictions: Mapping[str, str]) -> None:
    entries = [{"question_id": int(identifier), "answer": answer} for identifier, answer in predictions.items()]
    write_text(path, json_line(entries) + "\n")


def write_labels(path: Path, predictions: Mapping[str, str]) -> None:
    lines = [f"{identifier},{LABELS[label.lower()]}\n" for identifier, label in predictions.items()]
    write_text(path, "".join(lines))


def write_scores(path: Path, scores_TI: Scores) -> None:
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, scores_TI, allow_pickle=False)


def check_complete(path: Path, predictions: Mapping[str, str], items: Sequence[Item], *, partial: bool) -> list[Item]:
    """The items that have a prediction.

    Raises InputError if a prediction belongs to no item, or if an item has no prediction, unless `partial` allows that.
    """
    known = {item.identifier for item in items}
    unknown = [identifier for identifier in predictions if identifier not in known]
    if unknown:
        raise InputError(f"{path}: {quoted(unknown[0])}{and_more(unknown)} is not in this split")
    missing = [item.identifier for item in items if item.identifier not in predictions]
    if missing and not partial:
        raise InputError(
            f"{path}: no prediction for {missing[0]}{and_more(missing)}; --partial scores the items that have one"
        )
    if len(missing) == len(items):
        raise InputError(f"{path}: holds no prediction")
    return [item for item in items if item.identifier in predictions]


def _without_duplicates(path: Path, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    predictions: dict[str, str] = {}
    for identifier, prediction in pairs:
        if identifier in predictions:
            raise InputError(f"{path}: {shortened(identifier)} occurs twice")
        predictions[identifier] = prediction
    return predictions
