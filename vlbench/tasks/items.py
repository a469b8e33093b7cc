"""What a data set holds, whatever the format of its files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlbench.errors import InputError

GENERATED = "shapes:"  # begins the path of an image that is drawn on demand and has no file


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A question about an image, or a statement about one or two images.

    Attributes:
        identifier: as files of predictions name it.
        text: the question or the statement.
        images: one, or left and right.
        answers: given by people: ten in VQAv2, one elsewhere; empty if the split's answers are not public.
        unit: items of one unit are not independent; they share an image or a statement.
        group: consistency counts the items of a group together; empty if the data set does not define consistency.
        pair: names the two images; NLVR2's balanced subset is defined by it. Empty for other data sets.
        kind: of answer, such as yes/no or number; accuracy is also reported by kind. Empty if the data set has none.
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
    """Images and captions for retrieval. `image_of_text` gives the index of each text's image."""

    images: tuple[Path, ...]
    texts: tuple[str, ...]
    image_of_text: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The mean of `n` values between 0 and 1, with its 95% interval; see `intervals.mean_interval`."""

    name: str
    value: float
    ci95: tuple[float, float] | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """The mean difference of `n` values, each between 0 and 1, to those of another model for the same items.

    Attributes:
        ci95: see `intervals.bootstrap_interval`; None for fewer than ten units.
        changed: how many answers differ; of a ranking, how many texts have another first image.
    """

    value: float
    ci95: tuple[float, float] | None
    changed: int
    n: int


def and_more(things: Sequence[object]) -> str:
    """What follows the first thing in an error message: " (and 2 more)", or nothing if it is the only one."""
    return f" (and {len(things) - 1} more)" if len(things) > 1 else ""


def check_images(paths: Iterable[Path]) -> None:
    """Raises InputError if an image is missing, before any model runs."""
    missing = [path for path in dict.fromkeys(paths) if not path.name.startswith(GENERATED) and not path.is_file()]
    if missing:
        raise InputError(
            f"{missing[0]}: no such image{and_more(missing)}; download the split's images, or leave items out: --limit"
        )
