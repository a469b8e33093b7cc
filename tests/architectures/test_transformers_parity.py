"""Transformer, BERT embeddings and the whole of ViLT against transformers, with copied weights."""

from __future__ import annotations

import pytest
import torch
from checkpoint_examples import loaded, pixel_mask, small
from examples import images_of, padded_text
from transformers import BertConfig, BertModel, ViltConfig, ViltModel
from weights import bert_embeddings, bert_layer, randomise, stack

from vlbench.architectures import interaction, text
from vlbench.architectures.interfaces import Images, Text, Tokens, join
from vlbench.architectures.vl_model import VLModel
from vlbench.specs import BertEmbeddingsSpec, SingleStreamSpec

WIDTH, HEADS, LAYERS, MLP, PATCH, VOCABULARY = 32, 4, 3, 80, 16, 60
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": MLP}


def single_stream(norm: str) -> interaction.SingleStream:
    return interaction.SingleStream(
        SingleStreamSpec(
            kind="single_stream",
            layers=LAYERS,
            width=WIDTH,
            heads=HEADS,
            mlp_width=MLP,
            norm=norm,
            modal_types=False,
            dropout=0.1,
            layer_norm_eps=1e-12,
        )
    ).eval()


def embeddings() -> text.BertEmbeddings:
    return text.BertEmbeddings(
        BertEmbeddingsSpec(
            kind="bert_embeddings",
            vocabulary=VOCABULARY,
            positions=12,
            segments=2,
            width=WIDTH,
            dropout=0.1,
            layer_norm_eps=1e-12,
        )
    ).eval()


@pytest.fixture(scope="module")
def reference_bert() -> BertModel:
    return randomise(BertModel(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=12, **SIZES), False))


@pytest.fixture(scope="module")
def reference_vilt() -> ViltModel:
    config = ViltConfig(vocab_size=VOCABULARY, max_position_embeddings=12, image_size=64, patch_size=PATCH, **SIZES)
    return randomise(ViltModel(config))


@pytest.fixture(scope="module")
def our_vilt(reference_vilt: ViltModel, tmp_path_factory: pytest.TempPathFactory) -> VLModel:
    """Through the mapping that loads published checkpoints."""
    folder = tmp_path_factory.mktemp("vilt")
    reference_vilt.save_pretrained(folder)
    return loaded(small("vilt-b32", text__positions=12), str(folder))


@torch.no_grad()
def test_bert_embeddings_equal_transformers(reference_bert: BertModel) -> None:
    ours, words = embeddings(), padded_text(9, 4, vocabulary=VOCABULARY)
    ours.load_state_dict(bert_embeddings(reference_bert.state_dict(), "embeddings"))
    expected = reference_bert.embeddings(input_ids=words.ids)
    torch.testing.assert_close(ours(words).values, expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_post_norm_encoder_equals_transformers_bert(reference_bert: BertModel, padded: bool) -> None:
    state, words = reference_bert.state_dict(), padded_text(9, 4, 1, vocabulary=VOCABULARY)
    mask = words.mask if padded else None
    embedder, encoder = embeddings(), single_stream("post")
    embedder.load_state_dict(bert_embeddings(state, "embeddings"))
    encoder.load_state_dict(stack(state, "encoder.layer", LAYERS, bert_layer))
    joint = encoder(None, embedder(Text(ids=words.ids, mask=mask)))
    expected = reference_bert(input_ids=words.ids, attention_mask=None if mask is None else mask.long())
    torch.testing.assert_close(joint.image.values, expected.last_hidden_state, atol=1e-5, rtol=0)


@torch.no_grad()
def test_pre_norm_encoder_equals_transformers_vilt(reference_vilt: ViltModel, our_vilt: VLModel) -> None:
    encoder = single_stream("pre")
    encoder.load_state_dict(
        {name: tensor for name, tensor in our_vilt.interaction.state_dict().items() if "modal_types" not in name}
    )
    values = torch.randn(2, 7, WIDTH)
    hidden = reference_vilt.encoder(values).last_hidden_state
    joint = encoder(None, Tokens(values=values, mask=None))
    torch.testing.assert_close(joint.image.values, reference_vilt.layernorm(hidden), atol=1e-5, rtol=0)


BATCHES = {
    "learned grid": [(64, 64), (64, 64)],
    "non-square grid, interpolated": [(48, 112), (48, 112)],
    "images of different sizes": [(64, 96), (32, 80), (48, 16)],
    "one image at the learned grid, one not": [(64, 64), (48, 32)],
    "sizes that are no multiple of the patch": [(64, 96), (40, 75), (64, 33)],
}


@torch.no_grad()
@pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES.keys())
def test_vilt_equals_transformers(reference_vilt: ViltModel, our_vilt: VLModel, sizes: list[tuple[int, int]]) -> None:
    """transformers takes the patches in random order, so text, [CLS] and pooled rows are what can be compared."""
    words, images = padded_text(*range(9, 9 - 3 * len(sizes), -3), vocabulary=VOCABULARY), images_of(*sizes)
    expected = reference_vilt(
        input_ids=words.ids,
        attention_mask=words.mask.long(),
        pixel_values=images.pixels,
        pixel_mask=pixel_mask(images),
    )
    joint = our_vilt.interaction(our_vilt.text(words), our_vilt.visual(images))
    through_class_token = words.ids.shape[1] + 1
    torch.testing.assert_close(
        join(joint.text, joint.image).values[:, :through_class_token],
        expected.last_hidden_state[:, :through_class_token],
        atol=1e-5,
        rtol=0,
    )
    torch.testing.assert_close(our_vilt.head.pooler(joint.text), expected.pooler_output, atol=1e-5, rtol=0)


@torch.no_grad()
def test_padding_changes_nothing_of_an_example(our_vilt: VLModel) -> None:
    """A small image with a short text gives alone what it gives in a batch with larger ones."""
    words, images = padded_text(9, 4, vocabulary=VOCABULARY), images_of((64, 96), (32, 48))
    together = our_vilt(words, images)
    alone = our_vilt(
        Text(ids=words.ids[1:, :4], mask=None),
        Images(pixels=images.pixels[1:, :, :32, :48], sizes=((32, 48),)),
    )
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=0)


def test_a_model_with_text_refuses_images_alone(our_vilt: VLModel) -> None:
    with pytest.raises(ValueError, match="text is None"):
        our_vilt(None, images_of((64, 64)))
