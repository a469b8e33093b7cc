"""One model, one photo, one text: what goes on inside, recorded without changing it.

Also where the image tokens lie in the photo, and which of them each word is carried to by the cheapest transport
plan (ViLT, section 4.7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vlbench.architectures.checkpoints.loading import with_whatever_head
from vlbench.architectures.checkpoints.native import saved_spec
from vlbench.architectures.interfaces import Images, Joint, RegionFeatures, Tokens, whole_mask
from vlbench.errors import InputError
from vlbench.evaluation.adapter import ModelUnderTest, UnbatchedVisual, candidate
from vlbench.evaluation.images import covering_size
from vlbench.evaluation.task_head import TaskHead, weights_of
from vlbench.evaluation.tokens import tokenizer_for
from vlbench.explain.attention import maps_of, watched
from vlbench.explain.explanation import IMAGE, TEXT, Alignment, AttentionMap, Explanation, Places, Span, Word, words_of
from vlbench.inputs import Example, open_image
from vlbench.specs import RANDOM, CentreCrop, Grid, Input, ModelSpec, Patch, Region
from vlbench.tasks.region_features import RegionSource
from vlbench.training.transport import cost, transport_plan

if TYPE_CHECKING:
    from vlbench.architectures.region import Regions  # it imports torchvision, which few models need


class Seen:
    """What the visual embedder of a model saw while it was watched.

    Attributes:
        grid: rows and columns of the feature map that became tokens.
        regions: as they went into the projection.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.visual = spec.visual
        self.grid: tuple[int, int] | None = None
        self.regions: Regions | None = None

    def places(self, images: Images | RegionFeatures) -> Places:
        """Of the first image's tokens, padding left out."""
        height, width = images.sizes[0]
        if isinstance(self.visual, Region):
            assert self.regions is not None
            shares_R4 = self.regions.boxes[0].float().cpu().numpy() / np.array([width, height, width, height])
            if self.regions.mask is not None:
                shares_R4 = shares_R4[self.regions.mask[0].cpu().numpy()]
            special = int(self.visual.projection.whole_image)
            return Places(boxes=shares_R4.clip(0, 1).astype(np.float32), special=special, grid=None)
        assert self.grid is not None
        rows, columns = self.grid
        step = self._step()
        boxes = [
            (left * step / width, top * step / height, (left + 1) * step / width, (top + 1) * step / height)
            for top in range(rows)
            for left in range(columns)
        ]
        special = 1 if isinstance(self.visual, Patch) else 0
        return Places(boxes=np.array(boxes, np.float32).clip(0, 1), special=special, grid=self.grid)

    def _step(self) -> int:
        """Pixels between a cell and the next."""
        if isinstance(self.visual, Patch):
            return self.visual.patch_size
        assert isinstance(self.visual, Grid)
        return self.visual.backbone.stride * self.visual.pool_size


@contextmanager
def watched_places(visual: nn.Module, spec: ModelSpec) -> Iterator[Seen]:
    """Sees how a visual embedder cuts images into tokens while the context lasts; changes nothing."""
    seen = Seen(spec)
    embedder: Any = visual.embedder if isinstance(visual, UnbatchedVisual) else visual

    def take_grid(_module: nn.Module, _arguments: Any, map_BCHW: Any) -> None:
        seen.grid = map_BCHW.shape[2], map_BCHW.shape[3]

    def take_regions(_module: nn.Module, arguments: Any) -> None:
        seen.regions = arguments[0]

    if isinstance(spec.visual, Region):
        hook = embedder.projection.register_forward_pre_hook(take_regions)
    elif isinstance(spec.visual, Grid):
        hook = embedder.projection.pool.register_forward_hook(take_grid)
    else:
        hook = embedder.patch.register_forward_hook(take_grid)
    try:
        yield seen
    finally:
        hook.remove()


BETA = 0.5  # as in training (ViLT, section 3.2)
ITERATIONS = 1000  # 50 in training; so many make a clear picture (ViLT, section 4.7)


