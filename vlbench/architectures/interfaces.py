"""What crosses between the parts of a model: inputs, tokens and the functions that join and pick them; and the base
classes of visual embedders and heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vlbench.architectures.pinning import Pinnable
from vlbench.errors import InputError
from vlbench.specs.heads import HeadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Pinnable):
    """WordPiece ids of a padded batch. `mask` is None if no text is padded."""

    ids: Tensor  # (B, L) int64
    mask: Tensor | None  # (B, L) bool, True = real


@dataclass(frozen=True, slots=True, kw_only=True)
class Images(Pinnable):
    """Normalised pixels of a batch, padded at the right and the bottom to the largest image.

    `sizes` is on the host, so that no step of a forward pass waits for the device to learn a shape.
    """

    pixels: Tensor  # (B, 3, H, W) float
    sizes: tuple[tuple[int, int], ...]  # height, width of each image before padding, in pixels

    @property
    def padded(self) -> bool:
        """Whether some image is smaller than the batch."""
        extent = tuple(self.pixels.shape[-2:])
        return any(size != extent for size in self.sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFeatures(Pinnable):
    """Regions that a detector found earlier, in place of pixels; zeros follow an image's last region.

    Only boxes as shares of `sizes` are ever used, so both can be in any common unit.
    """

    features: Tensor  # (B, R, C) float
    boxes: Tensor  # (B, R, 4) float32: x1, y1, x2, y2, in pixels
    sizes: tuple[tuple[int, int], ...]  # height, width of each image, in pixels
    mask: Tensor | None  # (B, R) bool, True = real; None where every image has all R

    @property
    def pixels(self) -> Tensor:
        """Raises ValueError: an embedder that reads pixels cannot read regions."""
        raise ValueError("this model sees pixels and cannot read precomputed regions; only region models can")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Embedded tokens. `mask` is None if all are real."""

    values: Tensor  # (B, L, D) float
    mask: Tensor | None  # (B, L) bool, True = real


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """The tokens of each modality after the interaction; their widths can differ. `text` is None without text."""

    text: Tokens | None
    image: Tokens


def join(text: Tokens | None, image: Tokens) -> Tokens:
    """Text tokens before image tokens, (B, Lt + Li, D)."""
    if text is None:
        return image
    values = torch.cat((text.values, image.values), dim=1)
    if text.mask is None and image.mask is None:
        return Tokens(values=values, mask=None)
    return Tokens(values=values, mask=torch.cat([whole_mask(part) for part in (text, image)], dim=1))


def split(tokens: Tokens, text_length: int) -> Joint:
    """The text and image tokens that `join` put together."""

    def part(start: int, end: int | None) -> Tokens:
        mask = None if tokens.mask is None else tokens.mask[:, start:end]
        return Tokens(values=tokens.values[:, start:end], mask=mask)

    return Joint(text=part(0, text_length) if text_length else None, image=part(text_length, None))


def whole_mask(tokens: Tokens) -> Tensor:
    """(B, L) bool, True = real, also where no token is padded."""
    if tokens.mask is not None:
        return tokens.mask
    return tokens.values.new_ones(tokens.values.shape[:2], dtype=torch.bool)


def grid_mask(images: Images, height: int, width: int) -> Tensor | None:
    """Which cells of an H x W grid over the batch hold a part of each image, (B, H*W) bool; None if all cells do."""
    if not images.padded:
        return None
    mask = torch.zeros(len(images.sizes), height, width, dtype=torch.bool)
    for index, (rows, columns) in enumerate(grid_sizes(images, height, width)):
        mask[index, :rows, :columns] = True
    return mask.flatten(1).to(images.pixels.device)


