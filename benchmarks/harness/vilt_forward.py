"""Our ViLT against transformers' ViltModel, with the same weights and input, up to the pooled output, on the CPU.

    python -m benchmarks.harness.vilt_forward [--rounds N] [--threads N] [--batch N] [--json FILE]

Beside both stands the floor: the model's matrix products alone, on its own weights and preallocated buffers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViltConfig, ViltModel

from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images, Joint, Text, join
from vlbench.architectures.vl_model import VLModel
from vlbench.specs import catalog

from . import interleaved

WARMUP = 3
REAL_TOKENS = 14
TOLERANCE = 1e-4
OURS, FLOOR = "vlbench", "floor: matrix products"
PATCHED = "transformers, sdpa patched in"

# ours: theirs, beside what is alike in every block
NAMES = {
    "text.words.weight": "embeddings.text_embeddings.word_embeddings.weight",
    "text.positions.weight": "embeddings.text_embeddings.position_embeddings.weight",
    "text.segments.weight": "embeddings.text_embeddings.token_type_embeddings.weight",
    "text.norm.weight": "embeddings.text_embeddings.LayerNorm.weight",
    "text.norm.bias": "embeddings.text_embeddings.LayerNorm.bias",
    "visual.class_token": "embeddings.cls_token",
    "visual.positions": "embeddings.position_embeddings",
    "visual.patch.weight": "embeddings.patch_embeddings.projection.weight",
    "visual.patch.bias": "embeddings.patch_embeddings.projection.bias",
    "interaction.modal_types.weight": "embeddings.token_type_embeddings.weight",
    "interaction.norm.weight": "layernorm.weight",
    "interaction.norm.bias": "layernorm.bias",
    "head.pooler.dense.weight": "pooler.dense.weight",
    "head.pooler.dense.bias": "pooler.dense.bias",
}
BLOCK_NAMES = {
    "attention.out": "attention.output.dense",
    "attention_norm": "layernorm_before",
    "mlp.expand": "intermediate.dense",
    "mlp.contract": "output.dense",
    "mlp_norm": "layernorm_after",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What both models give; the patches are left out, for transformers shuffles them."""

    text: Tensor  # (B, Lt, D)
    image_class: Tensor  # (B, D)
    pooled: Tensor  # (B, D)

    @classmethod
    def of(cls, joint_BLD: Tensor, pooled_BD: Tensor, text_length: int) -> Outputs:
        return cls(text=joint_BLD[:, :text_length], image_class=joint_BLD[:, text_length], pooled=pooled_BD)


class PatchedAttention(nn.Module):
    """transformers' own projections around PyTorch's fused attention, which its ViLT does not offer."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.query, self.key, self.value = original.query, original.key, original.value
        self.heads = original.num_attention_heads

    def forward(self, values_BLD: Tensor, mask: Tensor | None = None, *_: object) -> tuple[Tensor]:
        parts = [part(values_BLD).unflatten(2, (self.heads, -1)) for part in (self.query, self.key, self.value)]
        query, key, value = (part.transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return (mixed.transpose(1, 2).flatten(2),)


def build_ours() -> VLModel:
    """`vilt-b32` whose biases and norms are not the identity, so that a wrong copy of one shows."""
    model = build(catalog.resolve("vilt-b32")[0]).eval()
    assert isinstance(model, VLModel)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            centre = 1.0 if name.endswith("norm.weight") else 0.0
            parameter.copy_(centre + 0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def weights_for_transformers(model: VLModel) -> dict[str, Tensor]:
    """Our weights under transformers' names; loaded strictly, so that none is left over but our classifier."""
    ours = dict(model.state_dict())
    theirs = {name: ours[own] for own, name in NAMES.items()}
    layers: Any = model.interaction.blocks
    for index in range(len(layers)):
        own, other = f"interaction.blocks.{index}", f"encoder.layer.{index}"
        for kind in ("weight", "bias"):
            parts = zip(("query", "key", "value"), ours[f"{own}.attention.qkv.{kind}"].chunk(3), strict=True)
            theirs |= {f"{other}.attention.attention.{part}.{kind}": values for part, values in parts}
            theirs |= {f"{other}.{name}.{kind}": ours[f"{own}.{mine}.{kind}"] for mine, name in BLOCK_NAMES.items()}
    return theirs


def build_transformers(weights: dict[str, Tensor], attention: str) -> ViltModel:
    """Raises ValueError where transformers' ViLT does not know that attention."""
    model = ViltModel._from_config(ViltConfig(), attn_implementation=attention)
    model.load_state_dict(weights, strict=True)
    return model.eval()


def peers(weights: dict[str, Tensor]) -> dict[str, ViltModel]:
    """Every attention that transformers offers, and sdpa patched in where it does not."""
    models = {"transformers, eager": build_transformers(weights, "eager")}
    try:
        models["transformers, sdpa"] = build_transformers(weights, "sdpa")
    except ValueError as error:
        print(f"transformers refuses sdpa for ViLT ({str(error).split('. ')[0]}); '{PATCHED}' shows what it would give")
        models[PATCHED] = build_transformers(weights, "eager")
        layers: Any = models[PATCHED].encoder.layer
        for layer in layers:
            layer.attention.attention = PatchedAttention(layer.attention.attention)
    return models


def inputs(batch: int) -> tuple[Text, Images]:
    """One padded question and one image of 384x640 an example."""
    spec = catalog.resolve("vilt-b32")[0]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (batch, spec.input.text_tokens), generator=generator)
    mask = (torch.arange(spec.input.text_tokens) < REAL_TOKENS).expand(batch, -1).contiguous()
    pixels = torch.randn(batch, 3, *spec.input.image_size, generator=generator)
    return Text(ids=ids * mask, mask=mask), Images(pixels=pixels, sizes=(spec.input.image_size,) * batch)