def align(joint: Joint, words: Sequence[Word], places: Tensor) -> Alignment:
    """The plan between the tokens of words and those of places, after the last layer, of the first example.

    Special tokens take no part, as in ViLT's code. The pieces of a word are taken together.

    Args:
        joint: text and image of one width.
        words: of the text.
        places: which image tokens lie somewhere, (R,) int64.
    """
    assert joint.text is not None
    pieces = [token for word in words for token in word.tokens]
    costs_1LR = cost(joint.text.values[:1, pieces], joint.image.values[:1, places])
    plan_LR = transport_plan(costs_1LR, None, None, beta=BETA, iterations=ITERATIONS)[0]
    owners = torch.tensor([place for place, word in enumerate(words) for _ in word.tokens], device=plan_LR.device)
    mass_WR = plan_LR.new_zeros(len(words), plan_LR.shape[1]).index_add_(0, owners, plan_LR)
    shares_WR = (mass_WR / mass_WR.sum(dim=1, keepdim=True)).cpu().numpy()
    return Alignment(shares=shares_WR.astype(np.float32), beta=BETA, iterations=ITERATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainSettings:
    """How a model is run.

    Attributes:
        vocabulary: a `vocab.txt` or a folder of a tokenizer; by default what lies beside the weights.
        features: regions found earlier, for a model that sees regions.
    """

    vocabulary: Path | None = None
    features: RegionSource | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: int = 1


def look(spec: ModelSpec, example: Example, settings: ExplainSettings) -> Explanation:
    """Runs the model once and tells what its attention and its last tokens say.

    Raises InputError where weights, vocabulary or regions do not fit the model, the text or the photo.
    """
    torch.set_num_threads(settings.threads)
    spec = with_whatever_head(spec)  # what is looked at lies before it
    ready = candidate(
        TaskHead(spec=spec, decide=None),
        vocabulary=settings.vocabulary,
        features=settings.features,
        device=torch.device(settings.device),
        precision=settings.precision,
    )
    words, unread, labels = _read(ready, spec, example.text, settings)
    joint, places, maps = _passed(ready, spec, example)
    unfilled: tuple[str, ...] = getattr(ready.model, "unfilled", ())
    alignment, why_not = None, ""
    if joint.text is not None and joint.text.values.shape[2] == joint.image.values.shape[2]:
        alignment = align(joint, words, _real(joint.image).nonzero()[places.special :, 0])
    else:
        why_not = "its two streams have different widths, so that words and image tokens have no distance"
    return Explanation(
        model=spec.name,
        weights=spec.weights_told,
        random_parts=_random_parts(spec, unfilled, settings),
        image=example.image,
        text=example.text,
        photo=_part_seen(open_image(example.image), spec.input, settings.features),
        words=words,
        unread=unread,
        labels=labels,
        places=places,
        maps=maps,
        alignment=alignment,
        no_alignment=why_not,
    )


def _read(
    ready: ModelUnderTest, spec: ModelSpec, text: str, settings: ExplainSettings
) -> tuple[tuple[Word, ...], tuple[str, ...], tuple[str, ...]]:
    """The words that the model reads, those that it does not, and what its tokens are called."""
    tokenizer = tokenizer_for(spec, weights=weights_of(spec), vocabulary=settings.vocabulary)
    ids, whole = ready.encoder.text([text]).ids[0].tolist(), tokenizer.spans(text)
    spans = _spans_read(ids, tokenizer.ids(text), whole)
    words = words_of(text, spans)
    if not words:
        raise InputError(f"--text: {spec.name} reads {len(ids)} tokens, which leaves no room for a word")
    unread = words_of(text, whole)[len(words) :]
    return words, tuple(word.text for word in unread), _labels(text, spans)


def _passed(ready: ModelUnderTest, spec: ModelSpec, example: Example) -> tuple[Joint, Places, tuple[AttentionMap, ...]]:
    """The tokens after the last layer, where those of the image lie, and the attention, from one pass before the head.

    A model whose head reads pairs gets the photo as both images; the first of the pair is looked at.
    """
    model: Any = ready.model
    text = ready.text([example.text] * spec.images)
    images = ready.images([example.image] * spec.images)
    with torch.inference_mode():
        with watched_places(model.visual, spec) as seen:
            image_tokens = model.visual(images)
        with watched(model.interaction) as attention:
            joint = model.interaction(model.text(text), image_tokens)
    if not all(bool(torch.isfinite(tokens.values).all()) for tokens in (joint.text, joint.image)):
        raise InputError(
            f"{spec.name}: its tokens are no finite numbers; its weights are broken, or too large for them"
        )
    maps = maps_of(attention, {TEXT: _real(joint.text), IMAGE: _real(joint.image)})
    return joint, seen.places(images), maps


def _real(tokens: Tokens) -> Tensor:
    return whole_mask(tokens)[0]


def _spans_read(read: Sequence[int], ids: Sequence[int], spans: Sequence[Span | None]) -> list[Span | None]:
    """Of each id that the model reads, which can end sooner than the text, and can have a mark before its end."""
    same = 0
    while same < min(len(read), len(ids)) - 1 and read[same] == ids[same]:
        same += 1
    return [*spans[:same], *[None] * (len(read) - same)]


def _labels(text: str, spans: Sequence[Span | None]) -> tuple[str, ...]:
    """Of tokens: the word, dots for its further pieces, the mark of a special one."""
    labels = []
    for place, span in enumerate(spans):
        if span is None:
            labels.append("[CLS]" if place == 0 else "[SEP]" if place == len(spans) - 1 else "[MASK]")
        else:
            labels.append("..." if place and spans[place - 1] == span else text[slice(*span)])
    return tuple(labels)


def _part_seen(photo: Image.Image, wanted: Input, features: RegionSource | None) -> Image.Image:
    """What of the photo is left after cropping; the whole of it where others found its regions."""
    if features is not None or not isinstance(wanted.evaluation, CentreCrop):
        return photo
    height, width = covering_size(photo.height, photo.width, wanted.image_size, wanted.evaluation.shorter)
    kept = wanted.image_size[1] / width * photo.width, wanted.image_size[0] / height * photo.height
    left, top = (photo.width - kept[0]) / 2, (photo.height - kept[1]) / 2
    return photo.crop((round(left), round(top), round(left + kept[0]), round(top + kept[1])))


def _random_parts(spec: ModelSpec, unfilled: Sequence[str], settings: ExplainSettings) -> tuple[str, ...]:
    """The parts before the head that stay random although the model has weights; `unfilled` are such tensors."""
    if spec.weights == RANDOM:
        return ()
    parts = dict.fromkeys(".".join(name.split(".")[:2]) for name in unfilled if not name.startswith("head."))
    sees = isinstance(spec.visual, Region) and settings.features is None
    if sees and spec.visual.weights == RANDOM and saved_spec(spec.weights) is None:
        parts["the detector"] = None
    return tuple(parts)
