"""What keeps a GPU busy in training and evaluation: batches in pinned memory, and enough processes to prepare them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

from tests.command_line import vlbench
from tests.helpers import tiny, write_tiny
from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.evaluation.inputs import RefusedInput, images_to, select_images, text_to
from vlbench.evaluation.split import Split
from vlbench.evaluation.workers import MOST_WORKERS, reading_workers, training_workers
from vlbench.specs import Input
from vlbench.tasks.items import Item
from vlbench.tasks.shapes import items
from vlbench.training import item_samples
from vlbench.training.detection import LabelledImages
from vlbench.training.item_samples import ItemStream
from vlbench.training.preset import read_preset, with_preset_sizes
from vlbench.training.recipe import Recipe
from vlbench.training.samples import ShapesStream, normalised
from vlbench.training.shapes_learner import ShapesLearner
from vlbench.training.train_request import TrainRequest, training_runs


def shapes_stream() -> ShapesStream:
    return ShapesStream(side=64, seed=0, batch=4, recipe=read_preset("tiny").recipe, max_tokens=16)


def item_stream(folder: Path, images: int = 3) -> ItemStream:
    photos = []
    for number in range(images):
        path = folder / f"{number}.png"
        Image.new("RGB", (32, 32), (number, 0, 0)).save(path)
        photos.append(Item(identifier=str(number), text="what is it", images=(path,), answers=("a",), unit=""))
    return ItemStream(photos, ["a"], Input(image_size=(32, 32), text_tokens=8), seed=0)


def tensors_of(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list):
        yield from (tensor for each in value for tensor in tensors_of(each))
    elif is_dataclass(value):
        yield from (tensor for field in fields(value) for tensor in tensors_of(getattr(value, field.name)))


BOXES = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 2.0, 3.0]]])
BATCHES: dict[str, Callable[[Path], Any]] = {
    "samples of the generated world": lambda _: shapes_stream().batch(0, 4),
    "samples of a data set": lambda folder: item_stream(folder).batch(0, 3),
    "texts": lambda _: Text(ids=torch.ones(2, 3, dtype=torch.long), mask=torch.ones(2, 3, dtype=torch.bool)),
    "texts of one length": lambda _: Text(ids=torch.ones(2, 3, dtype=torch.long), mask=None),
    "images": lambda _: Images(pixels=torch.rand(1, 3, 4, 4), sizes=((4, 4),)),
    "regions": lambda _: RegionFeatures(
        features=torch.rand(1, 2, 5), boxes=BOXES, sizes=((4, 4),), mask=torch.tensor([[True, False]])
    ),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_pytorch_pins_every_tensor_of_a_batch(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the function that a DataLoader calls."""
    pinned: list[Tensor] = []

    def pin(values: Tensor, *_device: object) -> Tensor:
        pinned.append(values.clone())
        return pinned[-1]

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    batch = BATCHES[kind](tmp_path)
    result = pin_memory(batch)
    assert type(result) is type(batch)
    assert {id(tensor) for tensor in tensors_of(result)} == {id(tensor) for tensor in pinned}
    for ours, expected in zip(tensors_of(result), tensors_of(batch), strict=True):
        assert torch.equal(ours, expected)
    rest = [field.name for field in fields(batch) if not list(tensors_of(getattr(batch, field.name)))]
    assert [getattr(result, name) for name in rest] == [getattr(batch, name) for name in rest]


