"""Preprocessing as in the papers, compared to transformers' processors pixel by pixel, and to the rule itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlbench.errors import InputError
from vlbench.evaluation.images import (
    centre_crop,
    covering_size,
    image_reader_for,
    preprocessed,
    resized,
    shorter_side_size,
)
from vlbench.inputs import Example, default_image, pixels
from vlbench.specs import CentreCrop, Input, ShorterSide
from vlbench.specs.catalog import catalog

# Either side longer, square, too long for the shorter side's length, smaller and larger than what is wanted.
SIZES = [(500, 333), (333, 500), (400, 400), (400, 100), (90, 700), (64, 64), (641, 640), (17, 23), (1000, 601)]


def photograph(folder: Path, width: int, height: int) -> Path:
    """Part of a real photograph, so that neighbouring pixels are similar but not equal."""
    path = folder / f"{width}x{height}.png"
    with Image.open(default_image()) as image:
        image.resize((width, height), Image.Resampling.LANCZOS).save(path)
    return path


def processed(name: str, path: Path) -> np.ndarray:
    """The output of transformers' processor with its default settings, on Pillow, as in the published code."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # noqa: PLC0415  slow
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil  # noqa: PLC0415

    processor: Any = {"vilt-b32": ViltImageProcessorPil, "clip-vit-b32": CLIPImageProcessorPil}[name]()
    with Image.open(path) as image:
        return np.asarray(processor(images=[image.convert("RGB")], return_tensors="np")["pixel_values"][0])


@pytest.mark.parametrize("name", ["vilt-b32", "clip-vit-b32"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_pixels_equal_those_of_transformers(tmp_path: Path, name: str, width: int, height: int) -> None:
    path = photograph(tmp_path, width, height)
    expected, ours = processed(name, path), preprocessed(path, catalog()[name].input)
    assert ours.dtype == np.float32
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["vilt-b32", "clip-vit-b32"])
def test_real_files_equal_those_of_transformers(reference_data: Path, name: str) -> None:
    paths = sorted((reference_data / "photos").iterdir())
    paths += sorted((reference_data / "nlvr1" / "dev" / "images").rglob("*.png"))[::1500]
    paths += sorted((reference_data / "easy_vqa" / "test" / "images").iterdir())[:3]
    assert len(paths) > 8
    for path in paths:
        np.testing.assert_allclose(preprocessed(path, catalog()[name].input), processed(name, path), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((480, 640), (600, 1000, 1), (600, 800)),
        ((640, 480), (600, 1000, 1), (800, 600)),
        ((333, 500), (600, 1000, 1), (600, 901)),  # 900.9
        ((400, 1000), (600, 1000, 1), (400, 1000)),
        ((2000, 500), (800, 1333, 1), (1333, 333)),  # 333.25
        ((10, 15), (5, 100, 1), (5, 8)),  # 7.5 is rounded up
        ((384, 700), (384, 639, 32), (320, 608)),  # 350.5 x 639
        ((16, 1600), (384, 639, 32), (32, 608)),  # 6.39 would be nothing
    ],
)
def test_the_shorter_side_is_scaled_unless_the_longer_one_gets_too_long(
    size: tuple[int, int], limits: tuple[int, int, int], expected: tuple[int, int]
) -> None:
    assert shorter_side_size(*size, *limits) == expected


def released_size(width: int, height: int) -> tuple[int, int]:
    """`MinMaxResize(shorter=384, longer=639)` of dandelin/ViLT, vilt/transforms/utils.py, operation by operation."""
    factor = 384 / min(width, height)
    if height < width:
        rows, columns = 384.0, factor * width
    else:
        rows, columns = factor * height, 384.0
    if max(rows, columns) > 639:
        factor = 639 / max(rows, columns)
        rows, columns = rows * factor, columns * factor
    return int(rows + 0.5) // 32 * 32, int(columns + 0.5) // 32 * 32


def test_vilts_sizes_are_those_of_its_released_code() -> None:
    resizing = catalog()["vilt-b32"].input.evaluation
    assert isinstance(resizing, ShorterSide)
    assert (resizing.shorter, resizing.longer, resizing.multiple) == (None, 639, 32)
    halves = [size for side in range(16, 1500) for size in ((side, 2 * side), (2 * side, side))]
    others = [(width, height) for width in range(16, 1400, 7) for height in range(16, 1400, 11)]
    for width, height in halves + others:
        expected = released_size(width, height)
        assert shorter_side_size(height, width, 384, 639, 32) == tuple(max(32, side) for side in expected)


