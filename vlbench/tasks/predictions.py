"""Predictions in each benchmark's submission format, written and read.

A file that misses or doubles an item, names an unknown one or holds what is no answer is refused.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from vlbench.errors import InputError
from vlbench.tasks.items import Gallery, Item
from vlbench.tasks.metrics import Scores

LABELS = {"true": "True", "false": "False"}
INDEX_NAMES = ("scores", "image_of_text")


def read_answers(path: Path) -> dict[str, str]:
    """VQA's results: a JSON list of `{"question_id": ..., "answer": ...}`."""
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} line {error.lineno}: not JSON; cut off or damaged") from error
    if not isinstance(content, list):
        raise InputError(f'{path}: not a list of {{"question_id": 1, "answer": "yes"}}')
    pairs = []
    for place, entry in enumerate(content, start=1):
        if not isinstance(entry, dict) or "question_id" not in entry or not isinstance(entry.get("answer"), str):
            raise InputError(f'{path} entry {place}: not {{"question_id": 1, "answer": "yes"}}')
        pairs.append((str(entry["question_id"]), entry["answer"]))
    return _each_once(path, pairs)


def read_labels(path: Path) -> dict[str, str]:
    """NLVR's and NLVR2's CSV: `identifier,True` a line. NLVR's pictures may have their file's name, `dev-1-0-5.png`."""
    pairs = []
    for number, row in enumerate(csv.reader(_text(path).splitlines()), start=1):
        if not row:
            continue
        if len(row) != 2 or row[1].strip().lower() not in LABELS:
            raise InputError(f"{path} line {number}: not IDENTIFIER,True or IDENTIFIER,False: {','.join(row)[:60]!r}")
        pairs.append((_bare(row[0].strip()), row[1].strip().lower()))
    return _each_once(path, pairs)


def _bare(identifier: str) -> str:
    """`1-0-5` for `dev-1-0-5.png`; all else as it is."""
    return identifier.removesuffix(".png").partition("-")[2] if identifier.endswith(".png") else identifier


def read_scores(path: Path, gallery: Gallery) -> Scores:
    """A matrix of texts x images, in the split's order: `.npy`, or `.npz` with `scores` and its own `image_of_text`.

    Raises InputError where it has another shape or another index, or holds what is no number.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or 'cut off or damaged'}") from error
    except (ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: not a .npy or .npz file of numbers") from error
    if isinstance(loaded, np.ndarray):
        scores, index = loaded, gallery.image_of_text
    else:
        if set(INDEX_NAMES) - set(loaded.files):
            raise InputError(f"{path}: holds {', '.join(loaded.files) or 'nothing'}, not {' and '.join(INDEX_NAMES)}")
        scores, index = loaded["scores"], tuple(loaded["image_of_text"].tolist())
    wanted = (len(gallery.texts), len(gallery.images))
    if scores.shape == wanted[::-1] != wanted:
        raise InputError(f"{path}: images x texts; transpose it to texts x images, {wanted[0]} x {wanted[1]}")
    if scores.shape != wanted:
        shape = " x ".join(map(str, scores.shape))
        raise InputError(f"{path}: {shape}, where the split has {wanted[0]} texts x {wanted[1]} images")
    if index != gallery.image_of_text:
        raise InputError(f"{path}: image_of_text is not the split's; keep its order of texts and images")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        text, image = np.argwhere(~np.isfinite(scores))[0]
        raise InputError(f"{path}: the score of text {text} and image {image} is no finite number")
    return scores


def write_answers(path: Path, predictions: Mapping[str, str]) -> None:
    entries = [{"question_id": int(identifier), "answer": answer} for identifier, answer in predictions.items()]
    path.write_text(json.dumps(entries) + "\n", encoding="utf-8")


def write_labels(path: Path, predictions: Mapping[str, str]) -> None:
    lines = [f"{identifier},{LABELS[label.lower()]}\n" for identifier, label in predictions.items()]
    path.write_text("".join(lines), encoding="utf-8")


def write_pictures(path: Path, predictions: Mapping[str, str], split: str) -> None:
    """NLVR's form, in which a picture is named by its file."""
    write_labels(path, {f"{split}-{identifier}.png": label for identifier, label in predictions.items()})


def write_scores(path: Path, scores_TI: Scores) -> None:
    with path.open("wb") as file:
        np.save(file, scores_TI, allow_pickle=False)


def check_complete(path: Path, predictions: Mapping[str, str], items: Sequence[Item], *, partial: bool) -> list[Item]:
    """The items that there are predictions for: all of them, unless `partial`. Raises InputError otherwise."""
    known = {item.identifier for item in items}
    unknown = [identifier for identifier in predictions if identifier not in known]
    if unknown:
        raise InputError(f"{path}: {unknown[0]!r}{_more(unknown)} is not in this split")
    missing = [item.identifier for item in items if item.identifier not in predictions]
    if missing and not partial:
        raise InputError(f"{path}: no prediction for {missing[0]}{_more(missing)}; --partial scores those there are")
    if len(missing) == len(items):
        raise InputError(f"{path}: holds no prediction")
    return [item for item in items if item.identifier in predictions]


def _each_once(path: Path, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for identifier, value in pairs:
        if identifier in found:
            raise InputError(f"{path}: {identifier} stands there twice")
        found[identifier] = value
    return found


def _more(identifiers: Sequence[str]) -> str:
    return f" (and {len(identifiers) - 1} more)" if len(identifiers) > 1 else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8") from error
