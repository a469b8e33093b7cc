"""The model under evaluation: built, on its device, with its tokens and images.

Images of several sizes go through a CNN one by one, because the padding of a batch would change its features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.build import AnyModel, build
from vlbench.architectures.interfaces import Images, RegionFeatures, Text, Tokens, VisualEmbedder, picked, whole_mask
from vlbench.architectures.region import TRAINED, RegionEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.evaluation.inputs import Batch, ItemEncoder, Pictures, images_to, picked_images, text_to
from vlbench.evaluation.task_head import TaskHead, weights_of
from vlbench.evaluation.tokens import Tokenizer, tokenizer_for
from vlbench.runner.workload import DTYPES
from vlbench.specs import AnySpec, HuggingFaceSpec
from vlbench.tasks.region_features import RegionSource


class UnbatchedVisual(VisualEmbedder):
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


MASKED = ("patch", "vision_transformer")  # of padded images they see no more than is theirs
LONGEST_ANSWER = 10  # tokens, of a model that generates it


class ModelUnderTest:
    """A model, its inputs and its device.

    Args:
        model: in evaluation mode, on the device, in the precision.
        encoder: texts and images as this model reads them.
        device, dtype: of inputs.
        words: of the ids that a model generates, where it answers so.
    """

    def __init__(
        self,
        model: AnyModel,
        encoder: ItemEncoder,
        device: torch.device,
        dtype: torch.dtype,
        words: Callable[[list[int]], str] | None = None,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.device = device
        self.dtype = dtype
        self.words = words
        self.known: dict[Path, Tokens] = {}  # images of the last batch, where each was seen alone

    def text(self, texts: Sequence[str]) -> Text:
        return text_to(self.encoder.text(texts), self.device)

    def images(self, paths: Sequence[Path]) -> Pictures:
        return images_to(self.encoder.images(paths), self.device, self.dtype)

    def scores(self, prepared: Batch) -> Tensor:
        """A row an item, on the CPU in float32; an image that several items are about is looked at once.

        Raises InputError where one is no number.
        """
        with torch.inference_mode():
            found = self._answered(prepared).float().cpu()
        check_finite(found, [item.identifier for item in prepared.items])
        return found

    def _answered(self, prepared: Batch) -> Tensor:
        if not isinstance(self.model, VLModel) or any(len(item.images) > 1 for item in prepared.items):
            placed = prepared.to(self.device, self.dtype)  # a pair's images have places of their own
            return self.model(placed.text, placed.images)
        paths = [item.images[0] for item in prepared.items]
        once = list(dict.fromkeys(paths))
        images = picked_images(prepared.images, [paths.index(path) for path in once])
        seen = self._seen(self.model.visual, once, images_to(images, self.device, self.dtype))
        text = prepared.text and text_to(prepared.text, self.device)
        return self.model.fuse(self.model.embed_text(text), picked(seen, [once.index(path) for path in paths]))

    def _seen(self, visual: VisualEmbedder, paths: Sequence[Path], images: Pictures) -> Tokens:
        """Tokens of these images; of those that are seen one by one some may be known from the batch before.

        Others are not kept: their last digits could depend on their batch, and answers on where a kill interrupted it.
        """
        if not isinstance(visual, UnbatchedVisual) or not isinstance(images, Images) or not images.padded:
            tokens: Tokens = visual(images)
            return tokens
        known = self.known
        self.known = {
            path: known[path] if path in known else visual.alone(images, row) for row, path in enumerate(paths)
        }
        return concatenated(list(self.known.values()))

    def said(self, ids_BL: Tensor) -> list[str]:
        """The words of generated ids, a row each."""
        assert self.words
        return [self.words(row) for row in ids_BL.long().tolist()]


def check_finite(found: Tensor, names: Sequence[str]) -> None:
    """Raises InputError, with the first name whose row has a score that is no number."""
    broken = (~torch.isfinite(found)).flatten(1).any(1).nonzero()
    if len(broken):
        raise InputError(
            f"{names[int(broken[0])]}: the model's score is no finite number; its weights are broken, or too large for "
            "the precision"
        )


def candidate(
    asked: TaskHead,
    *,
    vocabulary: Path | None = None,
    otherwise: Path | None = None,
    features: RegionSource | None = None,
    device: torch.device,
    precision: str,
) -> ModelUnderTest:
    """Builds the model and loads its weights. Raises InputError where these are another model's or miss their words.

    Args:
        vocabulary, otherwise: as for `tokenizer_for`.
        features: regions of the images, in place of their pixels.
    """
    spec = asked.spec
    tokenizer = tokenizer_for(spec, weights=weights_of(spec), vocabulary=vocabulary, otherwise=otherwise)
    if generates(spec) and tokenizer.words is None:
        raise InputError(
            f"{spec.name}: answers in words, and random weights have none; --weights {spec.name}=FOLDER brings its own"
        )
    encoder = ItemEncoder(spec, _ids_for(spec, tokenizer), pad_id=tokenizer.pad, features=features)
    dtype = DTYPES[precision]
    return ModelUnderTest(ready(spec).to(device=device, dtype=dtype), encoder, device, dtype, tokenizer.words)


def generates(spec: AnySpec) -> bool:
    """Whether a model answers in words of its own."""
    return isinstance(spec, HuggingFaceSpec) and spec.gives == "words"


def ready(spec: AnySpec) -> AnyModel:
    """The model in evaluation mode, with its weights."""
    if isinstance(spec, HuggingFaceSpec):
        return build(_unhurried(spec)).eval()
    model = build(spec).eval()
    if spec.visual.kind not in MASKED:
        model.visual = UnbatchedVisual(model.visual)
    return model


def detector_of(model: AnyModel) -> Literal["random", "trained"] | None:
    """Whether a model's own detector has learnt to find anything; None where it has none."""
    visual = getattr(model, "visual", None)
    visual = visual.embedder if isinstance(visual, UnbatchedVisual) else visual
    if not isinstance(visual, RegionEmbedder):
        return None
    return "trained" if TRAINED in visual.extra_state() else "random"


def _unhurried(spec: HuggingFaceSpec) -> HuggingFaceSpec:
    """A copy that generates answers of any length, where it is timed on answers of one."""
    if not generates(spec):
        return spec
    options = {name: value for name, value in spec.options.items() if name != "min_new_tokens"}
    return spec.model_copy(update={"options": options | {"max_new_tokens": LONGEST_ANSWER}})


def _ids_for(spec: AnySpec, tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    if getattr(spec.head, "reads", None) != "last_word" or tokenizer.mask is None:
        return tokenizer.ids
    return partial(with_mask, tokenizer.ids, tokenizer.mask, spec.input.text_tokens)


def with_mask(ids: Callable[[str], list[int]], mask: int, most: int, text: str) -> list[int]:
    """[MASK] before the end token, where the released VisualBERT reads the answer; in all, no more than `most`."""
    *words, end = ids(text)
    return [*words[: most - 2], mask, end]