@pytest.mark.parametrize(
    ("size", "wanted", "shorter", "expected"),
    [
        ((300, 600), (224, 224), None, (224, 448)),
        ((600, 300), (224, 224), 256, (512, 256)),
        ((333, 500), (224, 224), 256, (256, 384)),  # 384.4
        ((100, 100), (96, 160), None, (160, 160)),
        ((100, 400), (96, 160), None, (96, 384)),
    ],
)
def test_a_scaled_image_covers_its_crop(
    size: tuple[int, int], wanted: tuple[int, int], shorter: int | None, expected: tuple[int, int]
) -> None:
    assert covering_size(*size, wanted, shorter) == expected


def test_the_crop_is_central() -> None:
    columns = np.tile(np.arange(7, dtype=np.uint8), (5, 1))
    assert np.asarray(centre_crop(Image.fromarray(columns), (3, 4)))[0].tolist() == [1, 2, 3, 4]
    assert np.asarray(centre_crop(Image.fromarray(columns.T.copy()), (4, 3)))[:, 0].tolist() == [1, 2, 3, 4]


def test_without_a_resizing_an_image_gets_the_measured_size(tmp_path: Path) -> None:
    path = photograph(tmp_path, 301, 207)
    wanted = Input(image_size=(64, 96), mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    same = pixels(Example(image=path, image_sha256="", text=""), wanted)
    np.testing.assert_array_equal(preprocessed(path, wanted), same)


@pytest.mark.parametrize("kind", [ShorterSide, CentreCrop])
def test_the_resampling_is_the_one_named(tmp_path: Path, kind: type) -> None:
    image = Image.open(photograph(tmp_path, 300, 300))
    found = {}
    for resampling, filtered in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        part = kind(kind={ShorterSide: "shorter_side", CentreCrop: "centre_crop"}[kind], resampling=resampling)
        found[resampling] = np.asarray(resized(image, Input(image_size=(96, 96), evaluation=part)))
        np.testing.assert_array_equal(found[resampling], np.asarray(image.resize((96, 96), filtered)))
    assert (found["bilinear"] != found["bicubic"]).any()


@pytest.mark.parametrize("name", catalog())
def test_every_model_preprocesses_wide_and_tall_images(tmp_path: Path, name: str) -> None:
    for spec in (catalog()[name], catalog()[name].tiny()):
        least, most = min(spec.input.image_size), max(spec.input.image_size)
        for width, height in ((300, 150), (150, 300)):
            _, rows, columns = preprocessed(photograph(tmp_path, width, height), spec.input).shape
            spec.visual.check_image(rows, columns)
            assert max(rows, columns) <= most
            assert rows / columns == pytest.approx(height / width, rel=0.15) or min(rows, columns) == least


def test_an_unreadable_image_is_reported_in_one_line(tmp_path: Path) -> None:
    wanted = catalog()["vilt-b32"].input
    (tmp_path / "broken.png").write_bytes(photograph(tmp_path, 50, 50).read_bytes()[:900])
    for name, said in (("absent.png", "no such file"), ("broken.png", "damaged or cut off")):
        with pytest.raises(InputError, match=said) as caught:
            preprocessed(tmp_path / name, wanted)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name, spec in catalog().items() if spec.reads_pixels])
def test_a_photo_that_is_too_thin_is_refused_where_a_cnn_pools_it_away(tmp_path: Path, name: str) -> None:
    """Pixel-BERT's pooling needs two rows of its feature map; resized to 11 rows of pixels, a photo has one.
    Of timm's maps only the built model knows how small they are."""
    spec = catalog()[name]
    path = photograph(tmp_path, 2400, 20)
    reader = image_reader_for(spec, None)
    if name.startswith("pixelbert") and spec.visual.kind == "grid":
        with pytest.raises(
            InputError, match=rf"2400x20\.png: resized for {name}: image size \d+x\d+ leaves no pixel; each"
        ):
            reader.read([path])
    else:
        _, height, width = reader.read([path]).pixels[0].shape
        spec.visual.check_image(height, width)
