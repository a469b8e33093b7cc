"""From items of a data set to a model's batches: token ids, pixels or precomputed regions, and the data-loading
processes that prepare them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.errors import InputError, WorkerError
from vlbench.evaluation.images import ImageReader, reader_of
from vlbench.specs import AnySpec, HuggingFaceSpec
from vlbench.tasks.items import Item
from vlbench.tasks.region_features import RegionSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An InputError on its way out of a process; PyTorch would wrap the error itself in a traceback."""

    message: str


def unchanged(found: Any) -> Any:
    """For `collate_fn`: a batch is whole when it is made."""
    return found


def loaded(loader: DataLoader[Any], *, prepares: str) -> Iterator[Any]:
    """What the loader gives, in order.

    Raises InputError in place of what was refused; WorkerError where a process ends without a result.

    Args:
        prepares: what its processes do, for that error.
    """
    try:
        for found in loader:
            if isinstance(found, Refused):
                raise InputError(found.message)
            yield found
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkerError(
            f"a process that {prepares} was killed; with less memory per batch or --workers 0 it works"
        ) from error


Pictures = Images | RegionFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Items and what a model is given for them; `text` is None for a model of images alone."""

    items: tuple[Item, ...]
    text: Text | None
    images: Pictures  # of all items, one after the other; for pairs left, right, left, right

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """A copy on a device, pixels and features in a precision; ids, masks and boxes keep theirs."""
        text = self.text and text_to(self.text, device)
        return Batch(items=self.items, text=text, images=images_to(self.images, device, dtype))


def text_to(text: Text, device: torch.device) -> Text:
    """A copy on a device."""
    return Text(ids=text.ids.to(device), mask=None if text.mask is None else text.mask.to(device))


def images_to(images: Pictures, device: torch.device, dtype: torch.dtype) -> Pictures:
    """A copy on a device, pixels and features in a precision; boxes and masks keep theirs."""
    if isinstance(images, Images):
        return Images(pixels=images.pixels.to(device, dtype), sizes=images.sizes)
    return RegionFeatures(
        features=images.features.to(device, dtype),
        boxes=images.boxes.to(device),
        sizes=images.sizes,
        mask=None if images.mask is None else images.mask.to(device),
    )


def picked_images(images: Pictures, rows: Sequence[int]) -> Pictures:
    """These images of a batch, in this order."""
    places, sizes = torch.tensor(rows), tuple(images.sizes[row] for row in rows)
    if isinstance(images, Images):
        return Images(pixels=images.pixels[places], sizes=sizes)
    mask = None if images.mask is None else images.mask[places]
    return RegionFeatures(features=images.features[places], boxes=images.boxes[places], sizes=sizes, mask=mask)


class ItemEncoder:
    """Turns texts and image files into what one model reads.

    Raises InputError where features are given for a model that sees pixels.

    Args:
        spec: of the model.
        tokens: a text's ids, from its first token to its end token.
        pad_id: what stands behind the end of a shorter text.
        features: regions of every image in place of its pixels, or None.
    """

    def __init__(
        self,
        spec: AnySpec,
        tokens: Callable[[str], list[int]],
        *,
        pad_id: int,
        features: RegionSource | None = None,
    ) -> None:
        self.most_tokens = spec.input.text_tokens
        self.reads_text = spec.text is not None
        self.masked = not isinstance(spec, HuggingFaceSpec) or spec.inputs.mask is not None
        self.tokens = tokens
        self.pad_id = pad_id
        self.reader = reader_of(spec, features)

    def text(self, texts: Sequence[str]) -> Text:
        """Texts padded to the longest; one that is too long for the model loses words before its end token.

        A model of transformers that takes no mask gets its full length, as it was trained.
        """
        ids = [self._fitted(self.tokens(text)) for text in texts]
        if self.masked:
            return padded_text(ids, self.pad_id)
        return Text(ids=padded_text(ids, self.pad_id, length=self.most_tokens).ids, mask=None)

    def _fitted(self, ids: list[int]) -> list[int]:
        return ids if len(ids) <= self.most_tokens else [*ids[: self.most_tokens - 1], ids[-1]]

    def images(self, paths: Sequence[Path]) -> Pictures:
        """A batch of images, or of their regions. Raises InputError where one cannot be read."""
        return self.reader.read(paths)


def padded_text(ids: Sequence[Sequence[int]], pad_id: int, *, length: int | None = None) -> Text:
    """Texts of these ids, padded to the longest or to a length, and the mask that says so where one is shorter."""
    lengths = torch.tensor([len(own) for own in ids])
    longest = length or int(lengths.max())
    ids_BL = torch.tensor([[*own, *[pad_id] * (longest - len(own))] for own in ids])
    real_BL = torch.arange(longest) < lengths[:, None]
    return Text(ids=ids_BL, mask=None if bool(real_BL.all()) else real_BL)


def batches(chunks: Sequence[Sequence[Item]], encoder: ItemEncoder, *, workers: int = 0) -> Iterator[Batch]:
    """A batch of each chunk of items, in their order, images decoded by `workers` processes (0: by this one).

    Raises InputError where an image cannot be read or items have different numbers of images, after the batches before
    it; WorkerError where a process ends without a result.
    """
    paths = [_paths(chunk) for chunk in chunks]
    loader = DataLoader(
        _Pictures(encoder.reader, paths), batch_size=None, num_workers=workers, collate_fn=unchanged, shuffle=False
    )
    for chunk, images in zip(chunks, loaded(loader, prepares="reads images"), strict=True):
        text = encoder.text([item.text for item in chunk]) if encoder.reads_text else None
        yield Batch(items=tuple(chunk), text=text, images=images)


def _paths(items: Sequence[Item]) -> list[Path]:
    """The images of each item, all of which must have equally many."""
    each = [item.images for item in items]
    for item, own in zip(items, each, strict=True):
        if len(own) != len(each[0]) or not own:
            raise InputError(f"{item.identifier}: {len(own)} images, and {len(each[0])} of {items[0].identifier}")
    return [path for own in each for path in own]


class _Pictures(Dataset):
    """The images of each batch."""

    def __init__(self, reader: ImageReader, paths: Sequence[Sequence[Path]]) -> None:
        self.reader = reader
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Pictures | Refused:
        try:
            return self.reader.read(self.paths[index])
        except InputError as error:
            return Refused(message=str(error))
