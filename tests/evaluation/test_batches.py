"""Items to batches: padding, order, pairs, that workers change nothing, and errors."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images
from vlbench.errors import InputError, WorkerError
from vlbench.evaluation import images
from vlbench.evaluation.images import preprocessed
from vlbench.evaluation.inputs import Batch, ItemEncoder, batches
from vlbench.inputs import token_ids
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog
from vlbench.tasks.items import Item
from vlbench.tasks.region_features import ImageRegions
from vlbench.tasks.registry import task_named

VILT, PAD = catalog()["vilt-b32"].tiny(), 7


def ids_of(text: str) -> list[int]:
    """A word's id depends on its length; 1 begins a text and 2 ends it."""
    return [1, *(10 + len(word) for word in text.split()), 2]


def encoder(spec: ModelSpec = VILT) -> ItemEncoder:
    return ItemEncoder(spec, ids_of, pad_id=PAD)


def picture(folder: Path, number: int, size: tuple[int, int]) -> Path:
    """Every image has its own colours."""
    path = folder / f"{number}.png"
    noise = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def item(number: int, *paths: Path) -> Item:
    return Item(
        identifier=f"i{number}", text="word " * (1 + number % 3), images=paths, answers=("true",), unit=str(number)
    )


def some_items(folder: Path, count: int) -> list[Item]:
    return [item(number, picture(folder, number, (40 + 20 * (number % 2), 60))) for number in range(count)]


def chunks_of(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def same(left: Batch, right: Batch) -> bool:
    assert left.text is not None
    assert right.text is not None
    masks = [np.asarray(False if part is None else part) for part in (left.text.mask, right.text.mask)]
    return (
        left.items == right.items
        and torch.equal(left.text.ids, right.text.ids)
        and np.array_equal(*masks)
        and torch.equal(left.images.pixels, right.images.pixels)
        and left.images.sizes == right.images.sizes
    )


def test_texts_are_padded_to_the_longest() -> None:
    found = encoder().text(["a bb ccc", "a", "a bb"])
    assert found.ids.tolist() == [[1, 11, 12, 13, 2], [1, 11, 2, PAD, PAD], [1, 11, 12, 2, PAD]]
    assert found.mask is not None
    assert found.mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2, [True] * 4 + [False]]
    assert encoder().text(["a b", "cc dd"]).mask is None
    assert encoder().text([""]).ids.tolist() == [[1, 2]]


def test_a_text_that_is_too_long_keeps_its_end_token() -> None:
    most = VILT.input.text_tokens
    found = encoder().text(["a " * 100, "a " * (most - 2)])
    assert found.ids.tolist() == [[1, *[11] * (most - 2), 2]] * 2
    assert found.mask is None


def test_images_are_padded_at_the_right_and_the_bottom(tmp_path: Path) -> None:
    paths = [picture(tmp_path, 0, (50, 100)), picture(tmp_path, 1, (100, 50))]
    found = encoder().images(paths)
    assert isinstance(found, Images)
    assert found.sizes == ((96, 192), (192, 96))
    assert found.pixels.shape == (2, 3, 192, 192)
    for row, path, (height, width) in zip(found.pixels, paths, found.sizes, strict=True):
        np.testing.assert_array_equal(row[:, :height, :width].numpy(), preprocessed(path, VILT.input))
        assert row[:, height:].abs().sum() == row[:, :, width:].abs().sum() == 0
    assert not encoder().images(paths[:1]).padded


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_the_order_of_their_items_however_many_read(tmp_path: Path, workers: int) -> None:
    items = some_items(tmp_path, 11)
    found = list(batches(chunks_of(items, 3), encoder(), workers=workers))
    assert [one.items for one in found] == [tuple(chunk) for chunk in chunks_of(items, 3)]
    for one in found:
        text, pixels = (
            encoder().text([item.text for item in one.items]),
            encoder().images([i.images[0] for i in one.items]),
        )
        assert same(one, Batch(items=one.items, text=text, images=pixels))


@pytest.mark.parametrize("workers", [0, 2])
def test_left_images_come_before_right_ones(tmp_path: Path, workers: int) -> None:
    paths = [picture(tmp_path, number, (64, 96)) for number in range(6)]
    items = [item(number, paths[2 * number], paths[2 * number + 1]) for number in range(3)]
    (found,) = batches([items], encoder(), workers=workers)
    assert found.images.pixels.shape[0] == 6
    for row, path in zip(found.images.pixels, paths, strict=True):
        np.testing.assert_array_equal(row.numpy(), preprocessed(path, VILT.input))


def test_a_model_of_images_alone_gets_no_text(tmp_path: Path) -> None:
    spec = catalog()["vit-b32"].tiny()
    (found,) = batches([some_items(tmp_path, 2)], encoder(spec), workers=0)
    assert found.text is None
    assert build(spec).eval()(found.text, found.images).shape[0] == 2


def test_a_reader_can_be_pickled(tmp_path: Path) -> None:
    path = picture(tmp_path, 0, (40, 60))
    own = encoder().reader
    copy = pickle.loads(pickle.dumps(own))
    assert torch.equal(copy.read([path]).pixels, own.read([path]).pixels)


