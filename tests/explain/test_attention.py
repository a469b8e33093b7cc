"""Attention that is watched: what the model computes, and nothing else changes."""

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
from vlbench.explain.attention import maps_of, watched
from vlbench.explain.explanation import BOTH, IMAGE, TEXT

WIDTH, HEADS = 16, 4
SINGLE = {"layers": 2, "width": WIDTH, "heads": HEADS, "mlp_width": 8, "dropout": 0.1, "layer_norm_eps": 1e-12}
CROSS = {"text_layers": 2, "image_layers": 1, "cross_layers": 2, "width": WIDTH, "heads": HEADS, "mlp_width": 8}
CROSS |= {"dropout": 0.1, "layer_norm_eps": 1e-12}
CO = {f"{of}_{what}": WIDTH for of in ("text", "image") for what in ("width", "mlp_width")}
CO |= {"text_heads": HEADS, "image_heads": HEADS, "connection_heads": HEADS, "connection_width": 2 * WIDTH}
CO |= {"text_layers": 3, "image_layers": 2, "connections": 2, "dropout": 0.1, "layer_norm_eps": 1e-12}

INTERACTIONS = {
    "pre": lambda: SingleStream(norm="pre", modal_types=True, **SINGLE),
    "post": lambda: SingleStream(norm="post", modal_types=False, **SINGLE),
    "co_attention": lambda: CoAttention(**CO),
    "cross_attention": lambda: CrossModality(cross="attention", **CROSS),
    "cross_joint": lambda: CrossModality(cross="joint", **CROSS),
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


def test_what_is_watched_is_what_the_model_mixed(interaction: nn.Module) -> None:
    """The watched weights times the module's own value are what its fused attention gave to its output layer."""
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

    with torch.inference_mode(), Values(), watched(interaction) as found:
        interaction(*padded_pair())
    assert len(found) == len(mixed) == len(values)
    assert len(found) >= 2
    for one, value, expected in zip(found, values, mixed, strict=True):
        again = (one.weights @ value).transpose(1, 2).flatten(2)
        torch.testing.assert_close(again, expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(one.weights.sum(3), torch.ones(one.weights.shape[:3]), atol=1e-6, rtol=0)


def test_watching_changes_no_output_and_leaves_nothing_behind(interaction: nn.Module) -> None:
    with torch.inference_mode():
        before = interaction(*padded_pair())
        with watched(interaction):
            during = interaction(*padded_pair())
    for ours, theirs in ((before.text, during.text), (before.image, during.image)):
        assert torch.equal(ours.values, theirs.values)
    assert not any(part._forward_pre_hooks for part in interaction.modules())


def test_nothing_goes_to_padding() -> None:
    single = INTERACTIONS["pre"]().eval()
    text, image = padded_pair()
    with torch.inference_mode(), watched(single) as found:
        single(text, image)
    real = torch.cat((text.mask, image.mask), dim=1)
    for one in found:
        assert one.weights[~real[:, None, None].expand_as(one.weights)].abs().max() == 0


def test_the_weights_are_the_formula_with_the_modules_own_projections() -> None:
    torch.manual_seed(0)
    attention = Attention(width=WIDTH, heads=HEADS, dropout=0.1).eval()
    values, mask = torch.randn(2, 6, WIDTH), mask_of(6, 4)
    with torch.inference_mode(), watched(nn.ModuleDict({"blocks": attention})) as found:
        attention(values, attention_bias(mask, values.dtype))
    query, key, _ = attention.project(values)
    logits = torch.einsum("bhqc,bhsc->bhqs", query, key) / (WIDTH / HEADS) ** 0.5
    expected = logits.masked_fill(~mask[:, None, None], float("-inf")).softmax(-1)
    torch.testing.assert_close(found[0].weights, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_weights_are_those_that_transformers_tells_of_bert() -> None:
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS, "intermediate_size": 8}
    theirs = randomise(BertModel(BertConfig(vocab_size=30, attn_implementation="eager", **sizes), False))
    ours = INTERACTIONS["post"]().eval()
    ours.load_state_dict(stack(theirs.state_dict(), "encoder.layer", 2, bert_layer))
    values, mask = torch.randn(2, 6, WIDTH), mask_of(6, 4)
    told = theirs(inputs_embeds=values, attention_mask=mask.long(), output_attentions=True).attentions
    embedded = theirs.embeddings(inputs_embeds=values)
    with watched(ours) as found:
        ours(None, Tokens(values=embedded, mask=mask))
    for one, expected in zip(found, told, strict=True):
        torch.testing.assert_close(one.weights, expected, atol=1e-5, rtol=0)


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
            (f"cross-{n}", asks, asked)
            for n in (1, 2)
            for asks, asked in ((TEXT, IMAGE), (IMAGE, TEXT), (TEXT, TEXT), (IMAGE, IMAGE))
        ),
    ],
    "cross_joint": [
        *(("text-1", TEXT, TEXT), ("text-2", TEXT, TEXT), ("image-1", IMAGE, IMAGE)),
        *((f"cross-{n}", asks, BOTH) for n in (1, 2) for asks in (TEXT, IMAGE)),
    ],
}


@pytest.mark.parametrize("name", KNOWN)
def test_each_map_is_named_and_holds_real_tokens_alone(name: str) -> None:
    made = INTERACTIONS[name]().eval()
    text, image = padded_pair()
    with torch.inference_mode(), watched(made) as found:
        made(text, image)
    maps = maps_of(found, {TEXT: text.mask[0], IMAGE: image.mask[0]})
    assert [(one.layer, one.asks, one.asked) for one in maps] == KNOWN[name]
    sizes = {TEXT: 5, IMAGE: 4, BOTH: 9}
    for one in maps:
        assert one.weights.shape == (HEADS, sizes[one.asks], sizes[one.asked])
        np.testing.assert_allclose(one.weights.sum(2), 1, atol=1e-6)
    assert [one.joint for one in maps] == [name == "pre"] * len(maps)
