"""Which modules of other people's models are which stage, by what their classes have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

StageMap = dict[str, tuple[str, ...]]

MOST_STAGES = 12  # more children than this are no stages that a table could show


def default_stages(module: nn.Module) -> StageMap:
    """Stages of a model of timm, open_clip or transformers by its class; else the outermost children."""
    for library in LIBRARIES.get(type(module).__module__.split(".")[0], ()):
        if stages := library(module):
            return stages
    return children_stages(module)


def children_stages(module: nn.Module) -> StageMap:
    """Each child is a stage; of a module around a single one, the children of that."""
    prefix, inner = "", module
    while len(children := _weighty(inner)) == 1:
        (name,) = children
        prefix, inner = f"{prefix}{name}.", children[name]
        if not _weighty(inner):
            return {name: (prefix.removesuffix("."),)}
    names = list(children) if len(children) > MOST_STAGES else [name for name, _ in inner.named_children()]
    if len(names) > MOST_STAGES:
        return {}
    return {name: (f"{prefix}{name}",) for name in names}


def _weighty(module: nn.Module) -> dict[str, nn.Module]:
    return {name: child for name, child in module.named_children() if any(True for _ in child.parameters())}


def _timm(module: nn.Module) -> StageMap:
    """A ViT's patches, blocks and head; of any other model its backbone, child by child, and its head."""
    children = [name for name, _ in module.named_children()]
    config: dict[str, Any] = getattr(module, "pretrained_cfg", None) or {}
    classifier = config.get("classifier") or ()
    heads = {name.split(".")[0] for name in ([classifier] if isinstance(classifier, str) else classifier)}
    heads |= {name for name in ("fc_norm", "head_drop", "global_pool", "pre_logits", "flatten") if name in children}
    body = [name for name in children if name not in heads]
    head = tuple(name for name in children if name in heads)
    if "blocks" in body and {"patch_embed", "embeds", "stem"} & set(body[: body.index("blocks")]):
        first = body.index("blocks")
        stages: StageMap = {"visual": tuple(body[:first]), "interaction": tuple(body[first:])}
    elif body:
        whole = next((index for index, name in enumerate(body) if any(module.get_submodule(name).children())), 0)
        stem: StageMap = {"visual.stem": tuple(body[:whole])} if whole else {}
        steps: StageMap = {f"visual.{name}": (name,) for name in body[whole:] if len(body) - whole <= MOST_STAGES}
        stages = {"visual": tuple(body), **stem, **steps}
    else:
        return {}
    return {**stages, "head": head} if head else stages


def _open_clip(module: nn.Module) -> StageMap:
    """The image tower with its trunk, and the text tower; CoCa's decoder of words."""
    if not all(callable(getattr(module, name, None)) for name in ("encode_image", "encode_text")):
        return {}
    tower = getattr(module, "visual", None)
    names = [name for name, _ in tower.named_children()] if isinstance(tower, nn.Module) else []
    steps = {"conv1": "patch", "transformer": "transformer"} if "transformer" in names else {}
    steps |= {"trunk": "backbone", "head": "projection"}
    stages: StageMap = {"text": ("encode_text",), "visual": ("visual",)}
    if isinstance(getattr(module, "text", None), nn.Module):
        stages["text"] = ("text",)
    stages |= {f"visual.{step}": (f"visual.{name}",) for name, step in steps.items() if name in names}
    if isinstance(getattr(module, "text_decoder", None), nn.Module):
        stages["interaction"] = ("text_decoder",)
    return stages


def _two_towers(module: nn.Module) -> StageMap:
    """Models of transformers with a tower of vision, such as CLIP and BLIP."""
    children = dict(module.named_children())
    visual = tuple(name for name in ("vision_model", "vision_tower", "visual_projection") if name in children)
    text = tuple(name for name in ("text_model", "text_projection") if name in children)
    if not visual:
        return {}
    towers: StageMap = {"text": text} if text else {}
    rest = {name: (name,) for name in children if name not in (*visual, *text) and _weighty(children[name])}
    return {**towers, "visual": visual, **rest}


def _encoder_decoder(module: nn.Module) -> StageMap:
    """The encoder, the decoder and the head of a model that reads and writes."""
    if not getattr(getattr(module, "config", None), "is_encoder_decoder", False):
        return {}
    paths = {id(inner): path for path, inner in module.named_modules() if path}
    parts: StageMap = {}
    for name in ("encoder", "decoder"):
        part = getattr(module, f"get_{name}", lambda: None)()
        if part is None or id(part) not in paths:
            return {}
        parts[name] = (paths[id(part)],)
    encoder = "visual" if getattr(module, "main_input_name", "") == "pixel_values" else "encoder"
    stages: StageMap = {encoder: parts["encoder"], "decoder": parts["decoder"]}
    heads = tuple(name for name in ("lm_head", "qa_outputs", "classification_head") if hasattr(module, name))
    return {**stages, "head": heads} if heads else stages


def _transformer(module: nn.Module) -> StageMap:
    """Embeddings, layers and head of a model around one transformer, such as BERT, ViT or ViLT."""
    base = getattr(module, "base_model", module)
    prefix = "" if base is module else f"{getattr(module, 'base_model_prefix', '')}."
    children = dict(base.named_children())
    embeddings = tuple(f"{prefix}{name}" for name in children if "embed" in name)
    if not embeddings:
        return {}
    read = inspect.signature(module.forward).parameters
    reads = "embeddings" if {"input_ids", "pixel_values"} <= set(read) else "text"
    reads = reads if "input_ids" in read else "visual"
    layers = tuple(f"{prefix}{name}" for name in children if "embed" not in name)
    outer = tuple(name for name, child in module.named_children() if child is not base) if prefix else ()
    stages: StageMap = {reads: embeddings, "interaction": layers}
    return {**stages, "head": outer} if outer else stages


LIBRARIES: dict[str, tuple[Callable[[nn.Module], StageMap], ...]] = {
    "timm": (_timm,),
    "open_clip": (_open_clip,),
    "transformers": (_two_towers, _encoder_decoder, _transformer),
}
