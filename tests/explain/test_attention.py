"""Recorded attention is what the model computes, and recording changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from tests.architectures.examples import mask_of
from tests.architectures.weights import bert_layer, randomise, stack
from vlbench.architectures.blocks import Attention, CrossAttention, attention_bias
from vlbench.architectures.dual_stream import CoAttention, CrossModality
from vlbench.architectures.interaction import SingleStream
from vlbench.architectures.interfaces import Tokens
from vlbench.explain.attention import attention_maps, record_attention
from vlbench.explain.explanation import BOTH, IMAGE, TEXT
from vlbench.specs import CoAttentionSpec, CrossModalitySpec, SingleStreamSpec

WIDTH, HEADS = 16, 4
SINGLE = {"layers": 2, "width": WIDTH, "heads": HEADS, "mlp_width": 8, "dropout": 0.1, "layer_norm_eps": 1e-12}
CROSS = {"text_layers": 2, "image_layers": 1, "cross_layers": 2, "width": WIDTH, "heads": HEADS, "mlp_width": 8}
CROSS |= {"dropout": 0.1, "layer_norm_eps": 1e-12}
CO = {f"{of}_{what}": WIDTH for of in ("text", "image") for what in ("width", "mlp_width")}
CO |= {"text_heads": HEADS, "image_heads": HEADS, "connection_heads": HEADS, "connection_width": 2 * WIDTH}
CO |= {"text_layers": 3, "image_layers": 2, "connections": 2, "dropout": 0.1, "layer_norm_eps": 1e-12}

INTERACTIONS = {
    "pre": lambda: SingleStream(SingleStreamSpec(kind="single_stream", norm="pre", modal_types=True, **SINGLE)),
    "post": lambda: SingleStream(SingleStreamSpec(kind="single_stream", norm="post", modal_types=False, **SINGLE)),
    "co_attention": lambda: CoAttention(CoAttentionSpec(kind="co_attention", **CO)),
    "cross_attention": lambda: CrossModality(CrossModalitySpec(kind="cross_modality", cross="attention", **CROSS)),
    "cross_joint": lambda: CrossModality(CrossModalitySpec(kind="cross_modality", cross="joint", **CROSS)),
}


@pytest.fixture(params=INTERACTIONS)
def interaction(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    made = INTERACTIONS[request.param]().eval()
    for parameter in made.parameters():
        parameter.data.normal_(0, 0.4)
    return made


def padded_pair() -> tuple[Tokens, Tokens]:
    torch.manual_seed(1)
    text = Tokens(values=torch.randn(2, 5, WIDTH), mask=mask_of(5, 3))
    return text, Tokens(values=torch.randn(2, 7, WIDTH), mask=mask_of(4, 7))


def test_recorded_weights_are_those_the_model_mixed_values_with(interaction: nn.Module) -> None:
    """The recorded weights times the module's values are what its fused attention gave to its output layer."""
    values: list[Tensor] = []
    mixed: list[Tensor] = []
    for part in interaction.modules():
        if isinstance(part, Attention | CrossAttention):
            part.out.register_forward_pre_hook(lambda _module, given: mixed.append(given[0]))
    original = torch.nn.functional.scaled_dot_product_attention

    class Values(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is original:
                values.append(args[2])
            return func(*args, **(kwargs or {}))

    with torch.inference_mode(), Values(), record_attention(interaction) as records:
        interaction(*padded_pair())
    assert len(records) == len(mixed) == len(values)
    assert len(records) >= 2
    for record, value, expected in zip(records, values, mixed, strict=True):
        again = (record.weights @ value).transpose(1, 2).flatten(2)
        torch.testing.assert_close(again, expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(record.weights.sum(3), torch.ones(record.weights.shape[:3]), atol=1e-6, rtol=0)


def test_recording_changes_no_output_and_leaves_no_hook(interaction: nn.Module) -> None:
    with torch.inference_mode():
        before = interaction(*padded_pair())
        with record_attention(interaction):
            during = interaction(*padded_pair())
    for ours, theirs in ((before.text, during.text), (before.image, during.image)):
        assert torch.equal(ours.values, theirs.values)
    assert not any(part._forward_pre_hooks for part in interaction.modules())


def test_nothing_goes_to_padding() -> None:
    single = INTERACTIONS["pre"]().eval()
    text, image = padded_pair()
    with torch.inference_mode(), record_attention(single) as records:
        single(text, image)
    real = torch.cat((text.mask, image.mask), dim=1)
    for record in records:
        assert record.weights[~real[:, None, None].expand_as(record.weights)].abs().max() == 0


def test_the_weights_are_the_formula_with_the_modules_own_projections() -> None:
    torch.manual_seed(0)
    attention = Attention(width=WIDTH, heads=HEADS, dropout=0.1).eval()
    values, mask = torch.randn(2, 6, WIDTH), mask_of(6, 4)
    with torch.inference_mode(), record_attention(nn.ModuleDict({"blocks": attention})) as records:
        attention(values, attention_bias(mask, values.dtype))
    query, key, _ = attention.project(values)
    logits = torch.einsum("bhqc,bhsc->bhqs", query, key) / (WIDTH / HEADS) ** 0.5
    expected = logits.masked_fill(~mask[:, None, None], float("-inf")).softmax(-1)
    torch.testing.assert_close(records[0].weights, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_weights_are_those_that_transformers_gives_for_bert() -> None:
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS, "intermediate_size": 8}
    theirs = randomise(BertModel(BertConfig(vocab_size=30, attn_implementation="eager", **sizes), False))
    ours = INTERACTIONS["post"]().eval()
    ours.load_state_dict(stack(theirs.state_dict(), "encoder.layer", 2, bert_layer))
    values, mask = torch.randn(2, 6, WIDTH), mask_of(6, 4)
    expected_maps = theirs(inputs_embeds=values, attention_mask=mask.long(), output_attentions=True).attentions
    embedded = theirs.embeddings(inputs_embeds=values)
    with record_attention(ours) as records:
        ours(None, Tokens(values=embedded, mask=mask))
    for record, expected in zip(records, expected_maps, strict=True):
        torch.testing.assert_close(record.weights, expected, atol=1e-5, rtol=0)


KNOWN = {
    "pre": [("1", BOTH, BOTH), ("2", BOTH, BOTH)],
    "co_attention": [
        ("text-1", TEXT, TEXT),
        *(
            one
            for n in (1, 2)
            for one in (
                (f"connection-{n}", TEXT, IMAGE),
                (f"connection-{n}", IMAGE, TEXT),
                (f"text-{n + 1}", TEXT, TEXT),
                (f"image-{n}", IMAGE, IMAGE),
            )
        ),
    ],
    "cross_attention": [
        *(("text-1", TEXT, TEXT), ("text-2", TEXT, TEXT), ("image-1", IMAGE, IMAGE)),
        *(
            (f"cross-{n}", queries, keys)
            for n in (1, 2)
            for queries, keys in ((TEXT, IMAGE), (IMAGE, TEXT), (TEXT, TEXT), (IMAGE, IMAGE))
        ),
    ],
    "cross_joint": [
        *(("text-1", TEXT, TEXT), ("text-2", TEXT, TEXT), ("image-1", IMAGE, IMAGE)),
        *((f"cross-{n}", queries, BOTH) for n in (1, 2) for queries in (TEXT, IMAGE)),
    ],
}


@pytest.mark.parametrize("name", KNOWN)
def test_each_map_is_named_and_leaves_padding_out(name: str) -> None:
    made = INTERACTIONS[name]().eval()
    text, image = padded_pair()
    with torch.inference_mode(), record_attention(made) as records:
        made(text, image)
    maps = attention_maps(records, {TEXT: text.mask[0], IMAGE: image.mask[0]})
    assert [(attention.layer, attention.queries, attention.keys) for attention in maps] == KNOWN[name]
    sizes = {TEXT: 5, IMAGE: 4, BOTH: 9}
    for attention in maps:
        assert attention.weights.shape == (HEADS, sizes[attention.queries], sizes[attention.keys])
        np.testing.assert_allclose(attention.weights.sum(2), 1, atol=1e-6)
    assert [attention.joint for attention in maps] == [name == "pre"] * len(maps)