def our_forward(model: VLModel, text: Text, images: Images) -> tuple[Joint, Tensor]:
    """The model up to its pooler, as transformers' ViltModel ends there."""
    assert model.text is not None
    assert model.head is not None
    joint = model.interaction(model.text(text), model.visual(images))
    pooler: Any = model.head.pooler
    return joint, pooler(joint.text)


def transformers_forward(model: ViltModel, text: Text, images: Images) -> Callable[[], Any]:
    """The call of their model, its inputs made beforehand."""
    assert text.mask is not None
    given = {"input_ids": text.ids, "attention_mask": text.mask.long(), "pixel_values": images.pixels}
    given["pixel_mask"] = torch.ones(len(images.sizes), *images.pixels.shape[-2:], dtype=torch.long)
    return lambda: model(**given)


def floor(model: VLModel, batch: int, length: int, patches: int) -> Callable[[], None]:
    """All matrix products of one forward pass, back to back, without biases."""
    blocks: Any = model.interaction.blocks
    first = blocks[0]
    width, heads, hidden = first.attention.out.in_features, first.attention.heads, first.mlp.expand.out_features
    tokens, each = batch * length, width // heads
    patch: Any = model.visual.patch
    projection = patch.weight.flatten(1).t()
    pixels, embedded = torch.randn(batch * patches, projection.shape[0]), torch.empty(batch * patches, width)
    values, joint, mixed = torch.randn(tokens, width), torch.empty(tokens, 3 * width), torch.empty(tokens, width)
    wide, narrow = torch.empty(tokens, hidden), torch.empty(tokens, width)
    query, key, value = torch.randn(3, batch * heads, length, each)
    scores, context = torch.empty(batch * heads, length, length), torch.empty(batch * heads, length, each)
    layers = [
        tuple(part.weight.t() for part in (b.attention.qkv, b.attention.out, b.mlp.expand, b.mlp.contract))
        for b in blocks
    ]
    head: Any = model.head
    pooler, pooled = head.pooler.dense.weight.t(), torch.empty(batch, width)

    def run() -> None:
        torch.mm(pixels, projection, out=embedded)
        for qkv, out, expand, contract in layers:
            torch.mm(values, qkv, out=joint)
            torch.bmm(query, key.transpose(1, 2), out=scores)
            torch.bmm(scores, value, out=context)
            torch.mm(values, out, out=mixed)
            torch.mm(values, expand, out=wide)
            torch.mm(wide, contract, out=narrow)
        torch.mm(values[:batch], pooler, out=pooled)

    return run


def mismatches(ours: Outputs, theirs: Outputs) -> list[str]:
    """Which outputs differ by more than the tolerance."""
    wrong = []
    for name in ("text", "image_class", "pooled"):
        difference = (getattr(ours, name) - getattr(theirs, name)).abs().max().item()
        if not difference <= TOLERANCE:
            wrong.append(f"{name} by {difference:.2g}")
    return wrong


def main() -> int:
    parser = interleaved.arguments("Our ViLT against transformers' ViltModel, same weights and input.", rounds=40)
    parser.add_argument("--batch", type=interleaved.positive, default=1, help="examples a pass (default %(default)s)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    facts = interleaved.machine_facts(torch.get_num_threads(), ["torch", "transformers"])
    interleaved.print_facts(facts, options.rounds, WARMUP)
    with torch.inference_mode():
        model = build_ours()
        text, images = inputs(options.batch)
        joint, pooled = our_forward(model, text, images)
        values = join(joint.text, joint.image).values
        start, length = text.ids.shape[1], values.shape[1]
        ours = Outputs.of(values, pooled, start)
        callables: dict[str, Callable[[], Any]] = {OURS: lambda: our_forward(model, text, images)}
        for name, peer in peers(weights_for_transformers(model)).items():
            callables[name] = transformers_forward(peer, text, images)
            given = callables[name]()
            wrong = mismatches(ours, Outputs.of(given.last_hidden_state, given.pooler_output, start))
            if wrong:
                print(f"MISMATCH with {name}: {', '.join(wrong)}; nothing is timed")
                return 1
        print(f"text, [CLS] and pooled outputs agree within {TOLERANCE:g}; batch {options.batch}, {length} tokens")
        callables[FLOOR] = floor(model, options.batch, length, patches=length - start - 1)
        samples = interleaved.interleave(callables, options.rounds, WARMUP)
    report(samples, facts | {"batch": str(options.batch)}, options.json)
    return 0


def report(samples: dict[str, list[float]], facts: dict[str, str], path: Path | None) -> None:
    """Prints all against our time, then ours against the faster attention that transformers offers."""
    offered = [name for name in samples if name.startswith("transformers") and name != PATCHED]
    faster = min(offered, key=lambda name: interleaved.estimate(name, samples[name]).median)
    interleaved.print_table(samples, faster)
    ratios = interleaved.ratio_table(samples, faster)
    above = interleaved.ratio_table(samples, FLOOR)[OURS]
    print(f"vlbench / floor: {above.text()}")
    if PATCHED in samples:
        print(f"vlbench / {PATCHED}: {interleaved.ratio_table(samples, PATCHED)[OURS].text()} (not part of the bar)")
    verdict = interleaved.print_bar(f"vlbench / {faster}", ratios[OURS], bar=1.0, aim=0.9)
    interleaved.write_json(
        path,
        script="vilt_forward",
        facts=facts,
        samples_ms=samples,
        ratios=list(ratios.values()),
        verdicts={f"vlbench / {faster} <= 1.0": verdict},
    )


if __name__ == "__main__":
    sys.exit(main())
