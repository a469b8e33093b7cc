"""The photograph and the sentence that a model is measured on, read and checked before anything is built."""

from __future__ import annotations

import hashlib
import re
import warnings
import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vlbench.errors import InputError
from vlbench.specs import Input, ModelSpec

DEFAULT_TEXT = "A woman in a dark uniform with medals stands in front of a flag."
LEAST_SIDE, MOST_PIXELS = 16, 100_000_000
CLS, SEP, FIRST_WORD = 101, 102, 999  # as in BERT's vocabulary


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
    """Checks an image and a text, or the defaults. Raises InputError where one cannot be measured."""
    path = image or default_image()
    open_image(path)
    chosen = DEFAULT_TEXT if text is None else text
    if not words(chosen):
        raise InputError("--text: the text has no words; any sentence works")
    return Example(image=path, image_sha256=hashlib.sha256(path.read_bytes()).hexdigest(), text=chosen)


def open_image(path: Path) -> Image.Image:
    """Decodes an image to RGB, upright. Raises InputError where it is not whole, or is too small or too large."""
    if not path.exists():
        raise InputError(f"--image {path}: no such file")
    if path.is_dir():
        raise InputError(f"--image {path}: is a folder, not an image file")
    if path.stat().st_size == 0:
        raise InputError(f"--image {path}: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_extent(path, *image.size)
                return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:
        raise InputError(f"--image {path}: not an image that Pillow reads; JPEG and PNG work") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"--image {path}: too large; up to {MOST_PIXELS // 10**6} million pixels work") from error
    except PermissionError as error:
        raise InputError(f"--image {path}: not readable (permission denied)") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"--image {path}: damaged or cut off ({error})") from error


def _check_extent(path: Path, width: int, height: int) -> None:
    if min(width, height) < LEAST_SIDE:
        raise InputError(f"--image {path}: {width}x{height} pixels; each side must have at least {LEAST_SIDE}")
    if width * height > MOST_PIXELS:
        raise InputError(
            f"--image {path}: {width}x{height} pixels; up to {MOST_PIXELS // 10**6} million work, so shrink it first"
        )


def pixels(example: Example, wanted: Input) -> np.ndarray:
    """The image at exactly the wanted size, bicubic and normalised, (3, H, W) float32."""
    height, width = wanted.image_size
    resized = open_image(example.image).resize((width, height), Image.Resampling.BICUBIC)
    scaled = (np.asarray(resized, dtype=np.float32) / 255 - np.array(wanted.mean)) / np.array(wanted.std)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)


def words(text: str) -> list[str]:
    """Lower-case words and single punctuation marks, as BERT's basic tokenizer splits them."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def token_ids(text: str, vocabulary: int) -> list[int]:
    """[CLS], a token a word, [SEP].

    Without published weights there is no WordPiece vocabulary to look words up in, and an id has no meaning: each word
    gets a fixed id by its checksum. How long a forward pass takes depends on the number of tokens alone.
    """
    first = min(FIRST_WORD, vocabulary // 2)
    ids = [first + zlib.crc32(word.encode()) % (vocabulary - first) for word in words(text)]
    return [min(CLS, vocabulary - 2), *ids, min(SEP, vocabulary - 1)]


def check_text(example: Example, spec: ModelSpec) -> None:
    """Raises InputError where the text is longer than the model takes."""
    if spec.text is None:
        return
    count = len(token_ids(example.text, spec.text.vocabulary))
    if count <= spec.input.text_tokens:
        return
    positions = spec.text.positions
    limit = f" and has positions for {positions}" if positions else ""
    fits = "shorten it" if positions and count > positions else f"use --text-tokens {count}, or shorten it"
    raise InputError(
        f"--text: {count} tokens, but {spec.name} is measured with {spec.input.text_tokens}{limit}; {fits}"
    )
