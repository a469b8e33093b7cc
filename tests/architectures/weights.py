"""Weights of reference implementations under our names, so that tests can load them strictly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from vlbench.architectures.checkpoints.reading import read_state
from vlbench.architectures.resnet import ResNetTrunk

State = Mapping[str, Tensor]
Weights = dict[str, Tensor]


@torch.no_grad()
def randomise(model: nn.Module) -> nn.Module:
    """Every weight far from the values (0, 1, equal rows) under which a mistake would not show; in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        is_norm_weight = parameter.dim() == 1 and name.endswith("weight")
        mean, deviation = (1.0 if is_norm_weight else 0.0), (0.1 if parameter.dim() == 1 else 0.2)
        parameter.normal_(mean, deviation, generator=generator)
    return model.eval()


def affine(state: State, theirs: str, ours: str) -> Weights:
    return {f"{ours}.{part}": state[f"{theirs}.{part}"] for part in ("weight", "bias")}


def bert_embeddings(state: State, prefix: str) -> Weights:
    return {
        "words.weight": state[f"{prefix}.word_embeddings.weight"],
        "positions.weight": state[f"{prefix}.position_embeddings.weight"],
        "segments.weight": state[f"{prefix}.token_type_embeddings.weight"],
        **affine(state, f"{prefix}.LayerNorm", "norm"),
    }


def _query_key_value(state: State, attention: str) -> Weights:
    names = ("query", "key", "value")
    return {
        f"qkv.{part}": torch.cat([state[f"{attention}.{name}.{part}"] for name in names]) for part in ("weight", "bias")
    }


def bert_layer(state: State, prefix: str) -> Weights:
    return {
        **under("attention", _query_key_value(state, f"{prefix}.attention.self")),
        **affine(state, f"{prefix}.attention.output.dense", "attention.out"),
        **affine(state, f"{prefix}.attention.output.LayerNorm", "attention_norm"),
        **affine(state, f"{prefix}.intermediate.dense", "mlp.expand"),
        **affine(state, f"{prefix}.output.dense", "mlp.contract"),
        **affine(state, f"{prefix}.output.LayerNorm", "mlp_norm"),
    }


def visual_bert_projection(state: State, prefix: str) -> Weights:
    """Its image tokens all have position 0 and segment 1, and share the text's LayerNorm."""
    positions = state[f"{prefix}embeddings.visual_position_embeddings.weight"]
    return {
        **affine(state, f"{prefix}embeddings.visual_projection", "feature"),
        **affine(state, f"{prefix}embeddings.LayerNorm", "norm"),
        "segment": positions[0] + state[f"{prefix}embeddings.visual_token_type_embeddings.weight"][1],
    }


def timm_layer(state: State, prefix: str) -> Weights:
    return {
        **affine(state, f"{prefix}.attn.qkv", "attention.qkv"),
        **affine(state, f"{prefix}.attn.proj", "attention.out"),
        **affine(state, f"{prefix}.norm1", "attention_norm"),
        **affine(state, f"{prefix}.mlp.fc1", "mlp.expand"),
        **affine(state, f"{prefix}.mlp.fc2", "mlp.contract"),
        **affine(state, f"{prefix}.norm2", "mlp_norm"),
    }


def stack(
    state: State, prefix: str, layers: int, layer: Callable[[State, str], Weights], ours: str = "blocks"
) -> Weights:
    """The layers of a transformer."""
    blocks = [under(f"{ours}.{index}", layer(state, f"{prefix}.{index}")) for index in range(layers)]
    return {name: value for block in blocks for name, value in block.items()}


def copy_trunk(trunk: ResNetTrunk, network: nn.Module) -> None:
    """Copies a trunk into a timm ResNet, whose later stages keep their own weights."""
    stem = dict(zip(("conv1", "bn1"), trunk.stem[:2], strict=True))
    for name, module in stem.items():
        getattr(network, name).load_state_dict(module.state_dict())
    for index, stage in enumerate(trunk.stages, start=1):
        getattr(network, f"layer{index}").load_state_dict(stage.state_dict())


def detectron2_stage(stage: nn.Sequential) -> Weights:
    """A stage's weights under the names of Detectron2's bottlenecks."""
    weights: Weights = {}
    for index, block in enumerate(stage):
        assert isinstance(block, Bottleneck)
        pairs = [(f"conv{n}", getattr(block, f"conv{n}"), getattr(block, f"bn{n}")) for n in (1, 2, 3)]
        if block.downsample is not None:
            pairs.append(("shortcut", block.downsample[0], block.downsample[1]))
        for name, convolution, norm in pairs:
            weights[f"{index}.{name}.weight"] = convolution.weight
            weights |= {
                f"{index}.{name}.norm.{key}": value for key, value in norm.state_dict().items() if "num_" not in key
            }
    return weights


def under(prefix: str, weights: State) -> Weights:
    return {f"{prefix}.{name}": value for name, value in weights.items()}


def saved(state: Weights, folder: Path) -> Weights:
    """The weights as a hub's folder holds them, read as any checkpoint is."""
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    return read_state(str(folder))


def published_tensors(reference_data: Path, name: str) -> Weights:
    """The tensors of a published checkpoint, without their values."""
    path = reference_data / "state_dict_keys" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    shapes = json.loads(path.read_text())["shapes"]
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
