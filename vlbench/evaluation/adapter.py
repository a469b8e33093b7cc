"""The model under test: built, on its device, with the encoder of its texts and images.

A CNN embeds images of different sizes one by one, because the padding of a batch would change their features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.build import TaskModel, build
from vlbench.architectures.interfaces import (
    Images,
    RegionFeatures,
    Text,
    TokenBoxes,
    Tokens,
    VisualEmbedder,
    select_rows,
    whole_mask,
)
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.evaluation.inputs import Batch, ImageInputs, ItemEncoder, images_to, select_images, text_to
from vlbench.evaluation.task_head import TaskHead, weights_of
from vlbench.evaluation.tokens import Tokenizer, tokenizer_for
from vlbench.runner.workload import DTYPES
from vlbench.specs import AnySpec, HuggingFaceSpec, ModuleSpec
from vlbench.tasks.region_features import RegionSource


class UnbatchedVisual(VisualEmbedder):
    """Embeds each image of a padded batch alone, so that its tokens do not depend on the other images.

    After a CNN's first layer the padding is no longer zero and leaks into the image; it also moves a detector's boxes.

    Args:
        embedder: the model's visual embedder.
    """

    untimed = ("embedder",)
    ignores_padding = True

    def __init__(self, embedder: VisualEmbedder) -> None:
        super().__init__()
        self.embedder = embedder
        self.special_tokens = embedder.special_tokens
        self.box_source = embedder.box_source

    @property
    def detector(self) -> Literal["random", "trained"] | None:
        return self.embedder.detector

    @contextmanager
    def record_boxes(self) -> Iterator[list[TokenBoxes]]:
        with self.embedder.record_boxes() as recorded:
            yield recorded

    def forward(self, images: Images | RegionFeatures) -> Tokens:
        if isinstance(images, RegionFeatures) or not images.padded:
            return self.embedder(images)
        return concatenate_tokens([self.embed_one(images, row) for row in range(len(images.sizes))])

    def embed_one(self, images: Images, row: int) -> Tokens:
        """The tokens of one image of a batch, without the batch's padding."""
        height, width = images.sizes[row]
        tokens: Tokens = self.embedder(
            Images(pixels=images.pixels[row : row + 1, :, :height, :width], sizes=((height, width),))
        )
        return tokens


def concatenate_tokens(parts: Sequence[Tokens]) -> Tokens:
    """The tokens of several batches as one batch, padded to the longest."""
    if len(parts) == 1:
        return parts[0]
    longest = max(part.values.shape[1] for part in parts)
    values = [F.pad(part.values, (0, 0, 0, longest - part.values.shape[1])) for part in parts]
    if all(part.mask is None and part.values.shape[1] == longest for part in parts):
        return Tokens(values=torch.cat(values), mask=None)
    masks = [F.pad(whole_mask(part), (0, longest - part.values.shape[1])) for part in parts]
    return Tokens(values=torch.cat(values), mask=torch.cat(masks))


LONGEST_ANSWER = 10  # tokens of a generated answer


