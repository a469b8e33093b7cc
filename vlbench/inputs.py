"""The photograph and the sentence that models are measured on. Both are checked before a model is built."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from vlbench.errors import InputError
from vlbench.files.images import open_image
from vlbench.specs import AnySpec, Input
from vlbench.specs.text import TextSpec

DEFAULT_TEXT = "A woman in a dark uniform with medals stands in front of a flag."
WORD = re.compile(r"\w+|[^\w\s\0-\x1f\x7f-\x9f]")  # as BERT, without control characters
CLS, SEP, FIRST_WORD = TextSpec.begin, TextSpec.end, 999  # as in BERT's vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One image and one text, on disk and checked."""

    image: Path
    image_sha256: str
    text: str


def default_image() -> Path:
    """The photograph of Grace Hopper (public domain) that matplotlib installs."""
    package = find_spec("matplotlib")  # its import is slow, its data folder is all that is needed
    name = Path("sample_data", "grace_hopper.jpg")
    if package and package.origin and (path := Path(package.origin).parent / "mpl-data" / name).is_file():
        return path
    import matplotlib  # noqa: PLC0415  some distributions keep its data elsewhere, and only it knows where

    return Path(matplotlib.get_data_path()) / name


def read_example(image: Path | None, text: str | None) -> Example:
    """An example of this image and this text, or of the defaults. Raises InputError if they cannot be used."""
    path = image or default_image()
    open_image(path)
    chosen = DEFAULT_TEXT if text is None else text
    if not words(chosen):
        raise InputError("--text: the text has no words; any sentence works")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Example(image=path, image_sha256=digest, text=chosen)


def short_text(specs: Sequence[AnySpec]) -> str:
    """The default sentence, or its start, short enough for all of these models."""
    fewest = min(spec.input.text_tokens for spec in specs)
    text = DEFAULT_TEXT
    while len(words(text)) > max(1, fewest - 2):
        text = text.rpartition(" ")[0]
    return text


def pixels(example: Example, model_input: Input) -> np.ndarray:
    """The image, resized (bicubic) to the model's input size and normalised, (3, H, W) float32."""
    height, width = model_input.image_size
    resized = open_image(example.image).resize((width, height), Image.Resampling.BICUBIC)
    return normalised(resized, model_input)


def normalised(image: Image.Image, model_input: Input) -> np.ndarray:
    """An RGB image of any size, normalised by the model's mean and standard deviation, (3, H, W) float32."""
    levels = np.arange(256, dtype=np.float32)[:, None]
    table = ((levels / 255 - np.array(model_input.mean)) / np.array(model_input.std)).astype(np.float32)
    values = np.asarray(image)
    result_3HW = np.empty((3, *values.shape[:2]), np.float32)
    for channel in range(3):  # a pixel has one of 256 values: a table is four times as fast as computing each
        np.take(table[:, channel], values[..., channel], out=result_3HW[channel], mode="clip")
    return result_3HW


def words(text: str) -> list[str]:
    """Lower-case words and single punctuation marks, as BERT's basic tokenizer splits them."""
    return WORD.findall(text.lower())


def word_spans(text: str) -> list[tuple[int, int]]:
    """The start and the end of each of a text's `words`."""
    return [match.span() for match in WORD.finditer(text)]


def token_ids(text: str, vocabulary: int, *, begin: int | None = CLS, end: int = SEP) -> list[int]:
    """[CLS], one token for each word, and [SEP], or the model's own tokens `begin` and `end`.

    The ids are checksums of the words: with random weights there is no vocabulary to look them up in, and latency
    depends only on the number of tokens.
    """
    first = min(FIRST_WORD, vocabulary // 2)
    ids = [first + zlib.crc32(word.encode()) % (vocabulary - first) for word in words(text)]
    return [*([] if begin is None else [min(begin, vocabulary - 2)]), *ids, min(end, vocabulary - 1)]


def padded_ids(text: str, spec: AnySpec, tokenize: Callable[[str], list[int]] | None = None) -> tuple[list[int], int]:
    """The ids of a text, padded to the length that the model is measured with, and how many of them are not padding.

    They are those of `token_ids`, or of `tokenize`, cut off at that length.
    """
    assert spec.text
    if tokenize:
        ids = tokenize(text)[: spec.input.text_tokens]
    else:
        ids = token_ids(text, spec.text.vocabulary, begin=spec.text.begin, end=spec.text.end)
    padding = min(spec.text.padding, spec.text.vocabulary - 1)
    return ids + [padding] * (spec.input.text_tokens - len(ids)), len(ids)


def check_text(example: Example, spec: AnySpec) -> None:
    """Raises InputError if the text is longer than the model is measured with."""
    if spec.text is None:
        return
    count = padded_ids(example.text, spec)[1]
    if count <= spec.input.text_tokens:
        return
    positions = spec.text.positions
    limit = f" and has positions for {positions}" if positions else ""
    fits = "shorten it" if positions and count > positions else f"use --text-tokens {count}, or shorten it"
    raise InputError(
        f"--text: {count} tokens, but {spec.name} is measured with {spec.input.text_tokens}{limit}; {fits}"
    )
