"""VisualBERT from its regions' features on, against transformers, with copied weights."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from examples import PooledText, blank, mask_of, padded_text, region_projection, regions_of
from torch import Tensor, nn
from transformers import VisualBertConfig, VisualBertModel
from weights import (
    Weights,
    affine,
    bert_embeddings,
    bert_layer,
    randomise,
    stack,
    visual_bert_projection,
)

from vlbench.architectures import interaction, text
from vlbench.architectures.interfaces import Images, Joint, Text
from vlbench.architectures.region import RegionProjection
from vlbench.specs import BertEmbeddingsSpec, SingleStreamSpec

WIDTH, HEADS, MLP, VOCABULARY, CHANNELS, POSITIONS = 32, 4, 80, 60, 20, 12
SIZES = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": MLP, "vocab_size": VOCABULARY}
SIZES |= {"max_position_embeddings": POSITIONS, "attn_implementation": "eager"}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Text and regions of images, with or without padding in both."""

    words: Text
    images: Images
    features: Tensor
    boxes: Tensor  # as shares of each image
    mask: Tensor | None

    @classmethod
    def random(cls, *, padded: bool) -> Batch:
        words, images = padded_text(9, 4, 1, vocabulary=VOCABULARY), blank((60, 80), (90, 50), (64, 64))
        boxes = torch.rand(3, 6, 4)
        boxes[..., 2:] = boxes[..., :2] + boxes[..., 2:] * (1 - boxes[..., :2])
        return cls(
            words=words if padded else Text(ids=words.ids, mask=None),
            images=images,
            features=torch.randn(3, 6, CHANNELS),
            boxes=boxes,
            mask=mask_of(6, 2, 5) if padded else None,
        )

    @property
    def theirs(self) -> dict[str, Tensor | None]:
        masks = {"attention_mask": self.words.mask, "visual_attention_mask": self.mask}
        return {"input_ids": self.words.ids} | {
            name: None if mask is None else mask.long() for name, mask in masks.items()
        }

    def joint(self, embedder: nn.Module, projection: RegionProjection, interaction: nn.Module) -> Joint:
        sizes = torch.tensor([[width, height] * 2 for height, width in self.images.sizes])
        regions = regions_of(self.features, self.boxes * sizes[:, None], self.mask)
        return interaction(embedder(self.words), projection(regions, self.images))


def embeddings(state: Weights) -> text.BertEmbeddings:
    part = text.BertEmbeddings(
        BertEmbeddingsSpec(
            kind="bert_embeddings",
            vocabulary=VOCABULARY,
            positions=POSITIONS,
            segments=2,
            width=WIDTH,
            dropout=0.1,
            layer_norm_eps=1e-12,
        )
    ).eval()
    part.load_state_dict(bert_embeddings(state, "embeddings"))
    return part


def pooled(state: Weights, joint: Joint) -> Tensor:
    head = PooledText(width=WIDTH)
    head.load_state_dict(affine(state, "pooler.dense", "dense"))
    return head(joint)


def assert_close_where_real(ours: Tensor, theirs: Tensor, mask: Tensor | None) -> None:
    real = torch.ones(ours.shape[:2], dtype=torch.bool) if mask is None else mask
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_visual_bert_equals_transformers(padded: bool) -> None:
    layers = 3
    config = VisualBertConfig(**SIZES, num_hidden_layers=layers, visual_embedding_dim=CHANNELS)
    reference = randomise(VisualBertModel(config))
    state, batch = reference.state_dict(), Batch.random(padded=padded)
    ours = interaction.SingleStream(
        SingleStreamSpec(
            kind="single_stream",
            layers=layers,
            width=WIDTH,
            heads=HEADS,
            mlp_width=MLP,
            norm="post",
            modal_types=False,
            dropout=0.1,
            layer_norm_eps=1e-12,
        )
    ).eval()
    ours.load_state_dict(stack(state, "encoder.layer", layers, bert_layer))
    projection = region_projection(width=WIDTH, inputs=CHANNELS, geometry=0, combine="sum")
    projection.load_state_dict(visual_bert_projection(state, ""))
    joint = batch.joint(embeddings(state), projection, ours)
    given = batch.theirs
    if not padded:
        given["attention_mask"] = torch.ones_like(batch.words.ids)
    expected = reference(**given, visual_embeds=batch.features)
    length = batch.words.ids.shape[1]
    assert_close_where_real(joint.text.values, expected.last_hidden_state[:, :length], batch.words.mask)
    assert_close_where_real(joint.image.values, expected.last_hidden_state[:, length:], batch.mask)
    torch.testing.assert_close(pooled(state, joint), expected.pooler_output, atol=1e-5, rtol=0)
