"""Scores of a gallery equal those of each pair on its own, whatever is cached and whichever process computes them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tasks import data_sets
from vlbench.errors import InputError
from vlbench.evaluation.adapter import ModelUnderTest, build_for_evaluation
from vlbench.evaluation.inputs import ItemEncoder
from vlbench.evaluation.processes import Process
from vlbench.evaluation.retrieval import ScoreMatrix, expected_seconds, matching_score, pair_count, score_pairs
from vlbench.evaluation.tokens import tokenizer_for
from vlbench.specs.catalog import catalog
from vlbench.tasks.items import Gallery
from vlbench.tasks.region_features import ImageRegions
from vlbench.tasks.registry import TASKS


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """Three images of different sizes with two texts each, of different lengths."""
    folder = data_sets.karpathy(tmp_path_factory.mktemp("gallery"), images=4, captions=2)
    found = TASKS["flickr30k"].gallery(folder, "test")
    for number, path in enumerate(found.images):
        data_sets.picture(path, (40 * number, 99, 255 - 40 * number), size=(64 + 16 * number, 64))
    texts = tuple(f"{text} And{' more' * number}." for number, text in enumerate(found.texts))
    return Gallery(images=found.images, texts=texts, image_of_text=found.image_of_text)


class Regions:
    """Regions for any image; the higher its number, the more."""

    path = Path("regions.tsv")

    def __contains__(self, name: object) -> bool:
        return True

    def __len__(self) -> int:
        return 3

    def read(self, name: str) -> ImageRegions:
        numbers = np.random.default_rng(int(name))
        count = 3 + int(name)
        corners = np.sort(numbers.random((count, 2, 2), dtype=np.float32), axis=1).reshape(count, 4)
        features = numbers.random((count, 2048), dtype=np.float32)
        return ImageRegions(features=features, boxes=50 * corners, height=50, width=50)


def model_under_test(name: str, features: Regions | None = None) -> ModelUnderTest:
    spec = catalog()[name].tiny().for_task("ranking")
    tokenizer = tokenizer_for(spec, weights=None, vocabulary=None)
    encoder = ItemEncoder(spec, tokenizer.ids, pad_id=tokenizer.pad, features=features)
    return ModelUnderTest(build_for_evaluation(spec), encoder, torch.device("cpu"), torch.float32)


def one_by_one(model: ModelUnderTest, gallery: Gallery) -> np.ndarray:
    with torch.inference_mode():
        rows = [
            [
                float(
                    matching_score(
                        model.model(model.text([text]), model.images([image])), by_logit=model.ranks_by_logit
                    )
                )
                for image in gallery.images
            ]
            for text in gallery.texts
        ]
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize("name", ["vilt-b32", "pixelbert-r50", "clip-vit-b32", "scan"])
def test_each_pair_has_its_own_score(tmp_path: Path, gallery: Gallery, name: str) -> None:
    model = model_under_test(name)
    check_all_pairs(model, gallery, tmp_path)


@pytest.mark.parametrize("name", ["uniter-base", "lxmert", "vilbert", "oscar-base", "scan"])
def test_each_pair_has_its_own_score_with_precomputed_regions(tmp_path: Path, gallery: Gallery, name: str) -> None:
    check_all_pairs(model_under_test(name, Regions()), gallery, tmp_path)


def check_all_pairs(model: ModelUnderTest, gallery: Gallery, tmp_path: Path) -> None:
    matrix = ScoreMatrix(tmp_path / "scores.npy", len(gallery.texts), len(gallery.images), create=True)
    assert score_pairs(model, gallery, matrix, batch_size=2) == pair_count(gallery) == 18
    np.testing.assert_allclose(matrix.scores, one_by_one(model, gallery), atol=1e-5)
    assert np.ptp(matrix.scores) > 1e-6  # a model that gives all pairs one score would pass, too


@pytest.mark.parametrize("name", ["vilt-b32", "clip-vit-b32"])
def test_two_processes_and_a_kill_change_no_score(tmp_path: Path, gallery: Gallery, name: str) -> None:
    model = model_under_test(name)
    alone = ScoreMatrix(tmp_path / "alone.npy", 6, 3, create=True)
    score_pairs(model, gallery, alone, batch_size=2)
    shared = ScoreMatrix(tmp_path / "shared.npy", 6, 3, create=True)
    told: list[int] = []
    for rank in (0, 1):
        own = ScoreMatrix(tmp_path / "shared.npy", 6, 3, create=False)
        score_pairs(model, gallery, own, batch_size=2, process=Process(rank=rank, world=2), on_progress=told.append)
    assert np.array_equal(shared.scores, alone.scores)
    assert sum(told) == 18
    shared.scores[3:, 1:] = np.nan  # as if killed there
    assert 0 < score_pairs(model, gallery, shared, batch_size=2) <= 18
    assert np.array_equal(shared.scores, alone.scores)
    assert score_pairs(model, gallery, shared, batch_size=2) == 0


def test_the_expected_time_is_estimated(gallery: Gallery) -> None:
    model = model_under_test("vilt-b32")
    assert 0 < expected_seconds(model, gallery, batch_size=2, processes=1) < 60


def test_a_matrix_of_another_gallery(tmp_path: Path) -> None:
    ScoreMatrix(tmp_path / "scores.npy", 3, 2, create=True)
    with pytest.raises(InputError, match="is of another gallery; delete it to start over"):
        ScoreMatrix(tmp_path / "scores.npy", 4, 2, create=True)
    (tmp_path / "broken.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="cannot be written or continued"):
        ScoreMatrix(tmp_path / "broken.npy", 4, 2, create=True)


def test_a_damaged_matrix_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    np.save(path, np.zeros((3, 2)))
    with pytest.raises(InputError, match="of another gallery; delete it to start over"):
        ScoreMatrix(path, 3, 2, create=True)  # float64
    path.unlink()
    ScoreMatrix(path, 3, 2, create=True)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for number in range(300):
        content = bytearray(whole)
        for position in random.integers(128, size=4):
            content[position] = random.integers(256)
        path.write_bytes(content if number % 10 else content[: random.integers(len(content))])
        with contextlib.suppress(InputError):
            assert ScoreMatrix(path, 3, 2, create=True).scores.shape == (3, 2)


def test_a_kill_while_the_matrix_is_created_leaves_no_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "scores.npy"
    with monkeypatch.context() as patched:
        patched.setattr(np.memmap, "flush", killed)
        with pytest.raises(KeyboardInterrupt):
            ScoreMatrix(path, 3, 2, create=True)
    assert not path.exists()
    assert np.isnan(ScoreMatrix(path, 3, 2, create=True).scores).all()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("by_logit", [True, False])
def test_one_score_is_itself(by_logit: bool) -> None:
    assert matching_score(torch.tensor([[1.0], [2.0]]), by_logit=by_logit).tolist() == [1, 2]
    assert matching_score(torch.tensor([5.0]), by_logit=by_logit).tolist() == [5]


def test_two_logits_rank_by_that_of_match_or_by_its_probability() -> None:
    logits = torch.tensor([[1.0, 4.0], [9.0, 5.0], [-3.0, 3.0]])
    assert matching_score(logits, by_logit=True).tolist() == [4, 5, 3]
    by_probability = matching_score(logits, by_logit=False)
    assert by_probability.tolist() == [3, -4, 6]
    torch.testing.assert_close(by_probability.sigmoid(), logits.softmax(1)[:, 1])


@pytest.mark.parametrize("name", ["vilt-b32", "uniter-base"])
def test_a_matching_head_ranks_as_the_ranking_head_that_begins_as_its_row_of_match(
    tmp_path: Path, gallery: Gallery, name: str
) -> None:
    """ViLT's `rank_output` and UNITER's `init_output` copy row 1 of the matching head into a layer of one output."""
    spec = catalog()[name].tiny()
    model = model_under_test(name, Regions() if spec.has_detector else None)
    ranking, model.model = model.model, build_for_evaluation(spec)
    model.ranks_by_logit = spec.ranks_by_logit
    matrix = ScoreMatrix(tmp_path / "scores.npy", len(gallery.texts), len(gallery.images), create=True)
    score_pairs(model, gallery, matrix, batch_size=2)
    matching = model.model.state_dict()
    rows = {name: matching[name][1:] for name in ("head.classifier.weight", "head.classifier.bias")}
    ranking.load_state_dict(matching | rows)
    model.model = ranking
    np.testing.assert_allclose(matrix.scores, one_by_one(model, gallery), atol=1e-5)


def test_models_without_a_ranking_head_rank_by_probability() -> None:
    assert not any(catalog()[name].ranks_by_logit for name in ("vilbert", "oscar-base", "vinvl-base", "lxmert"))
    assert all(catalog()[name].ranks_by_logit for name in ("hf-blip-itm", "hf-bridgetower-base"))