def grid_sizes(images: Images, height: int, width: int) -> list[tuple[int, int]]:
    """How many rows and columns of an H x W grid over the batch each image covers, at least in part."""
    full_height, full_width = images.pixels.shape[-2:]
    return [(-(-h * height // full_height), -(-w * width // full_width)) for h, w in images.sizes]


def mean_of_real(tokens: Tokens) -> Tensor:
    """Mean over the real tokens, (B, D)."""
    if tokens.mask is None:
        return tokens.values.mean(dim=1)
    weight = tokens.mask.to(tokens.values.dtype)[:, :, None]
    return (tokens.values * weight).sum(dim=1) / weight.sum(dim=1)


def last_word(tokens: Tokens) -> Tensor:
    """The last real token but one, (B, D); padding comes after it."""
    if tokens.mask is None:
        return tokens.values[:, -2]
    index_B11 = (tokens.mask.sum(dim=1) - 2).clamp(min=0)[:, None, None]
    return tokens.values.gather(1, index_B11.expand(-1, -1, tokens.values.shape[2]))[:, 0]


def repeat_rows(tokens: Tokens, times: int) -> Tokens:
    """Each example repeated, one copy after the other, (B * times, L, D)."""
    mask = None if tokens.mask is None else tokens.mask.repeat_interleave(times, dim=0)
    return Tokens(values=tokens.values.repeat_interleave(times, dim=0), mask=mask)


def select_rows(tokens: Tokens, rows: Sequence[int]) -> Tokens:
    """These examples in this order; one can be selected several times."""
    index = torch.tensor(rows, device=tokens.values.device)
    mask = None if tokens.mask is None else tokens.mask.index_select(0, index)
    return Tokens(values=tokens.values.index_select(0, index), mask=mask)


def alternating(types: Tensor, rows: int) -> Tensor:
    """The type embedding of each of `rows` examples: the same for all, (D,); or of T types in turn, (rows, 1, D)."""
    return types if types.dim() == 1 else types.repeat(rows // len(types), 1)[:, None]


def merge_rows(tokens: Tokens, rows: int) -> Tokens:
    """The tokens of every `rows` successive examples as one example, (B / rows, L * rows, D)."""
    mask = None if tokens.mask is None else tokens.mask.unflatten(0, (-1, rows)).flatten(1)
    return Tokens(values=tokens.values.unflatten(0, (-1, rows)).flatten(1, 2), mask=mask)


def last_real(tokens: Tokens) -> Tokens:
    """The last real token of each example, (B, 1, D); padding comes after it."""
    if tokens.mask is None:
        return Tokens(values=tokens.values[:, -1:], mask=None)
    last_B11 = (tokens.mask.sum(dim=1) - 1)[:, None, None]
    return Tokens(values=tokens.values.gather(1, last_B11.expand(-1, -1, tokens.values.shape[2])), mask=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBoxes:
    """Where the image tokens of one example lie, without padding.

    `grid` is the rows and columns of boxes that are the cells of a grid, row by row; else None.
    """

    boxes: Tensor  # (R, 4) float32: left, top, right, bottom, as shares of the image
    grid: tuple[int, int] | None


def cell_boxes(grid: tuple[int, int], step: int, size: tuple[int, int]) -> TokenBoxes:
    """The cells of a grid over an image, `step` pixels apart, cut off at its border; `size` is its height and width."""
    rows, columns = grid
    height, width = size
    corners = [
        (left / width, top / height, (left + step) / width, (top + step) / height)
        for top in range(0, rows * step, step)
        for left in range(0, columns * step, step)
    ]
    return TokenBoxes(boxes=torch.tensor(corners, device="cpu").clamp(0, 1), grid=grid)


class VisualEmbedder(nn.Module):
    """Images to tokens.

    Class attributes:
        steps: child modules that are timed on their own, as `visual.NAME`, in the order of the forward pass.
        untimed: all other child modules, whose time is part of `visual` alone.
        ignores_padding: whether an image's tokens are the same however its batch is padded.
        maskable: the parts of an image that objectives of masked images can hide from it.

    Attributes:
        box_source: the child whose inputs say where the tokens lie on the image; "" for the embedder itself, None where
            they lie nowhere.
        special_tokens: how many tokens at the start stand for the whole image, such as [CLS].
        patch_size: side of a patch, in pixels; 0 without patches.
        load: what the last forward pass carried through a detector, for the least loaded image of the batch; empty
            without a detector.
    """

    steps: ClassVar[tuple[str, ...]] = ()
    untimed: ClassVar[tuple[str, ...]] = ()
    ignores_padding: ClassVar[bool] = False
    maskable: ClassVar[Literal["patches", "regions"] | None] = None
    box_source: str | None = None
    special_tokens: int = 0
    patch_size: int = 0
    load: Mapping[str, int] = {}

    @property
    def detector(self) -> Literal["random", "trained"] | None:
        """Whether the weights of its detector are random or trained; None without a detector."""
        return None

    def training_input(self, images: Images, *, boxes: list[Tensor] | None = None) -> Images | RegionFeatures:
        """What it reads while the model is trained: the images, or the regions of a detector that is trained already.

        Args:
            boxes: of each image, (N, 4) in pixels, in place of those that a detector would find.
        """
        return images

    def learned_positions(self) -> nn.Parameter | None:
        """The table that is added to the tokens by their positions."""
        return None

    def token_boxes(self, *inputs: Any) -> TokenBoxes:
        """Where the tokens of the first image lie, from the inputs of the child `box_source`."""
        raise NotImplementedError

    @contextmanager
    def record_boxes(self) -> Iterator[list[TokenBoxes]]:
        """Appends `token_boxes` to its list at each forward pass, which it does not change.

        Raises InputError for an embedder whose tokens do not lie anywhere on the image.
        """
        if self.box_source is None:
            raise InputError(f"{type(self).__name__}: its tokens stand for no part of the image that could be shown")
        recorded: list[TokenBoxes] = []
        step = self.get_submodule(self.box_source)
        hook = step.register_forward_pre_hook(lambda _, inputs: recorded.append(self.token_boxes(*inputs)))
        try:
            yield recorded
        finally:
            hook.remove()

    def timed_steps(self) -> dict[str, nn.Module]:
        """The steps that this embedder has, by name. Raises TypeError for a child that the class does not declare."""
        children = dict(self.named_children())
        undeclared = [name for name in children if name not in self.steps and name not in self.untimed]
        if undeclared:
            raise TypeError(
                f"{type(self).__name__}: the child module {undeclared[0]!r} would not be timed on its own; name it in "
                "`steps`, or in `untimed` if its time shall be part of `visual` alone"
            )
        return {name: children[name] for name in self.steps if name in children}

    def declared_load(self, images: Images | RegionFeatures) -> dict[str, int]:
        """The least load of a forward pass; with less its latency would mean nothing."""
        return {}

    def extra_state(self) -> tuple[str, ...]:
        """Flags saved with the weights that change the forward pass, such as `trained` for a detector."""
        return ()

    def load_extra_state(self, flags: tuple[str, ...]) -> None:
        """Applies the flags that `extra_state` gave for the embedder whose weights this one has."""

    def charged_by_table6(self) -> tuple[Sequence[nn.Module], nn.Conv2d | nn.Linear] | None:
        """The modules that ViLT's Table 6 charges as vision, and the projection; None if it has no such embedder."""
        return None


class Head(nn.Module):
    """Joint tokens to logits or features; `pairs` is as in its spec.

    Class attributes:
        gives: what its output is, for whoever reads it elsewhere.
    """

    gives: ClassVar[Literal["logits", "features"]] = "logits"

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.pairs = spec.pairs
