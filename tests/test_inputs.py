"""The photograph and the sentence: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlbench.errors import InputError
from vlbench.inputs import check_text, default_image, normalised, open_image, pixels, read_example, token_ids
from vlbench.specs import Input
from vlbench.specs.catalog import catalog


def blank_image(path: Path, width: int, height: int, mode: str = "RGB") -> Path:
    Image.new(mode, (width, height), color=0).save(path)
    return path


def test_the_default_photograph_is_grace_hopper() -> None:
    assert open_image(default_image()).size == (512, 600)


def test_every_level_of_every_channel_is_normalised_by_the_formula() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack((levels, levels.T, 255 - levels), axis=2))
    wanted = Input(image_size=(16, 16), mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.5))
    found = normalised(image, wanted)
    assert found.dtype == np.float32
    for channel, values in enumerate((levels, levels.T, 255 - levels)):
        expected = (values.astype(float) / 255 - wanted.mean[channel]) / wanted.std[channel]
        np.testing.assert_allclose(found[channel], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "I;16"])
def test_any_kind_of_pixel_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = ".tiff" if mode in ("CMYK", "I;16") else ".png"
    assert open_image(blank_image(tmp_path / f"image{suffix}", 40, 30, mode)).mode == "RGB"


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    red, alpha = Image.new("RGB", (32, 32), "red"), Image.new("L", (32, 32), 255)
    alpha.paste(0, (0, 0, 16, 32))
    alpha.paste(51, (16, 0, 32, 16))
    image = Image.merge("RGBA", (*red.split(), alpha))
    image.save(tmp_path / "rgba.png")
    image.convert("LA").save(tmp_path / "la.png")
    found = open_image(tmp_path / "rgba.png")
    assert [found.getpixel(place) for place in ((3, 3), (20, 3), (20, 20))] == [
        (255, 255, 255),
        (255, 204, 204),  # a fifth of red, the rest white
        (255, 0, 0),
    ]
    assert open_image(tmp_path / "la.png").getpixel((3, 3)) == (255, 255, 255)
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert open_image(tmp_path / "palette.png").getpixel((3, 3)) == (255, 255, 255)


def test_an_opaque_image_keeps_its_colours_whether_it_has_an_alpha_channel_or_not(tmp_path: Path) -> None:
    plain = Image.open(default_image())
    plain.save(tmp_path / "rgb.png")
    plain.convert("RGBA").save(tmp_path / "rgba.png")
    assert open_image(tmp_path / "rgba.png").tobytes() == open_image(tmp_path / "rgb.png").tobytes()


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
        (lambda path: blank_image(path, 1, 1), "at least 16"),
        (lambda path: blank_image(path, 20_000, 20_000, "1"), "too large|100 million"),
        (lambda path: blank_image(path, 11_000, 10_000, "1"), "100 million"),
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
