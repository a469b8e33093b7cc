"""Images of several sizes seen one by one, where a batch's padding would change what a CNN makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from vlbench.architectures.tokens import Images, RegionFeatures, Tokens, whole_mask
from vlbench.architectures.visual import VisualEmbedder


class OneByOne(VisualEmbedder):
    """A visual embedder whose tokens of an image do not depend on the other images of its batch.

    After a CNN's first layer its padding is zero no longer and reaches into the image; a detector's boxes move with it.

    Args:
        embedder: what sees the images.
    """

    def __init__(self, embedder: VisualEmbedder) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, images: Images | RegionFeatures) -> Tokens:
        if isinstance(images, RegionFeatures) or not images.padded:
            return self.embedder(images)
        return concatenated([self.alone(images, row) for row in range(len(images.sizes))])

    def alone(self, images: Images, row: int) -> Tokens:
        """The tokens of one image of a batch, without the batch's padding."""
        height, width = images.sizes[row]
        tokens: Tokens = self.embedder(
            Images(pixels=images.pixels[row : row + 1, :, :height, :width], sizes=((height, width),))
        )
        return tokens


def concatenated(parts: Sequence[Tokens]) -> Tokens:
    """The tokens of several batches as one, padded to the longest."""
    if len(parts) == 1:
        return parts[0]
    longest = max(part.values.shape[1] for part in parts)
    values = [F.pad(part.values, (0, 0, 0, longest - part.values.shape[1])) for part in parts]
    if all(part.mask is None and part.values.shape[1] == longest for part in parts):
        return Tokens(values=torch.cat(values), mask=None)
    masks = [F.pad(whole_mask(part), (0, longest - part.values.shape[1])) for part in parts]
    return Tokens(values=torch.cat(values), mask=torch.cat(masks))