def test_a_refused_input_needs_no_pinning() -> None:
    refused = RefusedInput(message="image 3: cut off")
    assert pin_memory(refused) == refused


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Of each copy to a device: which tensor, and whether the program goes on meanwhile and no value is converted."""
    made: list[tuple[int, bool]] = []
    to = Tensor.to

    def recorded(values: Tensor, *arguments: Any, **named: Any) -> Tensor:
        if any(isinstance(each, torch.device) for each in (*arguments, named.get("device"))):
            goes_on = named.get("non_blocking", False) and len(arguments) == 1 and "dtype" not in named
            made.append((id(values), goes_on))
        return to(values, *arguments, **named)

    monkeypatch.setattr(Tensor, "to", recorded)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inputs_are_copied_while_the_program_goes_on(
    dtype: torch.dtype, tmp_path: Path, copies: list[tuple[int, bool]]
) -> None:
    device = torch.device("meta")
    text = text_to(BATCHES["texts"](tmp_path), device)
    images = [images_to(BATCHES[kind](tmp_path), device, dtype) for kind in ("images", "regions")]
    assert (text.ids.device.type, images[0].pixels.dtype, images[1].features.dtype) == ("meta", dtype, dtype)
    assert images[1].boxes.dtype == torch.float32
    assert [goes_on for _, goes_on in copies] == [True] * 6
    pixels = BATCHES["images"](tmp_path).pixels
    converted = images_to(Images(pixels=pixels, sizes=((4, 4),)), torch.device("cpu"), dtype)
    assert torch.equal(converted.pixels, torch.as_tensor(pixels, dtype=dtype))


@pytest.mark.parametrize("objective", ["vqa", "itm", "mlm"])
def test_training_copies_while_the_program_goes_on(objective: str, copies: list[tuple[int, bool]]) -> None:
    preset, recipe = read_preset("tiny"), Recipe(shares={objective: 1})
    spec = with_preset_sizes(tiny("vilt-b32"), preset, "tiny", vocabulary=200, answers=40, sampled_pixels=None)
    learner = ShapesLearner(build(spec), spec, recipe)
    stream = ShapesStream(side=preset.image_side, seed=0, batch=4, recipe=preset.recipe, max_tokens=16)
    batch = stream.batch(0, 4)
    pinned = {id(tensor) for tensor in tensors_of(batch)}
    copies.clear()
    learner.losses(batch, torch.Generator())
    of_batch = [goes_on for tensor, goes_on in copies if tensor in pinned]
    assert len(of_batch) >= 2
    assert all(of_batch)
    copies.clear()
    images = normalised(batch.pixels, spec)
    LabelledImages(images=images, boxes=batch.boxes, classes=batch.classes).to(torch.device("meta"))
    assert [goes_on for _, goes_on in copies] == [True] * 9


def test_images_that_are_all_different_stay_where_they_are() -> None:
    """A copy would not be in pinned memory."""
    images = Images(pixels=torch.rand(2, 3, 4, 4), sizes=((4, 4), (4, 4)))
    assert select_images(images, [0, 1]) is images
    assert torch.equal(select_images(images, [1, 0]).pixels, images.pixels.flip(0))
    assert len(select_images(images, [0]).sizes) == 1


def machine(monkeypatch: pytest.MonkeyPatch, *, cores: int, processes: int | None = None, shared: int = 2**40) -> None:
    """One of so many physical cores with two threads each, and so many bytes of shared memory."""
    monkeypatch.setattr("vlbench.evaluation.workers.usable_cores", lambda: 2 * cores)
    monkeypatch.setattr("vlbench.evaluation.workers.physical_cores", lambda: cores)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=shared))
    if processes:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    else:
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)


@pytest.mark.parametrize(
    ("cores", "processes", "shared", "reading", "training"),
    [
        (4, None, 2**40, 7, 7),  # 8 logical cores, less one
        (4, 1, 2**40, 7, 7),
        (4, 2, 2**40, 3, 3),
        (64, 8, 2**40, 15, 15),
        (64, None, 2**40, 16, 16),  # at most
        (1, 4, 2**40, 0, 1),  # training has at least one
        (64, None, 2**26, 0, 1),  # the shared memory of a container
        (64, None, 2**31, 4, 4),
    ],
)
def test_workers_for_a_gpu(
    cores: int, processes: int | None, shared: int, reading: int, training: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, cores=cores, processes=processes, shared=shared)
    assert (reading_workers("cuda"), training_workers("cuda", threads=cores)) == (reading, training)


@pytest.mark.parametrize(
    ("cores", "threads", "processes", "training"),
    [(8, 8, None, 1), (8, 5, None, 3), (8, 5, 3, 1), (8, 2, 2, 3), (2, 64, None, 1), (64, 1, None, MOST_WORKERS)],
)
def test_workers_for_a_cpu(
    cores: int, threads: int, processes: int | None, training: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, cores=cores, processes=processes)
    assert (reading_workers("cpu"), training_workers("cpu", threads=threads)) == (0, training)


@pytest.mark.parametrize(("workers", "expected"), [(None, 7), (0, 0), (3, 3)])
def test_the_command_s_workers(
    workers: int | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, cores=4)
    unset = dict.fromkeys(("data", "budget", "objectives", "recipe", "batch", "learning_rate", "precision"))
    request = TrainRequest(
        **unset,
        models="vilt",
        task="shapes",
        preset="base",
        seed=0,
        accumulate=1,
        workers=workers,
        device="cuda",
        threads=4,
    )
    (run,) = training_runs(request, tmp_path)
    assert run.settings.workers == expected
    assert (run.settings.identity() | {"workers": 1}) == run.settings.model_copy(update={"workers": 9}).identity() | {
        "workers": 1
    }


class StoppedError(Exception):
    """Raised in the place of an evaluation."""


@pytest.mark.parametrize(
    ("device", "options", "expected"), [("cuda", (), 7), ("cuda", ("--workers", 2), 2), ("cpu", (), 0)]
)
def test_the_workers_of_an_evaluation(
    device: str, options: tuple[object, ...], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, cores=4)
    used: list[int] = []

    def evaluate_all(_heads: object, split: Split, *_: object, **__: object) -> None:
        used.append(split.settings.workers)
        raise StoppedError

    monkeypatch.setattr("vlbench.evaluation.session.evaluate_all", evaluate_all)
    monkeypatch.setattr("vlbench.evaluation.processes.compute_device", lambda _: device)
    monkeypatch.setattr(items, "SCENES", {"test": 3, "val": 2, "train": 20})
    with pytest.raises(StoppedError):
        vlbench("eval", "--models", write_tiny(tmp_path), "--task", "shapes", *options, "--out", tmp_path / "out")
    assert used == [expected]


def test_images_are_cached_once_for_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_samples, "CACHED_IMAGES", 8)
    opened: list[Path] = []
    monkeypatch.setattr(item_samples, "open_image", lambda path, **_: opened.append(path) or Image.new("RGB", (32, 32)))
    for workers, kept in ((0, 8), (4, 2), (16, 0)):
        info = SimpleNamespace(num_workers=workers) if workers else None
        monkeypatch.setattr(item_samples, "get_worker_info", lambda info=info: info)
        stream = item_stream(tmp_path, images=10)
        opened.clear()
        stream.batch(0, 10)
        stream.batch(0, 10)
        assert len(opened) == 20 - kept