def test_no_chunks_give_no_batches() -> None:
    assert list(batches([], encoder(), workers=0)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_reported_after_the_batches_before_it(tmp_path: Path, workers: int) -> None:
    items = some_items(tmp_path, 9)
    items[5].images[0].write_bytes(items[5].images[0].read_bytes()[:500])
    coming = batches(chunks_of(items, 2), encoder(), workers=workers)
    found = [next(coming), next(coming)]
    with pytest.raises(InputError) as caught:
        next(coming)
    assert [one.items for one in found] == [tuple(items[:2]), tuple(items[2:4])]
    assert str(caught.value).startswith(f"{items[5].images[0]}: damaged or cut off")
    assert "\n" not in str(caught.value)


def test_items_with_different_numbers_of_images_are_named(tmp_path: Path) -> None:
    one, two = picture(tmp_path, 0, (40, 40)), picture(tmp_path, 1, (40, 40))
    for items, said in (([item(0, one, two), item(1, one)], "i1: 1 images, but i0 has 2"), ([item(2)], "i2: 0 images")):
        with pytest.raises(InputError, match=said):
            next(batches([items], encoder(), workers=0))


class Killed:
    """Regions that kill the process that reads them."""

    path = Path("regions.tsv")

    def __contains__(self, name: object) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def read(self, name: str) -> ImageRegions:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_killed_reader_is_reported_in_one_line(tmp_path: Path) -> None:
    spec = catalog()["uniter-base"].tiny()
    killed = ItemEncoder(spec, ids_of, pad_id=PAD, features=Killed())
    with pytest.raises(WorkerError, match="a process that reads images was killed") as caught:
        next(batches([some_items(tmp_path, 2)], killed, workers=1))
    assert "\n" not in str(caught.value)


def test_the_questions_about_one_image_decode_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path, wanted: object) -> np.ndarray:
        read.append(path)
        return preprocessed(path, VILT.input)

    monkeypatch.setattr(images, "preprocessed", counted)
    paths = [picture(tmp_path, number, (64, 96)) for number in range(20)]
    items = [item(number, paths[number // 3]) for number in range(60)]
    once = encoder()
    found = list(batches(chunks_of(items, 4), once, workers=0))
    assert read == paths
    assert len(once.reader.cached_pixels) == images.CACHED_IMAGES
    for one in found:
        for row, asked in zip(one.images.pixels, one.items, strict=True):
            np.testing.assert_array_equal(row.numpy(), preprocessed(asked.images[0], VILT.input))


def test_a_batch_moves_to_a_device_and_a_precision(tmp_path: Path) -> None:
    (found,) = batches([some_items(tmp_path, 3)], encoder(), workers=0)
    moved = found.to(torch.device("meta"), torch.bfloat16)
    assert found.text is not None
    assert moved.text is not None
    assert moved.text.mask is not None
    assert (moved.images.pixels.device.type, moved.images.pixels.dtype) == ("meta", torch.bfloat16)
    assert (moved.text.ids.device.type, moved.text.ids.dtype) == ("meta", torch.int64)
    assert (moved.text.mask.device.type, moved.text.mask.dtype) == ("meta", torch.bool)
    assert (moved.items, moved.images.sizes) == (found.items, found.images.sizes)
    assert found.images.pixels.dtype == torch.float32


@torch.inference_mode()
def outputs(spec: ModelSpec, found: Iterator[Batch]) -> torch.Tensor:
    model = build(spec).eval()
    return torch.cat([model(one.text, one.images) for one in found])


@pytest.mark.parametrize("name", ["vilt-b32", "clip-vit-b32"])
@pytest.mark.parametrize(("task", "data", "split"), [("nlvr", "nlvr1", "dev"), ("easy-vqa", "easy_vqa", "test")])
def test_real_items_reach_a_model_alone_as_in_a_batch(
    reference_data: Path, name: str, task: str, data: str, split: str
) -> None:
    spec = catalog()[name].tiny()
    assert spec.text is not None
    vocabulary = spec.text.vocabulary
    encode = ItemEncoder(spec, lambda text: token_ids(text, vocabulary), pad_id=0)
    items = task_named(task).items(reference_data / data, split)[:6]
    together = outputs(spec, batches([items], encode, workers=2))
    alone = outputs(spec, batches([[item] for item in items], encode, workers=0))
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_padding_changes_no_score(tmp_path: Path) -> None:
    items = [
        item(number, picture(tmp_path, number, size)) for number, size in enumerate([(40, 90), (90, 40), (64, 64)])
    ]
    (together,) = batches([items], encoder(), workers=0)
    assert together.images.padded
    assert together.text is not None
    assert together.text.mask is not None
    alone = outputs(VILT, batches([[item] for item in items], encoder(), workers=0))
    torch.testing.assert_close(outputs(VILT, iter([together])), alone, atol=1e-5, rtol=0)


MANY_FILES = """
import resource, sys, torch
from vlbench.errors import WorkerError
from vlbench.evaluation.inputs import iterate
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
batches = [[torch.tensor([number]) for _ in range(60)] for number in range(4)]
try:
    print(sum(int(batch[0]) for batch in iterate(batches, task="counts", workers=2)))
except WorkerError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("soft", "hard", "said"),
    [
        (64, 4096, "6\n"),
        (
            64,
            64,
            "a process that counts was killed, or could not send its batch; with less memory per batch, more open "
            "files (ulimit -n) or --workers 0 it works\n",
        ),
    ],
)
def test_open_files_are_taken_as_far_as_they_are_allowed(soft: int, hard: int, said: str) -> None:
    command = [sys.executable, "-c", MANY_FILES, str(soft), str(hard)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (process.stdout, process.stderr) == (said, "")
