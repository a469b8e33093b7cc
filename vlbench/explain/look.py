"""Runs a model once on a photo and a text, and records its attention, where its image tokens lie in the photo, and the
transport plan from words to image tokens (ViLT, section 4.7). Recording does not change the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlbench.architectures.checkpoints.loading import with_whatever_head
from vlbench.architectures.checkpoints.native import saved_spec
from vlbench.architectures.interfaces import Images, Joint, RegionFeatures, Tokens, VisualEmbedder, whole_mask
from vlbench.errors import InputError
from vlbench.evaluation.adapter import ModelUnderTest, load_model_under_test
from vlbench.evaluation.images import covering_size
from vlbench.evaluation.task_head import TaskHead, weights_of
from vlbench.evaluation.tokens import tokenizer_for
from vlbench.explain.attention import attention_maps, record_attention
from vlbench.explain.explanation import (
    IMAGE,
    TEXT,
    Alignment,
    AttentionMap,
    Explanation,
    ImageLayout,
    Span,
    Word,
    words_of,
)
from vlbench.files.images import open_image
from vlbench.inputs import Example
from vlbench.specs import RANDOM, CentreCrop, Input, ModelSpec
from vlbench.tasks.region_features import RegionSource
from vlbench.training.transport import cosine_distance, transport_plan

BETA = 0.5  # as in training (ViLT, section 3.2)
ITERATIONS = 1000  # 50 in training; more give a clearer figure (ViLT, section 4.7)


def align(joint: Joint, words: Sequence[Word], image_tokens: Tensor) -> Alignment:
    """The transport plan from words to image tokens after the last layer, for the first example of the batch.

    Special tokens are left out, as in ViLT's code. The tokens of one word are added up.

    Args:
        joint: text and image tokens of one width.
        words: of the text.
        image_tokens: positions of those that stand for a part of the image, (R,) int64.
    """
    assert joint.text is not None
    word_tokens = [token for word in words for token in word.tokens]
    costs_1LR = cosine_distance(joint.text.values[:1, word_tokens], joint.image.values[:1, image_tokens])
    plan_LR = transport_plan(costs_1LR, None, None, beta=BETA, iterations=ITERATIONS)[0]
    word_of_L = torch.tensor([index for index, word in enumerate(words) for _ in word.tokens], device=plan_LR.device)
    mass_WR = plan_LR.new_zeros(len(words), plan_LR.shape[1]).index_add_(0, word_of_L, plan_LR)
    shares_WR = (mass_WR / mass_WR.sum(dim=1, keepdim=True)).cpu().numpy()
    return Alignment(shares=shares_WR.astype(np.float32), beta=BETA, iterations=ITERATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainSettings:
    """How a model is run.

    Attributes:
        vocabulary: a `vocab.txt` or a tokenizer's folder; by default the one next to the weights.
        features: precomputed regions, for a model that reads regions.
    """

    vocabulary: Path | None = None
    features: RegionSource | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: int = 1


def look(spec: ModelSpec, example: Example, settings: ExplainSettings) -> Explanation:
    """Runs the model once and returns its attention and the alignment of its last tokens.

    Raises InputError where weights, vocabulary or regions do not fit the model, the text or the photo.
    """
    torch.set_num_threads(settings.threads)
    spec = with_whatever_head(spec)  # everything that is recorded comes before the head
    model = load_model_under_test(
        TaskHead(spec=spec, postprocess=None),
        vocabulary=settings.vocabulary,
        features=settings.features,
        device=torch.device(settings.device),
        precision=settings.precision,
    )
    words, unread, labels = _tokenised(model, spec, example.text, settings)
    joint, layout, maps = _recorded_pass(model, spec, example)
    no_alignment = _why_not_aligned(spec, joint, layout)
    alignment = None
    if not no_alignment:
        alignment = align(joint, words, whole_mask(joint.image)[0].nonzero()[layout.special :, 0])
    return Explanation(
        model=spec.name,
        weights=spec.weights_label,
        random_parts=_random_parts(spec, getattr(model.model, "missing_keys", ()), settings),
        image=example.image,
        text=example.text,
        photo=_visible_part(open_image(example.image), spec.input, settings.features),
        words=words,
        unread=unread,
        labels=labels,
        layout=layout,
        maps=maps,
        alignment=alignment,
        no_alignment=no_alignment,
    )


def _why_not_aligned(spec: ModelSpec, joint: Joint, layout: ImageLayout) -> str:
    """Why words have no transport plan; empty where they have one."""
    assert spec.text is not None
    assert joint.text is not None
    if spec.text.one_token:
        return f"one token is its whole text ({spec.text.kind}), so that no word can be told from another"
    if not len(layout.boxes):
        return f"no token of its image ({spec.visual.kind}) stands for a part of the photo"
    if joint.text.values.shape[2] != joint.image.values.shape[2]:
        return "its two streams have different widths, so that words and image tokens have no distance"
    return ""


def _tokenised(
    model: ModelUnderTest, spec: ModelSpec, text: str, settings: ExplainSettings
) -> tuple[tuple[Word, ...], tuple[str, ...], tuple[str, ...]]:
    """The words that the model reads, the words that do not fit, and the labels of its tokens."""
    tokenizer = tokenizer_for(spec, weights=weights_of(spec), vocabulary=settings.vocabulary)
    ids, all_spans = model.encoder.text([text]).ids[0].tolist(), tokenizer.spans(text)
    spans = _spans_of_read_tokens(ids, tokenizer.ids(text), all_spans)
    words = words_of(text, spans)
    if not words:
        raise InputError(f"--text: {spec.name} reads {len(ids)} tokens, which leaves no room for a word")
    unread = tuple(word.text for word in words_of(text, all_spans)[len(words) :])
    assert spec.text is not None
    if spec.text.one_token:
        return tuple(replace(word, tokens=()) for word in words), unread, ("[TEXT]",)
    return words, unread, _token_labels(text, spans)


def _recorded_pass(
    model: ModelUnderTest, spec: ModelSpec, example: Example
) -> tuple[Joint, ImageLayout, tuple[AttentionMap, ...]]:
    """The tokens after the last layer, where those of the image lie, and the attention, from one pass without the head.

    A model whose head reads two images gets the photo as both; the first of the two is explained.
    """
    network: Any = model.model
    text = model.text([example.text] * spec.images)
    images = model.images([example.image] * spec.images)
    with torch.inference_mode():
        image_tokens, layout = _embedded(network.visual, images)
        with record_attention(network.interaction) as records:
            joint = network.interaction(network.text(text), image_tokens)
    if not all(bool(torch.isfinite(tokens.values).all()) for tokens in (joint.text, joint.image)):
        raise InputError(
            f"{spec.name}: its last tokens are not finite; its weights are damaged, or too large for this precision"
        )
    masks = {TEXT: whole_mask(joint.text)[0], IMAGE: whole_mask(joint.image)[0]}
    return joint, layout, attention_maps(records, masks)


def _embedded(visual: VisualEmbedder, images: Images | RegionFeatures) -> tuple[Tokens, ImageLayout]:
    """The image tokens, and where they lie: all are special where the embedder says that they lie nowhere."""
    if visual.box_source is None:
        tokens: Tokens = visual(images)
        return tokens, ImageLayout(boxes=np.zeros((0, 4), np.float32), special=tokens.values.shape[1], grid=None)
    with visual.record_boxes() as recorded:
        tokens = visual(images)
    (boxes,) = recorded
    return tokens, ImageLayout(boxes=boxes.boxes.cpu().numpy(), special=visual.special_tokens, grid=boxes.grid)


def _spans_of_read_tokens(
    read_ids: Sequence[int], ids: Sequence[int], spans: Sequence[Span | None]
) -> list[Span | None]:
    """The span of each token that the model reads, which can be fewer than the text has.

    Args:
        read_ids: what the model reads: the first ids of the text, then special tokens.
        ids, spans: of the whole text.
    """
    same = 0
    while same < min(len(read_ids), len(ids)) - 1 and read_ids[same] == ids[same]:
        same += 1
    return [*spans[:same], *[None] * (len(read_ids) - same)]


def _token_labels(text: str, spans: Sequence[Span | None]) -> tuple[str, ...]:
    """One per token: its word, dots for the further tokens of a word, the name of a special token."""
    labels = []
    for token, span in enumerate(spans):
        if span is None:
            labels.append("[CLS]" if token == 0 else "[SEP]" if token == len(spans) - 1 else "[MASK]")
        else:
            labels.append("..." if token and spans[token - 1] == span else text[slice(*span)])
    return tuple(labels)


def _visible_part(photo: Image.Image, model_input: Input, features: RegionSource | None) -> Image.Image:
    """What cropping leaves of the photo; all of it where its regions are precomputed."""
    if features is not None or not isinstance(model_input.evaluation, CentreCrop):
        return photo
    height, width = covering_size(photo.height, photo.width, model_input.image_size, model_input.evaluation.shorter)
    visible_width = model_input.image_size[1] / width * photo.width
    visible_height = model_input.image_size[0] / height * photo.height
    left, top = (photo.width - visible_width) / 2, (photo.height - visible_height) / 2
    return photo.crop((round(left), round(top), round(left + visible_width), round(top + visible_height)))


def _random_parts(spec: ModelSpec, missing_keys: Sequence[str], settings: ExplainSettings) -> tuple[str, ...]:
    """Parts before the head that stay random although the model has weights.

    Args:
        missing_keys: names of the tensors that the weights leave out.
    """
    if spec.weights == RANDOM:
        return ()
    parts = dict.fromkeys(".".join(name.split(".")[:2]) for name in missing_keys if not name.startswith("head."))
    detects = spec.has_detector and settings.features is None
    if detects and spec.visual.weights == RANDOM and saved_spec(spec.weights) is None:
        parts["the detector"] = None
    return tuple(parts)
