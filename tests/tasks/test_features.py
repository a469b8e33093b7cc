"""The TSV of region features: the real one, one made here, and every kind of damage."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from vlbench.errors import InputError
from vlbench.tasks.features import FIELDS, RegionTsv


def encoded(values: np.ndarray, kind: type = np.float32) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def line(name: str, boxes: np.ndarray, features: np.ndarray, count: int | None = None, kind: type = np.float32) -> str:
    fields = dict.fromkeys(FIELDS, "AAAA") | {
        "img_id": name,
        "img_h": "333",
        "img_w": "500",
        "num_boxes": str(len(boxes) if count is None else count),
        "boxes": encoded(boxes, kind),
        "features": encoded(features, kind),
    }
    return "\t".join(fields.values()) + "\n"


def write_tsv(folder: Path, *lines: str) -> Path:
    path = folder / "regions.tsv"
    path.write_text("".join(lines))
    return path


BOXES, VALUES = np.arange(8).reshape(2, 4), np.arange(6).reshape(2, 3) / 7
LINE = line("a", BOXES, VALUES)
WIDTH_FIRST = "\t".join(["a", "500", "333", "2", encoded(BOXES), encoded(VALUES)]) + "\n"


def test_the_real_file(reference_data: Path) -> None:
    regions = RegionTsv(reference_data / "region_features" / "train2014_obj36.tsv")
    assert len(regions) == 5
    found = regions.read("COCO_train2014_000000132417")
    assert (found.height, found.width) == (333, 500)
    assert found.features.shape == (36, 2048)
    assert found.features.min() >= 0, "they come after a ReLU"
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (found.boxes[:, 2] <= 500).all()
    assert (found.boxes[:, 3] <= 333).all()


def test_an_image_is_found_by_its_name_whatever_the_order(tmp_path: Path) -> None:
    regions = RegionTsv(write_tsv(tmp_path, line("a", BOXES, VALUES), line("b", BOXES + 1, VALUES + 1)))
    assert "b" in regions
    assert "c" not in regions
    for name, added in (("b", 1), ("a", 0), ("b", 1)):
        found = regions.read(name)
        np.testing.assert_array_equal(found.boxes, (BOXES + added).astype(np.float32))
        np.testing.assert_array_equal(found.features, (VALUES + added).astype(np.float32))
    with pytest.raises(InputError, match="no regions of c"):
        regions.read("c")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (line("b", BOXES, np.array([[1, np.nan, 1], [1, 1, 1]])), "line 2: b has features that are not finite numbers"),
        (line("b", BOXES, VALUES, count=3), "line 2: 3 boxes, but 8 coordinates and 6 feature values"),
        (line("b", BOXES, VALUES, count=0), "line 2: 0 boxes"),
        (line("b", BOXES, VALUES).replace("333", "tall"), "line 2: cut off or damaged"),
        (line("b", BOXES, VALUES)[:-6] + "\n", "line 2: cut off or damaged"),
        (line("b", BOXES, VALUES)[:12], "line 2: not 10 fields; cut off or damaged"),
        (line("b", BOXES, VALUES).replace("333", "0"), "line 2: an image of 500 x 0 pixels"),
        (line("b", BOXES[:, [2, 1, 0, 3]], VALUES), "line 2: a box whose right is left of its left"),
        (line("b", BOXES / 8, VALUES), "line 2: boxes relative to the image; multiply them by its width and height"),
        (line("b", BOXES * 90, VALUES), "line 2: boxes outside the image of 500 x 333 pixels"),
        (line("b", BOXES, VALUES, kind=np.float64), "line 2: boxes of float64; save boxes and features as float32"),
        (line("b", BOXES, VALUES, kind=np.float16), "line 2: boxes of float16; save boxes and features as float32"),
        (line("b", BOXES, VALUES).replace("333", "9" * 5000), "line 2: cut off or damaged"),
        (line("a", BOXES + 1, VALUES), "line 2: a occurs twice, with other regions in line 1"),
    ],
)
def test_damage_is_reported_in_one_line_with_its_location(tmp_path: Path, second: str, said: str) -> None:
    path = write_tsv(tmp_path, line("a", BOXES, VALUES), second)
    with pytest.raises(InputError, match=said):
        RegionTsv(path).read("b")


def test_files_that_are_not_a_tsv_of_regions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        RegionTsv(tmp_path / "nowhere.tsv")
    with pytest.raises(InputError, match="is a folder"):
        RegionTsv(tmp_path)
    with pytest.raises(InputError, match="line 1: not 10 or 6 fields; not a TSV of region features"):
        RegionTsv(write_tsv(tmp_path, "hello\n"))
    with pytest.raises(InputError, match="holds no image"):
        RegionTsv(write_tsv(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + LINE,
        LINE.replace("\n", "\r\n"),
        LINE.rstrip("\n"),
        LINE + "\n",
        "\n" + LINE + "\n\n" + line("b", BOXES, VALUES),
        LINE + line("b", BOXES, VALUES) + LINE,
        "\t".join(FIELDS) + "\n" + LINE,
        "\ufeffimage_id\timage_w\timage_h\tnum_boxes\tboxes\tfeatures\n" + WIDTH_FIRST,
        "boxes\timage_id\tfeatures\tnum_boxes\timage_h\timage_w\n"
        + "\t".join([encoded(BOXES), "a", encoded(VALUES), "2", "333", "500"]),
        WIDTH_FIRST,
        WIDTH_FIRST.replace(encoded(BOXES), f"b'{encoded(BOXES)}'").replace(encoded(VALUES), f"b'{encoded(VALUES)}'"),
        LINE.replace(encoded(BOXES), f"b'{encoded(BOXES)}'"),
    ],
)
def test_what_other_tools_write_is_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "regions.tsv").write_bytes(content.encode())
    regions = RegionTsv(tmp_path / "regions.tsv").read("a")
    assert (regions.height, regions.width) == (333, 500)
    np.testing.assert_array_equal(regions.boxes, BOXES.astype(np.float32))
    np.testing.assert_array_equal(regions.features, VALUES.astype(np.float32))


def test_a_header_that_lacks_a_field_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: names no field img_h, num_boxes"):
        RegionTsv(write_tsv(tmp_path, "image_id\timage_w\tboxes\tfeatures\n", LINE))


def test_cocos_images_may_have_their_number_alone(tmp_path: Path) -> None:
    regions = RegionTsv(write_tsv(tmp_path, line("42", BOXES, VALUES), line("1", BOXES, VALUES)))
    for name in ("COCO_val2014_000000000042", "000000000042", "42"):
        assert name in regions
        assert regions.read(name).features.shape == (2, 3)
    for name in ("dev-42-0-img1", "COCO_val2014_000000000421", "x42"):
        assert name not in regions
    with pytest.raises(InputError, match="no regions of dev-42-0-img1, but of images like 42;"):
        regions.read("dev-42-0-img1")


@pytest.mark.parametrize("kind", [np.float64, np.float16])
def test_features_that_are_not_float32_are_refused(tmp_path: Path, kind: type) -> None:
    features = np.maximum(np.random.default_rng(0).normal(0.2, 0.5, (2, 2048)), 0)  # some zeros, as after a ReLU
    content = line("a", BOXES, features).replace(encoded(features), encoded(features, kind))
    with pytest.raises(InputError, match=r"line 1: .*; save them as float32"):
        RegionTsv(write_tsv(tmp_path, content)).read("a")
    assert RegionTsv(write_tsv(tmp_path, line("a", BOXES, features.astype(np.float16)))).read("a").width == 500


@pytest.mark.slow
def test_a_damaged_tsv_is_refused_or_read(tmp_path: Path) -> None:
    random, path, read = np.random.default_rng(18), tmp_path / "regions.tsv", 0
    messages = []
    header = "image_id\timage_w\timage_h\tnum_boxes\tboxes\tfeatures\n"
    whole = [text.encode() for text in (LINE + line("b", BOXES, VALUES), WIDTH_FIRST, header + WIDTH_FIRST)]
    for number in range(1000):
        content = bytearray(whole[number % 3])
        for position in random.integers(len(content), size=random.integers(1, 5)):
            content[position] = random.choice([9, 10, 13, 32, 39, 45, 48, 57, 61, 255, random.integers(256)])
        path.write_bytes(content if number % 10 else content[: random.integers(len(content))])
        try:
            regions = RegionTsv(path)
            read += sum(len(regions.read(name).boxes) > 0 for name in regions.lines)
        except InputError as error:
            messages.append(str(error).removeprefix(str(path)))
    assert read > 50
    assert all(len(message) <= 300 and message.isprintable() for message in messages)


def test_a_line_without_an_end_is_no_tsv(tmp_path: Path) -> None:
    with (tmp_path / "zeros.tsv").open("wb") as file:
        file.truncate(100_000_000)  # sparse
    with pytest.raises(InputError, match="line 1: not 10 or 6 fields"):
        RegionTsv(tmp_path / "zeros.tsv")
