"""The photograph and the sentence: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlbench.catalog import catalog
from vlbench.errors import InputError
from vlbench.inputs import check_text, default_image, open_image, pixels, read_example, token_ids
from vlbench.specs import Input


def saved(path: Path, width: int, height: int, mode: str = "RGB") -> Path:
    Image.new(mode, (width, height), color=0).save(path)
    return path


def test_the_default_photograph_is_grace_hopper() -> None:
    assert open_image(default_image()).size == (512, 600)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "I;16"])
def test_any_kind_of_pixel_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = ".tiff" if mode in ("CMYK", "I;16") else ".png"
    assert open_image(saved(tmp_path / f"image{suffix}", 40, 30, mode)).mode == "RGB"


def test_the_image_is_resized_to_the_wanted_size_and_normalised(tmp_path: Path) -> None:
    path = tmp_path / "white.png"
    Image.new("RGB", (50, 40), color=(255, 255, 255)).save(path)
    wanted = Input(image_size=(64, 96), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    image = pixels(read_example(path, "a"), wanted)
    assert image.shape == (3, 64, 96)
    assert image.dtype == np.float32
    assert np.allclose(image[:, 10, 10], [1.0, 3.0, 0.5])


def test_a_photograph_taken_sideways_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to view
    Image.new("RGB", (40, 20)).save(tmp_path / "phone.jpg", exif=exif)
    assert open_image(tmp_path / "phone.jpg").size == (20, 40)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path, "no such file"),
        (lambda path: path.touch() or path, "empty"),
        (lambda path: path.mkdir() or path, "folder"),
        (lambda path: path.write_bytes(b"not an image at all") and path, "not an image"),
        (lambda path: path.write_bytes(default_image().read_bytes()[:5000]) and path, "damaged or cut off"),
        (lambda path: saved(path, 1, 1), "at least 16"),
        (lambda path: saved(path, 20_000, 20_000, "1"), "too large|100 million"),
        (lambda path: saved(path, 11_000, 10_000, "1"), "100 million"),
    ],
    ids=["missing", "empty", "folder", "text", "truncated", "1x1", "20000x20000", "11000x10000"],
)
def test_an_image_that_cannot_be_measured_is_one_line(tmp_path: Path, make, said: str) -> None:
    path = make(tmp_path / "image.png")
    with pytest.raises(InputError, match=said) as caught:
        read_example(path, None)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_a_text_without_words_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no words"):
        read_example(None, text)


def test_a_word_always_has_the_same_id_and_ids_stay_within_the_vocabulary() -> None:
    first = token_ids("A man, a plan.", 30522)
    assert first == token_ids("a man , a PLAN .", 30522)
    assert (first[0], first[-1], len(first)) == (101, 102, 8)
    assert first[1] == first[4]
    assert max(token_ids("many different words here", 50)) < 50


def test_a_text_longer_than_the_model_takes_says_what_works() -> None:
    example = read_example(None, "word " * 45)
    with pytest.raises(InputError, match=r"47 tokens, but vilt-b32 .* 40 and has positions for 40; shorten it"):
        check_text(example, catalog()["vilt-b32"])
    check_text(example, catalog()["uniter-base"])
    with pytest.raises(InputError, match="use --text-tokens 92"):
        check_text(read_example(None, "word " * 90), catalog()["uniter-base"])
    check_text(example, catalog()["vit-b16"])
