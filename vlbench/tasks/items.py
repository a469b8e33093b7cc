"""What a data set holds, whatever its files look like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vlbench.errors import InputError

GENERATED = "shapes:"  # begins the path of an image that is drawn when it is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that a model answers: a question about an image, or whether a statement holds of an image or two.

    Attributes:
        identifier: as predictions name it.
        text: the question or the statement.
        images: one, or left and right.
        answers: those of people, ten in VQAv2 and one elsewhere; empty where the split keeps them to itself.
        unit: what items share that are not independent of each other: their image, their statement.
        group: the statement that consistency is about; empty where there is none.
        pair: both images, which tell what is balanced; empty where that is not asked.
        kind: of answer, by which accuracy is told too: yes/no, number, other; empty where the data set has no kinds.
    """

    identifier: str
    text: str
    images: tuple[Path, ...]
    answers: tuple[str, ...]
    unit: str
    group: str = ""
    pair: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Images and their captions, all of which are searched. `image_of_text` gives each text's image, by its place."""

    images: tuple[Path, ...]
    texts: tuple[str, ...]
    image_of_text: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A share between 0 and 1, with its bootstrap 95% interval; `n` says how many things it is the mean of."""

    name: str
    value: float
    ci95: tuple[float, float] | None
    n: int


def check_images(paths: Iterable[Path]) -> None:
    """Raises InputError where an image is missing, so that it is known before anything runs."""
    missing = [path for path in dict.fromkeys(paths) if not path.name.startswith(GENERATED) and not path.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}: no such image{more}; download the split's images, or leave items out: --limit")
