"""Precomputed regions instead of pixels: their boxes, their masks, and that no detector runs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.architectures.region import RegionEmbedder, geometry
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.evaluation.images import padded_regions
from vlbench.evaluation.inputs import ItemEncoder, batches
from vlbench.inputs import token_ids
from vlbench.specs import ModelSpec, RegionSpec
from vlbench.specs.catalog import catalog
from vlbench.tasks.features import RegionTsv, open_regions
from vlbench.tasks.items import Item
from vlbench.tasks.region_features import ImageRegions, RegionSource

REGION_MODELS = [name for name, spec in catalog().items() if isinstance(spec.visual, RegionSpec)]
UNITER = catalog()["uniter-base"].tiny()


class Held:
    """Regions in memory."""

    path = Path("held.tsv")

    def __init__(self, images: dict[str, ImageRegions]) -> None:
        self.images = images

    def __contains__(self, name: object) -> bool:
        return name in self.images

    def __len__(self) -> int:
        return len(self.images)

    def read(self, name: str) -> ImageRegions:
        if name not in self.images:
            raise InputError(f"{self.path}: no regions of {name}")
        return self.images[name]


def channels(spec: ModelSpec) -> int:
    return spec.visual.projection.inputs or spec.visual.roi_head.channels


def regions(count: int, width: int, seed: int) -> ImageRegions:
    """Boxes within a picture of 300 x 200 pixels."""
    random = np.random.default_rng(seed)
    corner, extent = random.uniform(0, 0.5, (count, 2)), random.uniform(0.1, 0.5, (count, 2))
    boxes = np.hstack((corner, corner + extent)) * [300, 200, 300, 200]
    features = random.uniform(0, 1, (count, width))
    return ImageRegions(features=features.astype(np.float32), boxes=boxes.astype(np.float32), height=200, width=300)


def encoder(spec: ModelSpec, features: RegionSource) -> ItemEncoder:
    assert spec.text is not None
    vocabulary = spec.text.vocabulary
    return ItemEncoder(spec, lambda text: token_ids(text, vocabulary), pad_id=0, features=features)


def items(*names: str) -> list[Item]:
    return [
        Item(identifier=name, text="what is " + "left " * place, images=(Path(f"{name}.jpg"),), answers=(), unit=name)
        for place, name in enumerate(names)
    ]


def uniters_places(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """As in its released code: relative x1, y1, x2, y2, width and height, then the area."""
    x1, y1, x2, y2 = (boxes / np.array([width, height, width, height])).T
    return np.stack((x1, y1, x2, y2, x2 - x1, y2 - y1, (x2 - x1) * (y2 - y1)), axis=1)


def test_boxes_of_the_real_file_are_encoded_as_in_uniter(reference_data: Path) -> None:
    source = RegionTsv(reference_data / "region_features" / "train2014_obj36.tsv")
    found = [source.read(name) for name in source.lines]
    batch = padded_regions(found)
    assert batch.features.shape == (5, 36, 2048)
    assert batch.mask is None
    places = geometry(batch.boxes, batch, 7)
    assert 0 <= places.min() <= places.max() <= 1
    for row, image in zip(places, found, strict=True):
        np.testing.assert_allclose(row, uniters_places(image.boxes, image.height, image.width), atol=1e-6, rtol=0)


def test_relative_boxes_are_encoded_like_boxes_in_pixels() -> None:
    pixels = regions(4, 3, seed=0)
    shares = ImageRegions(features=pixels.features, boxes=pixels.boxes / [300, 200, 300, 200], height=1, width=1)
    for numbers in (4, 5, 6, 7):
        found = [geometry(batch.boxes, batch, numbers) for batch in map(padded_regions, ([pixels], [shares]))]
        torch.testing.assert_close(found[0], found[1].float(), atol=1e-6, rtol=0)


def test_images_with_fewer_regions_are_padded_and_masked() -> None:
    images = [regions(2, 3, seed=0), regions(4, 3, seed=1)]
    batch = padded_regions(images)
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.sizes == ((200, 300), (200, 300))
    for index, image in enumerate(images):
        count = len(image.boxes)
        np.testing.assert_array_equal(batch.features[index, :count], image.features)
        np.testing.assert_array_equal(batch.boxes[index, :count], image.boxes)
        assert batch.features[index, count:].abs().sum() == batch.boxes[index, count:].abs().sum() == 0


@torch.inference_mode()
@pytest.mark.parametrize("name", REGION_MODELS)
def test_no_region_model_runs_its_detector_on_precomputed_regions(name: str) -> None:
    spec = catalog()[name].tiny()
    model = build(spec).eval()
    held = Held({"a": regions(5, channels(spec), seed=0), "b": regions(3, channels(spec), seed=1)})
    ran = watched(model)
    encode = encoder(spec, held)
    (together,) = batches([items("a", "b")], encode, workers=0)
    scores = model(together.text, together.images)
    assert torch.isfinite(scores).all()
    assert ran <= {"projection"}
    assert model.load == model.declared_load(together.images) == {}
    alone = [model(one.text, one.images) for one in batches([[item] for item in items("a", "b")], encode, workers=0)]
    torch.testing.assert_close(scores, torch.cat(alone), atol=1e-5, rtol=0)


def watched(model: VLModel) -> set[str]:
    """The parts of the visual embedder that run from now on."""
    ran: set[str] = set()
    for name, part in model.visual.named_children():
        part.register_forward_pre_hook(lambda *_, name=name: ran.add(name))
    return ran


@torch.inference_mode()
def test_stored_regions_give_the_output_of_the_detector() -> None:
    model = build(UNITER).eval()
    embedder = model.visual
    assert isinstance(embedder, RegionEmbedder)
    seen: list[Tensor] = []
    embedder.projection.register_forward_pre_hook(lambda _, given: seen.append(given))
    generator = torch.Generator().manual_seed(0)
    images = Images(pixels=torch.randn(2, 3, 128, 192, generator=generator), sizes=((128, 192), (96, 128)))
    text = Text(ids=torch.tensor([[1, 5, 6, 2]] * 2), mask=None)
    expected = model(text, images)
    found = seen[0][0]
    kept = RegionFeatures(features=found.features, boxes=found.boxes, sizes=images.sizes, mask=found.mask)
    torch.testing.assert_close(model(text, kept), expected, atol=0, rtol=0)


def test_a_model_that_reads_pixels_refuses_regions() -> None:
    batch = padded_regions([regions(3, 4, seed=0)])
    text = Text(ids=torch.tensor([[1, 5, 2]]), mask=None)
    for name in ("vilt-b32", "pixelbert-r50", "clip-vit-b32", "clip-rn50", "vsepp"):
        spec = catalog()[name].tiny()
        with pytest.raises(ValueError, match="cannot read precomputed regions"):
            build(spec).eval()(text, batch)
        with pytest.raises(InputError, match=rf"held\.tsv: {spec.name} sees pixels, not regions"):
            encoder(spec, Held({}))


def test_features_of_another_detector_are_refused() -> None:
    held = Held({"a": regions(3, 2054, seed=0)})
    with pytest.raises(InputError, match=r"held\.tsv: features of 2054 numbers; this model reads 2048"):
        encoder(UNITER, held).images([Path("a.jpg")])
    with pytest.raises(ValueError, match="of 2054 channels; this model reads 2048"):
        build(UNITER).visual(padded_regions([held.images["a"]]))


def test_features_have_the_channels_of_the_detector_or_of_the_projection() -> None:
    spec = catalog()["visualbert"].tiny()
    own = spec.visual.roi_head.channels
    assert own < channels(spec)
    held = Held({"own": regions(3, own, seed=0), "whole": regions(3, channels(spec), seed=0)})
    model = build(spec).eval()
    for name in ("own", "whole"):
        (batch,) = batches([items(name)], encoder(spec, held), workers=0)
        assert torch.isfinite(model(batch.text, batch.images)).all()
    held.images |= {"other": regions(3, own + 1, seed=0)}
    with pytest.raises(InputError, match=f"features of {own + 1} numbers; this model reads {own} or {channels(spec)}"):
        next(batches([items("other")], encoder(spec, held), workers=0))
    with pytest.raises(InputError, match=r"own\.jpg: its regions have 32 numbers each, those before it 2048"):
        encoder(spec, held).images([Path("whole.jpg"), Path("own.jpg")])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_without_regions_is_reported_in_one_line(workers: int) -> None:
    held = Held({"a": regions(3, 2048, seed=0)})
    with pytest.raises(InputError) as caught:
        next(batches([items("a", "b")], encoder(UNITER, held), workers=workers))
    assert str(caught.value) == "held.tsv: no regions of b"


@torch.inference_mode()
def test_the_real_file_reaches_a_model(reference_data: Path) -> None:
    source = open_regions(reference_data / "region_features" / "train2014_obj36.tsv")
    names = [f"COCO_train2014_{number:012}" for number in (132417,)]
    assert all(name in source for name in names)
    for name in ("uniter-base", "lxmert"):
        spec = catalog()[name].tiny()
        (batch,) = batches([items(*names)], encoder(spec, source), workers=1)
        assert isinstance(batch.images, RegionFeatures)
        assert batch.images.features.shape == (1, 36, 2048)
        assert torch.isfinite(build(spec).eval()(batch.text, batch.images)).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_several_processes_read_one_lmdb(tmp_path: Path, workers: int) -> None:
    lmdb = pytest.importorskip("lmdb")
    stored = {f"i{number}": regions(2 + number % 3, 2048, seed=number) for number in range(8)}
    with lmdb.open(str(tmp_path), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for name, image in stored.items():
            with io.BytesIO() as writer:
                np.savez_compressed(writer, features=image.features, norm_bb=image.boxes / [300, 200, 300, 200])
                transaction.put(f"{name}.npz".encode(), writer.getvalue())
        transaction.put(b"__keys__", json.dumps([f"{name}.npz" for name in stored]).encode())
    source = open_regions(tmp_path)
    found = list(batches([[item] for item in items(*stored)], encoder(UNITER, source), workers=workers))
    for batch, image in zip(found, stored.values(), strict=True):
        assert isinstance(batch.images, RegionFeatures)
        np.testing.assert_array_equal(batch.images.features[0], image.features)
        np.testing.assert_allclose(batch.images.boxes[0] * torch.tensor([300, 200, 300, 200]), image.boxes, rtol=1e-6)
    again = list(batches([items("i1", "i2")], encoder(UNITER, source), workers=workers))
    assert len(again) == 1


def test_regions_move_to_a_device_and_a_precision() -> None:
    held = Held({"a": regions(3, 2048, seed=0), "b": regions(2, 2048, seed=1)})
    (batch,) = batches([items("a", "b")], encoder(UNITER, held), workers=0)
    moved = batch.to(torch.device("meta"), torch.float16).images
    assert isinstance(moved, RegionFeatures)
    assert moved.mask is not None
    assert (moved.features.dtype, moved.boxes.dtype, moved.mask.dtype) == (torch.float16, torch.float32, torch.bool)
    assert {part.device.type for part in (moved.features, moved.boxes, moved.mask)} == {"meta"}
