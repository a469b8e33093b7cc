"""Turns items of a data set into a model's batches: token ids, and pixels or precomputed regions, which data-loading
processes prepare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.errors import InputError, WorkerError
from vlbench.evaluation.images import ImageReader, image_reader_for
from vlbench.specs import AnySpec
from vlbench.system.child_processes import allow_open_files, serve_parent
from vlbench.system.temporary import temporary_folder
from vlbench.tasks.items import Item
from vlbench.tasks.region_features import RegionSource

# Signs of the errors that DataLoader raises where a process has gone, or cannot open what it is sent
PROCESS_HAS_GONE = (
    "DataLoader worker (pid",
    "items of ancdata",
    "EOFError",
    "Connection",
    "Broken pipe",
    "Too many open files",
)


RAISED_IN_PROCESS = "in DataLoader worker process"  # an error that a process sent, and so has not gone


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedInput:
    """Carries an InputError out of a data-loading process, because PyTorch would wrap the error in a traceback."""

    message: str


def iterate(dataset: Dataset[Any], *, task: str, workers: int, **settings: Any) -> Iterator[Any]:
    """The elements of a data set, each of which is a whole batch, in order.

    Raises InputError if a process refused its input, WorkerError if a process died.

    Args:
        task: of the processes, for the error message, such as "reads images".
        workers: the number of processes; with 0, this process does it.
        settings: more arguments of DataLoader.
    """
    if workers:
        allow_open_files()
    with temporary_folder() if workers else nullcontext(Path()) as folder:
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            collate_fn=_no_collation,
            worker_init_fn=partial(serve_parent, folder),
            **settings,
        )
        iterator = iter(loader)
        try:
            for batch in iterator:
                if isinstance(batch, RefusedInput):
                    raise InputError(batch.message)
                yield batch
        except (EOFError, OSError, RuntimeError) as error:
            message = f"{type(error).__name__} {error}"
            if workers == 0 or RAISED_IN_PROCESS in message or not any(sign in message for sign in PROCESS_HAS_GONE):
                raise
            raise WorkerError(
                f"a process that {task} was killed, or could not send its batch; with less memory per batch, more open "
                "files (ulimit -n) or --workers 0 it works"
            ) from error
        finally:
            if workers:
                iterator._shutdown_workers()  # type: ignore[attr-defined]  # before their folder is removed


def _no_collation(batch: Any) -> Any:
    return batch


ImageInputs = Images | RegionFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Items with the model's inputs.

    Attributes:
        text: None for a model that reads images alone.
        images: of all items in order; left, right, left, right for pairs.
    """

    items: tuple[Item, ...]
    text: Text | None
    images: ImageInputs

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """A copy on a device. Pixels and features get the dtype; ids, masks and boxes keep theirs."""
        text = self.text and text_to(self.text, device)
        return Batch(items=self.items, text=text, images=images_to(self.images, device, dtype))


def text_to(text: Text, device: torch.device) -> Text:
    """A copy on a device."""
    return Text(ids=_copy(text.ids, device), mask=None if text.mask is None else _copy(text.mask, device))


def images_to(images: ImageInputs, device: torch.device, dtype: torch.dtype) -> ImageInputs:
    """A copy on a device. Pixels and features get the dtype; boxes and masks keep theirs."""
    if isinstance(images, Images):
        return Images(pixels=_copy(images.pixels, device).to(dtype), sizes=images.sizes)
    return RegionFeatures(
        features=_copy(images.features, device).to(dtype),
        boxes=_copy(images.boxes, device),
        sizes=images.sizes,
        mask=None if images.mask is None else _copy(images.mask, device),
    )


def _copy(values: Tensor, device: torch.device) -> Tensor:
    """On the device, as they are: a conversion in the same call would be the CPU's work, and not in pinned memory."""
    return values.to(device, non_blocking=True)


