"""Shuffled images: no item gets an image of its own unit, and each image is used as often as before."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.tasks import data_sets
from vlbench.evaluation.split import shuffled_columns, shuffled_images
from vlbench.tasks.items import Item
from vlbench.tasks.registry import TASKS


@pytest.mark.parametrize("task", ["nlvr", "nlvr2", "easy-vqa", "vqav2"])
def test_no_item_gets_an_image_of_its_own_unit(tmp_path: Path, task: str) -> None:
    folder = {
        "nlvr": data_sets.nlvr,
        "nlvr2": data_sets.nlvr2,
        "easy-vqa": data_sets.easy_vqa,
        "vqav2": data_sets.vqav2,
    }[task](tmp_path)
    items = TASKS[task].items(folder, TASKS[task].splits[0])
    others = shuffled_images(items)
    assert others is not None
    units: dict[tuple[Path, ...], set[str]] = {}
    for item in items:
        units.setdefault(item.images, set()).add(item.unit)
    for item in items:
        assert item.unit not in units[others[item.images]]
    assert Counter(others.values()) == Counter(others.keys())
    assert shuffled_images(items) == others


def test_real_statements_get_no_image_of_their_own_boxes(reference_data: Path) -> None:
    items = TASKS["nlvr"].items(reference_data / "nlvr1", "dev")
    others = shuffled_images(items)
    assert others is not None
    scene = {item.images: item.unit for item in items}
    assert all(scene[others[item.images]] != item.unit for item in items)


def test_a_single_image_cannot_be_shuffled() -> None:
    def item(number: int, unit: str) -> Item:
        images = (Path(f"{number}.png"),)
        return Item(identifier=str(number), text="?", images=images, answers=("yes",), unit=unit)

    assert shuffled_images([item(1, "a"), item(1, "b")]) is None
    assert shuffled_images([item(1, "a"), item(2, "a")]) is None
    assert shuffled_images([item(1, "a"), item(2, "b")]) == {
        (Path("1.png"),): (Path("2.png"),),
        (Path("2.png"),): (Path("1.png"),),
    }


@pytest.mark.parametrize("count", [2, 3, 1000])
def test_every_image_of_a_gallery_gets_another(count: int) -> None:
    columns = shuffled_columns(count)
    assert columns is not None
    assert sorted(columns) == list(range(count))
    assert all(own != other for own, other in enumerate(columns))


def test_a_gallery_of_one_cannot_be_shuffled() -> None:
    assert shuffled_columns(1) is None
