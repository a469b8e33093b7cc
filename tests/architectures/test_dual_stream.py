"""Two streams: ViLBERT's formula in plain loops, joint layers against one transformer, and sizes."""

from __future__ import annotations

import math

import pytest
import torch
from examples import mask_of
from torch import Tensor
from weights import randomise

from vlbench.architectures.blocks import Block, attention_bias
from vlbench.architectures.dual_stream import CoAttention, CrossModality, JointLayer
from vlbench.architectures.interfaces import Tokens, join
from vlbench.specs import CoAttentionSpec, CrossModalitySpec

TEXT, IMAGE, INNER, HEADS, EPS = 12, 8, 16, 4, 1e-12


def co_attention(text_layers: int, image_layers: int, connections: int) -> CoAttention:
    model = CoAttention(
        CoAttentionSpec(
            kind="co_attention",
            text_layers=text_layers,
            image_layers=image_layers,
            connections=connections,
            text_width=TEXT,
            image_width=IMAGE,
            connection_width=INNER,
            text_heads=HEADS,
            image_heads=2,
            connection_heads=HEADS,
            text_mlp_width=20,
            image_mlp_width=10,
            dropout=0.1,
            layer_norm_eps=EPS,
        )
    )
    return randomise(model).double()


def tokens(length: int, width: int, mask: Tensor | None) -> Tokens:
    return Tokens(values=torch.randn(3, length, width, dtype=torch.float64), mask=mask)


class Formula:
    """ViLBERT's equations for one example without padding, a head and a query at a time."""

    def __init__(self, model: CoAttention) -> None:
        self.state = model.state_dict()

    def linear(self, name: str, values: Tensor) -> Tensor:
        return values @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, name: str, values: Tensor) -> Tensor:
        centred = values - values.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + EPS).sqrt()
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def mlp(self, name: str, values: Tensor) -> Tensor:
        hidden = self.linear(f"{name}.expand", values)
        return self.linear(f"{name}.contract", hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)

    @staticmethod
    def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
        """softmax(q k / sqrt(d)) v, the heads side by side (Vaswani et al. 2017, section 3.2)."""
        each = queries.shape[1] // heads
        rows = []
        for query in queries:
            parts = []
            for start in range(0, queries.shape[1], each):
                head = slice(start, start + each)
                scores = [math.exp(query[head] @ key[head] / math.sqrt(each)) for key in keys]
                parts.append(
                    sum(score * value[head] for score, value in zip(scores, values, strict=True)) / sum(scores)
                )
            rows.append(torch.cat(parts))
        return torch.stack(rows)

    def layer(self, name: str, values: Tensor, heads: int) -> Tensor:
        query, key, value = self.linear(f"{name}.attention.qkv", values).chunk(3, dim=1)
        attended = self.linear(f"{name}.attention.out", self.attend(query, key, value, heads))
        values = self.norm(f"{name}.attention_norm", values + attended)
        return self.norm(f"{name}.mlp_norm", values + self.mlp(f"{name}.mlp", values))

    def asked(self, name: str, stream: str, own: Tensor, other: Tensor) -> Tensor:
        """One stream's half of a connection: its queries, the other's keys and values."""
        key, value = self.linear(f"{name}.{stream}.key_value", other).chunk(2, dim=1)
        attended = self.attend(self.linear(f"{name}.{stream}.query", own), key, value, HEADS)
        own = self.norm(f"{name}.{stream}_norm", own + self.linear(f"{name}.{stream}.out", attended))
        return self.norm(f"{name}.{stream}_mlp_norm", own + self.mlp(f"{name}.{stream}_mlp", own))

    def __call__(self, text: Tensor, image: Tensor, order: list[str]) -> tuple[Tensor, Tensor]:
        for name in order:
            if name.startswith("text"):
                text = self.layer(name, text, HEADS)
            elif name.startswith("image"):
                image = self.layer(name, image, 2)
            else:
                text, image = self.asked(name, "text", text, image), self.asked(name, "image", image, text)
        return text, image


