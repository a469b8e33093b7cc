"""Each image of a batch is embedded once, and the scores are those of embedding it for every question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vlbench.architectures.interfaces import Images, RegionFeatures, Tokens, select_rows
from vlbench.evaluation.adapter import ModelUnderTest, build_for_evaluation
from vlbench.evaluation.inputs import Batch, ItemEncoder, batches, select_images
from vlbench.inputs import token_ids
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog
from vlbench.tasks.items import Item
from vlbench.tasks.region_features import ImageRegions

CPU = torch.device("cpu")
ASKED = (0, 0, 1, 2, 0)  # which image each question is about
ONE_A_MECHANISM = ("vilt-b32", "vit-b32", "pixelbert-r50", "clip-rn50", "vsepp", "uniter-base")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four pictures, of which the first two have one size."""
    folder = tmp_path_factory.mktemp("images")
    found = [folder / f"{number}.png" for number in range(4)]
    for number, path in enumerate(found):
        size = (96 + 32 * (number // 2), 96, 3)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8)).save(path)
    return found


def model_under_test(spec: ModelSpec, features: Regions | None = None) -> ModelUnderTest:
    def ids(text: str) -> list[int]:
        return token_ids(text, spec.text.vocabulary if spec.text else 0)

    return ModelUnderTest(
        build_for_evaluation(spec), ItemEncoder(spec, ids, pad_id=0, features=features), CPU, torch.float32
    )


def questions(paths: Sequence[Path], asked: Sequence[int] = ASKED) -> list[Item]:
    return [
        Item(
            identifier=str(place),
            text="what is left " + "or right " * (place % 3),
            images=(paths[image],),
            answers=(),
            unit="",
        )
        for place, image in enumerate(asked)
    ]


def embedded_counts(one: ModelUnderTest) -> list[int]:
    """How many images each call of the visual embedder gets, from now on."""
    found: list[int] = []
    embedder = getattr(one.model.visual, "embedder", one.model.visual)
    embedder.register_forward_pre_hook(lambda _, given: found.append(len(given[0].sizes)))
    return found


class Regions:
    """Regions for any image; the higher its number, the more."""

    path = Path("regions.tsv")

    def __contains__(self, name: object) -> bool:
        return True

    def __len__(self) -> int:
        return 4

    def read(self, name: str) -> ImageRegions:
        numbers = np.random.default_rng(int(name))
        corners = np.sort(numbers.random((3 + int(name), 2, 2), dtype=np.float32), axis=1).reshape(-1, 4)
        features = numbers.random((3 + int(name), 2048), dtype=np.float32)
        return ImageRegions(features=features, boxes=50 * corners, height=50, width=50)


def both(one: ModelUnderTest, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores of the model under test, and those of its model on the whole batch."""
    scores = one.scores(batch)
    with torch.inference_mode():
        return scores, one.model(batch.text, batch.images)


@pytest.mark.parametrize("name", ONE_A_MECHANISM)
def test_every_model_scores_as_if_it_embedded_each_time(name: str, paths: list[Path]) -> None:
    one = model_under_test(catalog()[name].tiny())
    (batch,) = batches([questions(paths)], one.encoder)
    seen = embedded_counts(one)
    scores = one.scores(batch)
    assert sum(seen) == 3
    _, expected = both(one, batch)
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-6)


def test_precomputed_regions_are_embedded_once(paths: list[Path]) -> None:
    one = model_under_test(catalog()["uniter-base"].tiny(), Regions())
    (batch,) = batches([questions(paths)], one.encoder)
    assert isinstance(batch.images, RegionFeatures)
    seen = embedded_counts(one)
    scores = one.scores(batch)
    assert sum(seen) == 3
    _, expected = both(one, batch)
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=0)


def test_images_that_are_embedded_alone_are_cached_for_the_next_batch(paths: list[Path]) -> None:
    one = model_under_test(catalog()["pixelbert-r50"].tiny())
    chunks = [questions(paths, asked) for asked in ((0, 0, 2), (2, 3, 1), (1, 0, 2))]
    found = list(batches(chunks, one.encoder))
    seen, counts = embedded_counts(one), []
    scores = []
    for batch in found:
        scores.append(one.scores(batch))
        counts.append(len(seen))
    assert counts == [2, 4, 5]  # 0 and 2; 3 and 1; 0 again, for only the batch before is remembered
    for batch, score in zip(found, scores, strict=True):
        assert torch.equal(score, both(one, batch)[1])


def test_images_that_are_embedded_together_are_not_cached(paths: list[Path]) -> None:
    """So that an answer does not depend on where a kill interrupted the batches."""
    one = model_under_test(catalog()["pixelbert-r50"].tiny())
    same = [paths[0], paths[1]]
    seen = embedded_counts(one)
    for batch in batches([questions(same, (0, 0, 1)), questions(same, (1, 1, 0))], one.encoder):
        one.scores(batch)
    assert seen == [2, 2]


def test_different_images_are_all_embedded(paths: list[Path]) -> None:
    one = model_under_test(catalog()["pixelbert-r50"].tiny())
    (batch,) = batches([questions(paths, (3, 1, 0, 2))], one.encoder)
    scores, expected = both(one, batch)
    assert torch.equal(scores, expected)


def test_pairs_are_embedded_whole(paths: list[Path]) -> None:
    """A head for pairs needs left and right of every item, so no image may be left out."""
    one = model_under_test(catalog()["vilt-b32"].for_task("pairs").tiny())
    pair = (paths[0], paths[1])
    items = [Item(identifier=name, text="both", images=pair, answers=(), unit="") for name in "ab"]
    (batch,) = batches([items], one.encoder)
    seen = embedded_counts(one)
    scores, expected = both(one, batch)
    assert seen == [4, 4]
    assert torch.equal(scores, expected)


def test_rows_are_picked_with_their_masks() -> None:
    values = torch.arange(12.0).reshape(3, 2, 2)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    found = select_rows(Tokens(values=values, mask=mask), (2, 0, 2))
    assert torch.equal(found.values, values[[2, 0, 2]])
    assert found.mask is not None
    assert torch.equal(found.mask, mask[[2, 0, 2]])
    assert select_rows(Tokens(values=values, mask=None), (1,)).mask is None
    images = Images(pixels=torch.arange(24.0).reshape(2, 3, 2, 2), sizes=((2, 2), (1, 2)))
    second = select_images(images, (1,))
    assert torch.equal(second.pixels, images.pixels[1:])
    assert second.sizes == ((1, 2),)
