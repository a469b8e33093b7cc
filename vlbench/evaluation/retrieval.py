"""Scores of every pair of text and image of a gallery; each is embedded once, only their meeting repeats."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlbench.architectures.build import AnyModel
from vlbench.architectures.interfaces import Text, Tokens
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.evaluation.adapter import ModelUnderTest, check_finite, concatenated
from vlbench.evaluation.processes import Process
from vlbench.tasks.items import Gallery

Scores = NDArray[np.float32]
Meet = Callable[[int], Scores]  # a text, by its place -> its scores with a block of images, (images,)


class ScoreMatrix:
    """Texts x images on disk, nan where a pair has no score yet; all processes write their own columns.

    Args:
        path: of the file, made if it is not there; it holds only one shape.
    """

    def __init__(self, path: Path, texts: int, images: int, *, make: bool) -> None:
        self.path = path
        try:
            if make and not path.exists():
                fresh = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(texts, images))
                fresh[:] = np.nan
                fresh.flush()
            self.scores: Scores = np.lib.format.open_memmap(path, mode="r+")
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be written or read on ({error}); delete it to begin anew") from error
        if self.scores.shape != (texts, images):
            raise InputError(f"{path}: is of another gallery; delete it to begin anew")

    def missing_rows(self, columns: slice) -> list[int]:
        return np.flatnonzero(np.isnan(self.scores[:, columns]).any(1)).tolist()


BLOCK = 1024  # images that meet a text at once where meeting costs next to nothing


def pairs_of(gallery: Gallery) -> int:
    return len(gallery.texts) * len(gallery.images)


def score_pairs(
    candidate: ModelUnderTest,
    gallery: Gallery,
    matrix: ScoreMatrix,
    *,
    batch: int,
    process: Process | None = None,
    listen: Callable[[int], None] = lambda _: None,
) -> int:
    """Fills the matrix; rows that it has are left. Returns how many pairs this process scored.

    A block of images is embedded once and meets each text in turn; the processes share the blocks. Blocks are the same
    whatever the number of processes, and so are the scores.

    Raises:
        InputError: an image or a feature that cannot be read, or a model that gives no numbers; the scores so far are
            kept.

    Args:
        batch: images in one pass.
        listen: is told of pairs as they are scored.
    """
    size = _block(candidate.model, batch)
    blocks = [slice(start, start + size) for start in range(0, len(gallery.images), size)]
    texts = _Texts(candidate, gallery.texts, batch)
    scored = 0
    for columns in (process or Process()).share(blocks):
        rows = matrix.missing_rows(columns)
        listen((len(gallery.texts) - len(rows)) * len(gallery.images[columns]))
        if not rows:
            continue
        meet = _meeting(candidate, texts, gallery.images[columns], batch)
        for row in rows:
            matrix.scores[row, columns] = found = meet(row)
            scored += len(found)
            listen(len(found))
    return scored


def expected_seconds(candidate: ModelUnderTest, gallery: Gallery, *, batch: int, processes: int) -> float:
    """What `score_pairs` will take, from its first images with its first texts; these are then not yet scored."""
    size = _block(candidate.model, batch)
    texts = _Texts(candidate, gallery.texts, batch)
    start = time.perf_counter()
    meet = _meeting(candidate, texts, gallery.images[:size], batch)
    embedding = (time.perf_counter() - start) / len(gallery.images[:size])
    meet(0)
    rows = range(min(3, len(gallery.texts)))
    start = time.perf_counter()
    for row in rows:
        meet(row)
    meeting = (time.perf_counter() - start) / len(rows) / len(gallery.images[:size])
    return (embedding * len(gallery.images) + meeting * pairs_of(gallery)) / processes


def _block(model: AnyModel, batch: int) -> int:
    """A head behind the interaction marks a transformer that reads both; it takes no more than a batch."""
    apart = model.head is None if isinstance(model, VLModel) else model.spec.gives == "similarity"
    return BLOCK if apart else batch


class _Texts:
    """Each text as the model takes it; `tokens`, for models with a text embedder of their own, embeds each once."""

    def __init__(self, candidate: ModelUnderTest, texts: Sequence[str], batch: int) -> None:
        self.candidate = candidate
        self.texts = texts
        self.batch = batch
        self.kept: dict[int, Tokens] = {}
        self.vectors: dict[int, Tensor] = {}

    def encoded(self, row: int) -> Text:
        return self.candidate.text([self.texts[row]])

    def tokens(self, row: int) -> Tokens:
        if row not in self.kept:
            model = self.candidate.model
            assert isinstance(model, VLModel)
            assert model.text is not None
            first = row - row % self.batch
            found = model.text(self.candidate.text(self.texts[first : first + self.batch]))
            for place in range(len(found.values)):
                self.kept[first + place] = _row(found, place)
        return self.kept[row]

    def vector(self, row: int) -> Tensor:
        """(D,), of a model that compares the two as a whole."""
        if row not in self.vectors:
            model = self.candidate.model
            assert not isinstance(model, VLModel)
            first = row - row % self.batch
            found = model.encode_text(self.candidate.text(self.texts[first : first + self.batch]))
            self.vectors |= {first + place: values for place, values in enumerate(found)}
        return self.vectors[row]


def _row(tokens: Tokens, place: int) -> Tokens:
    """One example without its padding."""
    values = tokens.values[place : place + 1]
    return Tokens(values=values if tokens.mask is None else values[:, tokens.mask[place]], mask=None)


def _meeting(candidate: ModelUnderTest, texts: _Texts, paths: Sequence[Path], batch: int) -> Meet:
    """Embeds these images; what comes back takes a text and gives its scores with them."""
    model = candidate.model
    chunks = [paths[start : start + batch] for start in range(0, len(paths), batch)]
    if not isinstance(model, VLModel) and model.spec.gives == "similarity":
        with torch.inference_mode():
            images_ID = torch.cat([model.encode_images(candidate.images(chunk)) for chunk in chunks])
        return _checked(lambda row: images_ID @ texts.vector(row))
    if not isinstance(model, VLModel):
        images = candidate.images(paths)
        return _checked(lambda row: model(_repeated_text(texts.encoded(row), len(paths)), images))
    with torch.inference_mode():
        image_tokens = concatenated([model.visual(candidate.images(chunk)) for chunk in chunks])

    return _checked(lambda row: model.fuse(_repeated(texts.tokens(row), len(paths)), image_tokens))


def _checked(meet: Callable[[int], Tensor]) -> Meet:
    def scores(row: int) -> Scores:
        with torch.inference_mode():
            found = matching_score(meet(row)).float().cpu()
        check_finite(found[None], [f"text {row + 1}"])
        return found.numpy()

    return scores


def _repeated(tokens: Tokens, count: int) -> Tokens:
    return Tokens(values=tokens.values.expand(count, -1, -1), mask=None)


def _repeated_text(text: Text, count: int) -> Text:
    return Text(ids=text.ids.expand(count, -1), mask=None)


def matching_score(found: Tensor) -> Tensor:
    """One number a pair, (B,): a score as it is; of "does not match" and "matches" how much likelier the second is."""
    if found.dim() == 1:
        return found
    return found[:, 0] if found.shape[1] == 1 else found[:, 1] - found[:, 0]
