"""Scores every text of a gallery with every image. Each text and image is embedded once if the model allows it; only
the fusion of the two is computed for every pair."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlbench.architectures.build import TaskModel
from vlbench.architectures.interfaces import Text, Tokens
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.evaluation.adapter import ModelUnderTest, check_finite, concatenate_tokens
from vlbench.evaluation.processes import Process
from vlbench.files.arrays import DAMAGE
from vlbench.files.writing import replacing
from vlbench.tasks.items import Gallery

Scores = NDArray[np.float32]
TextScorer = Callable[[int], Scores]  # from the index of a text to its scores with a block of images, (images,)


class ScoreMatrix:
    """A file of scores, texts x images; nan if a pair has no score yet. Each process writes its own columns.

    Args:
        path: of the file; it is created if it does not exist and `create` is true.
    """

    def __init__(self, path: Path, texts: int, images: int, *, create: bool) -> None:
        self.path = path
        try:
            if create and not path.exists():
                with replacing(path) as created:  # until it is whole: zeros would count as scores
                    empty = np.lib.format.open_memmap(created, mode="w+", dtype=np.float32, shape=(texts, images))
                    empty[:] = np.nan
                    empty.flush()
            self.scores: Scores = np.lib.format.open_memmap(path, mode="r+")
        except DAMAGE as error:
            raise InputError(f"{path}: cannot be written or continued ({error}); delete it to start over") from error
        if self.scores.shape != (texts, images) or self.scores.dtype != np.float32:
            raise InputError(f"{path}: is of another gallery; delete it to start over")

    def missing_rows(self, columns: slice) -> list[int]:
        """The rows that lack a score in these columns."""
        return np.flatnonzero(np.isnan(self.scores[:, columns]).any(1)).tolist()


LARGE_BLOCK = 1024  # images that are scored with a text at once if scoring a pair costs next to nothing


def pair_count(gallery: Gallery) -> int:
    return len(gallery.texts) * len(gallery.images)


def score_pairs(
    model: ModelUnderTest,
    gallery: Gallery,
    matrix: ScoreMatrix,
    *,
    batch_size: int,
    process: Process | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Fills the missing rows of the matrix. Returns how many pairs this process scored.

    A block of images is embedded once, then scored with each text. The processes share the blocks. Blocks, and so
    scores, do not depend on the number of processes.

    Raises:
        InputError: an image or its regions cannot be read, or a score is not finite; earlier scores are kept.

    Args:
        batch_size: images in one forward pass.
        on_progress: called with the number of pairs done since the last call.
    """
    size = _block_size(model.model, batch_size)
    blocks = [slice(start, start + size) for start in range(0, len(gallery.images), size)]
    texts = _TextCache(model, gallery.texts, batch_size)
    scored = 0
    for columns in (process or Process()).share(blocks):
        rows = matrix.missing_rows(columns)
        on_progress((len(gallery.texts) - len(rows)) * len(gallery.images[columns]))
        if not rows:
            continue
        score_text = _text_scorer(model, texts, gallery.images[columns], batch_size)
        for row in rows:
            matrix.scores[row, columns] = scores = score_text(row)
            scored += len(scores)
            on_progress(len(scores))
    return scored


def score_block(
    model: ModelUnderTest, texts: Sequence[str], images: Sequence[Path], *, rows: int, batch_size: int
) -> Tensor:
    """The scores of the first texts with some images, (rows, I), embedded as `score_pairs` does."""
    score_text = _text_scorer(model, _TextCache(model, texts, batch_size), images, batch_size)
    return torch.from_numpy(np.stack([score_text(row) for row in range(rows)]))


def expected_seconds(model: ModelUnderTest, gallery: Gallery, *, batch_size: int, processes: int) -> float:
    """How long `score_pairs` will take, estimated from the first images and texts. The scores are not kept."""
    size = _block_size(model.model, batch_size)
    texts = _TextCache(model, gallery.texts, batch_size)
    start = time.perf_counter()
    score_text = _text_scorer(model, texts, gallery.images[:size], batch_size)
    seconds_per_image = (time.perf_counter() - start) / len(gallery.images[:size])
    score_text(0)
    rows = range(min(3, len(gallery.texts)))
    start = time.perf_counter()
    for row in rows:
        score_text(row)
    seconds_per_pair = (time.perf_counter() - start) / len(rows) / len(gallery.images[:size])
    return (seconds_per_image * len(gallery.images) + seconds_per_pair * pair_count(gallery)) / processes


