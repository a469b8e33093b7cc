"""The TSV of region features: the real one, one made here, and every kind of damage."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from vlbench.errors import InputError
from vlbench.tasks.features import FIELDS, RegionTsv


def encoded(values: np.ndarray) -> str:
    return base64.b64encode(values.astype(np.float32).tobytes()).decode()


def line(name: str, boxes: np.ndarray, features: np.ndarray, count: int | None = None) -> str:
    fields = dict.fromkeys(FIELDS, "AAAA") | {
        "img_id": name,
        "img_h": "333",
        "img_w": "500",
        "num_boxes": str(len(boxes) if count is None else count),
        "boxes": encoded(boxes),
        "features": encoded(features),
    }
    return "\t".join(fields.values()) + "\n"


def write_tsv(folder: Path, *lines: str) -> Path:
    path = folder / "regions.tsv"
    path.write_text("".join(lines))
    return path


BOXES, VALUES = np.arange(8).reshape(2, 4), np.arange(6).reshape(2, 3) / 7


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
        (line("a", BOXES, VALUES), "line 2: a occurs twice"),
    ],
)
def test_damage_is_reported_in_one_line_with_its_location(tmp_path: Path, second: str, said: str) -> None:
    path = write_tsv(tmp_path, line("a", BOXES, VALUES), second)
    with pytest.raises(InputError, match=said):
        RegionTsv(path).read("b")


def test_files_that_are_not_a_tsv_of_regions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        RegionTsv(tmp_path / "nowhere.tsv")
    with pytest.raises(InputError, match="line 1: not 10 fields; not a TSV of region features"):
        RegionTsv(write_tsv(tmp_path, "hello\n"))
    with pytest.raises(InputError, match="holds no image"):
        RegionTsv(write_tsv(tmp_path))