def select_images(images: ImageInputs, rows: Sequence[int]) -> ImageInputs:
    """These rows of a batch, in this order."""
    if list(rows) == list(range(len(images.sizes))):  # a copy would not be in pinned memory
        return images
    index, sizes = torch.tensor(rows), tuple(images.sizes[row] for row in rows)
    if isinstance(images, Images):
        return Images(pixels=images.pixels[index], sizes=sizes)
    mask = None if images.mask is None else images.mask[index]
    return RegionFeatures(features=images.features[index], boxes=images.boxes[index], sizes=sizes, mask=mask)


class ItemEncoder:
    """Turns texts and image files into the inputs of one model.

    Raises InputError if features are given for a model that reads pixels.

    Args:
        spec: of the model.
        tokens: turns a text into ids, from its first token to its end token.
        pad_id: the id after the end of a shorter text.
        features: precomputed regions, read instead of pixels.
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
        self.masked = spec.reads_text_mask
        self.tokens = tokens
        self.pad_id = pad_id
        self.reader = image_reader_for(spec, features)

    def text(self, texts: Sequence[str]) -> Text:
        """The ids of texts, padded to the longest. A text that is too long for the model is cut before its end token.

        For a transformers model without a mask, texts are padded to the model's full length, as in its training.
        """
        ids = [self._truncated(self.tokens(text)) for text in texts]
        if self.masked:
            return padded_text(ids, self.pad_id)
        return Text(ids=padded_text(ids, self.pad_id, length=self.most_tokens).ids, mask=None)

    def _truncated(self, ids: list[int]) -> list[int]:
        return ids if len(ids) <= self.most_tokens else [*ids[: self.most_tokens - 1], ids[-1]]

    def images(self, paths: Sequence[Path]) -> ImageInputs:
        """A batch of images, or of their regions. Raises InputError if one cannot be read."""
        return self.reader.read(paths)


def padded_text(ids: Sequence[Sequence[int]], pad_id: int, *, length: int | None = None) -> Text:
    """Texts padded to the longest, or to `length`. The mask is None if no text is shorter than that."""
    lengths = torch.tensor([len(text) for text in ids])
    longest = length or int(lengths.max())
    ids_BL = torch.tensor([[*text, *[pad_id] * (longest - len(text))] for text in ids])
    real_BL = torch.arange(longest) < lengths[:, None]
    return Text(ids=ids_BL, mask=None if bool(real_BL.all()) else real_BL)


def batches(
    chunks: Sequence[Sequence[Item]], encoder: ItemEncoder, *, workers: int = 0, pinned: bool = False
) -> Iterator[Batch]:
    """One batch for each chunk of items, in order, in pinned memory if a GPU will copy it from there.

    `workers` processes decode the images; with 0, this process does.

    Raises InputError if items have different numbers of images, or, after the batches before it, if an image cannot be
    read; WorkerError if a process died.
    """
    paths = [_paths(chunk) for chunk in chunks]
    dataset = _ImageBatches(encoder.reader, paths)
    images_of = iterate(dataset, task="reads images", workers=workers, pin_memory=pinned)
    for chunk, images in zip(chunks, images_of, strict=True):
        text = encoder.text([item.text for item in chunk]) if encoder.reads_text else None
        yield Batch(items=tuple(chunk), text=text.pin_memory() if text and pinned else text, images=images)


def _paths(items: Sequence[Item]) -> list[Path]:
    """The images of all items. Raises InputError if items have different numbers of images."""
    first = items[0]
    for item in items:
        if len(item.images) != len(first.images) or not item.images:
            raise InputError(
                f"{item.identifier}: {len(item.images)} images, but {first.identifier} has {len(first.images)}"
            )
    return [path for item in items for path in item.images]


class _ImageBatches(Dataset):
    """The image inputs of each batch."""

    def __init__(self, reader: ImageReader, paths: Sequence[Sequence[Path]]) -> None:
        self.reader = reader
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ImageInputs | RefusedInput:
        try:
            return self.reader.read(self.paths[index])
        except InputError as error:
            return RefusedInput(message=str(error))