ORDERS = {
    "6 text layers first, as published": (
        (12, 6, 6),
        [f"text.{index}" for index in range(6)]
        + [
            f"{part}.{index + shift}"
            for index in range(6)
            for part, shift in (("connections", 0), ("text", 6), ("image", 0))
        ],
    ),
    "layers of both first": (
        (2, 3, 1),
        ["text.0", "image.0", "image.1", "connections.0", "text.1", "image.2"],
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("depth", "order"), ORDERS.values(), ids=ORDERS.keys())
def test_co_attention_equals_vilberts_formula(depth: tuple[int, int, int], order: list[str], padded: bool) -> None:
    model = co_attention(*depth)
    text = tokens(5, TEXT, mask_of(5, 3, 1) if padded else None)
    image = tokens(4, IMAGE, mask_of(2, 4, 1) if padded else None)
    joint = model(text, image)
    for index in range(3):
        words, regions = (5, 3, 1)[index] if padded else 5, (2, 4, 1)[index] if padded else 4
        expected = Formula(model)(text.values[index, :words], image.values[index, :regions], order)
        torch.testing.assert_close(joint.text.values[index, :words], expected[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(joint.image.values[index, :regions], expected[1], atol=1e-5, rtol=0)
    assert joint.text.mask is text.mask
    assert joint.image.mask is image.mask


@torch.no_grad()
@pytest.mark.parametrize("padded", ["neither", "text", "image", "both"])
def test_a_joint_layer_of_shared_weights_is_one_layer_over_both_streams(padded: str) -> None:
    layer = JointLayer(
        CrossModalitySpec(kind="cross_modality", width=TEXT, heads=HEADS, mlp_width=20, dropout=0.1, layer_norm_eps=EPS)
    )
    block = Block(width=TEXT, heads=HEADS, mlp_width=20, norm="post", dropout=0.1, layer_norm_eps=EPS)
    block = randomise(block).double()
    layer.text.load_state_dict(block.state_dict())
    layer.image.load_state_dict(block.state_dict())
    text = tokens(5, TEXT, mask_of(5, 3, 1) if padded in ("text", "both") else None)
    image = tokens(4, TEXT, mask_of(2, 4, 1) if padded in ("image", "both") else None)
    biases = tuple(attention_bias(part.mask, torch.float64) for part in (text, image))
    ours = torch.cat(layer.double().eval()((text.values, image.values), biases), dim=1)
    joint = join(text, image)
    expected = block(joint.values, attention_bias(joint.mask, torch.float64))
    torch.testing.assert_close(ours, expected, atol=1e-9, rtol=0)


def test_a_joint_layer_has_weights_for_each_stream() -> None:
    layer = JointLayer(
        CrossModalitySpec(kind="cross_modality", width=TEXT, heads=HEADS, mlp_width=20, dropout=0.0, layer_norm_eps=EPS)
    ).eval()
    text, image = tokens(5, TEXT, None).values.float(), tokens(4, TEXT, None).values.float()
    before = layer((text, image), (None, None))
    with torch.no_grad():
        layer.image.mlp.contract.bias.add_(torch.randn(TEXT))
    after = layer((text, image), (None, None))
    assert torch.equal(after[0], before[0])
    assert not torch.allclose(after[1], before[1])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["co_attention", "attention", "joint"])
def test_what_lies_under_padding_reaches_no_real_token(kind: str) -> None:
    if kind == "co_attention":
        model, width = co_attention(3, 2, 2), IMAGE
    else:
        model = CrossModality(
            CrossModalitySpec(
                kind="cross_modality",
                text_layers=1,
                image_layers=1,
                cross_layers=2,
                cross=kind,
                width=TEXT,
                heads=HEADS,
                mlp_width=20,
                dropout=0.1,
                layer_norm_eps=EPS,
            )
        )
        model, width = randomise(model).double(), TEXT
    text, image = tokens(5, TEXT, mask_of(5, 3, 1)), tokens(4, width, mask_of(2, 4, 1))
    noisy = [
        Tokens(values=part.values + 9 * torch.randn_like(part.values) * ~part.mask[..., None], mask=part.mask)
        for part in (text, image)
    ]
    before, after = model(text, image), model(*noisy)
    for stream in ("text", "image"):
        first, second = getattr(before, stream), getattr(after, stream)
        torch.testing.assert_close(first.values[first.mask], second.values[first.mask], atol=1e-9, rtol=0)


def test_two_streams_need_text() -> None:
    with pytest.raises(ValueError, match="needs text"):
        co_attention(2, 2, 1)(None, tokens(4, IMAGE, None))