def _block_size(model: TaskModel, batch_size: int) -> int:
    """A batch for models that fuse text and image in a transformer, which have a head; more for all others."""
    is_cheap = model.is_dual_encoder
    return LARGE_BLOCK if is_cheap else batch_size


class _TextCache:
    """The texts of a gallery as the model's inputs, and their embeddings, which are computed once, by batch."""

    def __init__(self, model: ModelUnderTest, texts: Sequence[str], batch_size: int) -> None:
        self.model = model
        self.texts = texts
        self.batch_size = batch_size
        self.cached_tokens: dict[int, Tokens] = {}
        self.cached_vectors: dict[int, Tensor] = {}

    def ids(self, row: int) -> Text:
        return self.model.text([self.texts[row]])

    def tokens(self, row: int) -> Tokens:
        """The tokens of one text, from a model with a text embedder of its own."""
        if row not in self.cached_tokens:
            model = self.model.model
            assert isinstance(model, VLModel)
            assert model.text is not None
            first = row - row % self.batch_size
            tokens = model.text(self.model.text(self.texts[first : first + self.batch_size]))
            for index in range(len(tokens.values)):
                self.cached_tokens[first + index] = _without_padding(tokens, index)
        return self.cached_tokens[row]

    def vector(self, row: int) -> Tensor:
        """The vector of one text, (D,), from a model that compares one vector of each modality."""
        if row not in self.cached_vectors:
            model = self.model.model
            assert not isinstance(model, VLModel)
            first = row - row % self.batch_size
            vectors = model.encode_text(self.model.text(self.texts[first : first + self.batch_size]))
            self.cached_vectors |= {first + index: vector for index, vector in enumerate(vectors)}
        return self.cached_vectors[row]


def _without_padding(tokens: Tokens, row: int) -> Tokens:
    """One row of a batch, without its padding."""
    values = tokens.values[row : row + 1]
    return Tokens(values=values if tokens.mask is None else values[:, tokens.mask[row]], mask=None)


def _text_scorer(under_test: ModelUnderTest, texts: _TextCache, paths: Sequence[Path], batch_size: int) -> TextScorer:
    """Embeds these images. Returns a function from a text's index to its scores with them."""
    model = under_test.model
    chunks = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    if not isinstance(model, VLModel) and model.is_dual_encoder:
        with torch.inference_mode():
            images_ID = torch.cat([model.encode_images(under_test.images(chunk)) for chunk in chunks])
        return _checked(lambda row: images_ID @ texts.vector(row))
    score = partial(matching_score, by_logit=under_test.ranks_by_logit)
    if not isinstance(model, VLModel):
        images = under_test.images(paths)
        return _checked(lambda row: score(model(_repeated_text(texts.ids(row), len(paths)), images)))
    with torch.inference_mode():
        image_tokens = concatenate_tokens([model.visual(under_test.images(chunk)) for chunk in chunks])
    return _checked(lambda row: score(model.fuse(_repeated_tokens(texts.tokens(row), len(paths)), image_tokens)))


def _checked(scores_of: Callable[[int], Tensor]) -> TextScorer:
    """The scores of a text, on the CPU in float32; raises InputError if one is not finite."""

    def score_text(row: int) -> Scores:
        with torch.inference_mode():
            scores = scores_of(row).float().cpu()
        check_finite(scores[None], [f"text {row + 1}"])
        return scores.numpy()

    return score_text


def _repeated_tokens(tokens: Tokens, count: int) -> Tokens:
    return Tokens(values=tokens.values.expand(count, -1, -1), mask=None)


def _repeated_text(text: Text, count: int) -> Text:
    return Text(ids=text.ids.expand(count, -1), mask=None)


def matching_score(output: Tensor, *, by_logit: bool) -> Tensor:
    """One score per pair, (B,), from one score, (B,) or (B, 1), or from the logits of no match and match, (B, 2).

    Args:
        by_logit: two logits score by that of match alone; else by their difference, which ranks as the probability of
            match does.
    """
    if output.dim() == 1:
        return output
    if output.shape[1] == 1:
        return output[:, 0]
    return output[:, 1] if by_logit else output[:, 1] - output[:, 0]