class ModelUnderTest:
    """A model with the encoder of its inputs.

    Args:
        model: in evaluation mode, on the device, with the dtype.
        encoder: turns texts and images into the model's inputs.
        device, dtype: of the inputs.
        decode: turns generated ids into text; None if the model generates none.
        ranks_by_logit: of two matching logits; see `matching_score`.
    """

    def __init__(
        self,
        model: TaskModel,
        encoder: ItemEncoder,
        device: torch.device,
        dtype: torch.dtype,
        decode: Callable[[list[int]], str] | None = None,
        *,
        ranks_by_logit: bool = False,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.device = device
        self.dtype = dtype
        self.decode = decode
        self.ranks_by_logit = ranks_by_logit
        self.cached_tokens: dict[Path, Tokens] = {}  # of the last batch, if its images were embedded one by one

    def text(self, texts: Sequence[str]) -> Text:
        return text_to(self.encoder.text(texts), self.device)

    def images(self, paths: Sequence[Path]) -> ImageInputs:
        return images_to(self.encoder.images(paths), self.device, self.dtype)

    def scores(self, batch: Batch) -> Tensor:
        """The output of `forward`, on the CPU in float32.

        Raises InputError if a score is not finite.
        """
        with torch.inference_mode():
            scores = self.forward(batch).float().cpu()
        check_finite(scores, [item.identifier for item in batch.items])
        return scores

    def forward(self, batch: Batch) -> Tensor:
        """The model's output, one row per item, on its device. Each image of the batch is embedded once."""
        if not isinstance(self.model, VLModel) or any(len(item.images) > 1 for item in batch.items):
            batch = batch.to(self.device, self.dtype)
            return self.model(batch.text, batch.images)
        paths = [item.images[0] for item in batch.items]
        unique = list(dict.fromkeys(paths))
        images = select_images(batch.images, [paths.index(path) for path in unique])
        tokens = self._embed_images(self.model.visual, unique, images_to(images, self.device, self.dtype))
        text = batch.text and text_to(batch.text, self.device)
        return self.model.fuse(self.model.embed_text(text), select_rows(tokens, [unique.index(path) for path in paths]))

    def _embed_images(self, visual: VisualEmbedder, paths: Sequence[Path], images: ImageInputs) -> Tokens:
        """The tokens of these images. Those that are embedded one by one may come from the previous batch.

        Tokens that are embedded together are not cached: their last digits may depend on the batch, so that answers
        would depend on where an earlier attempt was killed.
        """
        if not isinstance(visual, UnbatchedVisual) or not isinstance(images, Images) or not images.padded:
            tokens: Tokens = visual(images)
            return tokens
        cached = self.cached_tokens
        self.cached_tokens = {
            path: cached[path] if path in cached else visual.embed_one(images, row) for row, path in enumerate(paths)
        }
        return concatenate_tokens(list(self.cached_tokens.values()))

    def generated_text(self, ids_BL: Tensor) -> list[str]:
        """The text of each row of generated ids."""
        assert self.decode
        return [self.decode(row) for row in ids_BL.long().tolist()]


def check_finite(scores: Tensor, names: Sequence[str]) -> None:
    """Raises InputError with the name of the first row that has a score which is not finite."""
    broken = (~torch.isfinite(scores)).flatten(1).any(1).nonzero()
    if len(broken):
        raise InputError(
            f"{names[int(broken[0])]}: the model's score is not a finite number; its weights are broken, or too large "
            "for the precision"
        )


def load_model_under_test(
    head: TaskHead,
    *,
    vocabulary: Path | None = None,
    fallback: Path | None = None,
    features: RegionSource | None = None,
    device: torch.device,
    precision: str,
) -> ModelUnderTest:
    """Builds the model and loads its weights. Raises InputError if they do not fit the model or lack a vocabulary.

    Args:
        vocabulary, fallback: as for `tokenizer_for`.
        features: precomputed regions, read instead of pixels.
    """
    spec = head.spec
    tokenizer = tokenizer_for(spec, weights=weights_of(spec), vocabulary=vocabulary, fallback=fallback)
    if spec.generates_text and tokenizer.decode is None:
        raise InputError(
            f"{spec.name}: generates words, but random weights have no vocabulary; "
            f"--weights {spec.name}=FOLDER brings one"
        )
    encoder = ItemEncoder(spec, _ids_for(spec, tokenizer), pad_id=tokenizer.pad, features=features)
    dtype = DTYPES[precision]
    model = build_for_evaluation(spec).to(device=device, dtype=dtype)
    return ModelUnderTest(model, encoder, device, dtype, tokenizer.decode, ranks_by_logit=spec.ranks_by_logit)


def build_for_evaluation(spec: AnySpec) -> TaskModel:
    """The model with its weights, in evaluation mode. A CNN embeds images of different sizes one by one."""
    assert not isinstance(spec, ModuleSpec)  # it has no head for any task
    if isinstance(spec, HuggingFaceSpec):
        return build(_with_any_answer_length(spec)).eval()
    model = build(spec).eval()
    if not model.visual.ignores_padding:
        model.visual = UnbatchedVisual(model.visual)
    return model


def _with_any_answer_length(spec: HuggingFaceSpec) -> HuggingFaceSpec:
    """A copy that generates answers of any length; latency is measured with answers of a fixed length."""
    if not spec.generates_text:
        return spec
    options = {name: value for name, value in spec.options.items() if name != "min_new_tokens"}
    return spec.model_copy(update={"options": options | {"max_new_tokens": LONGEST_ANSWER}})


def _ids_for(spec: AnySpec, tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    if getattr(spec.head, "reads", None) != "last_word" or tokenizer.mask is None:
        return tokenizer.ids
    return partial(with_mask, tokenizer.ids, tokenizer.mask, spec.input.text_tokens)


def with_mask(ids: Callable[[str], list[int]], mask: int, most: int, text: str) -> list[int]:
    """The ids of a text with [MASK] before the end token, where the released VisualBERT reads the answer.

    The text is cut so that there are no more than `most` ids.
    """
    *words, end = ids(text)
    return [*words[: most - 2], mask, end]
