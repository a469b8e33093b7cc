"""What a column can be made of: the names of its formula and what each needs, among them the parts of an architecture
in the terms of ViLT's Table 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from vlbench.errors import nearest
from vlbench.specs import AnySpec

Origin = Literal["spec", "count", "latency"]  # read from the spec, counted on the meta device, measured

DESCRIBED = (
    "batch",
    "image_height",
    "image_width",
    "text_tokens",
    "components.cnn",
    "components.roi_head",
    "components.nms",
    "components.layers",
    "classes",
    "boxes",
)
COUNTED = (
    "image_tokens",
    "params_total",
    "params_trainable",
    "params_table6",
    "macs_table6",
    "macs",
    "flops",
    "operators",
    "bytes_moved",
    "flops_table6",
)
STAGES = (
    "text",
    "visual",
    "visual.patch",
    "visual.backbone",
    "visual.fpn",
    "visual.rpn",
    "visual.roi_head",
    "visual.nms",
    "visual.transformer",
    "visual.projection",
    "interaction",
    "head",
)
SUPPRESSIONS = ("per_class_loop", "per_class_batched", "class_agnostic")

ORIGINS: dict[str, Origin] = {
    **dict.fromkeys(DESCRIBED, "spec"),
    **dict.fromkeys(COUNTED, "count"),
    **{f"{total}_by_stage.{stage}": "count" for total in ("params", "macs", "bytes_moved") for stage in STAGES},
    "latency_ms": "latency",
    **{f"latency_ms_by_stage.{stage}": "latency" for stage in (*STAGES, "total", "rest")},
    **{f"suppression_ms.{method}": "latency" for method in SUPPRESSIONS},
}


def origin(path: str) -> Origin:
    """How a quantity is known. Raises ValueError for one that there is not."""
    if path not in ORIGINS:
        raise ValueError(f"no quantity {path!r}; {nearest(path, ORIGINS)}")
    return ORIGINS[path]


ABSENT = "-"


def cnn(spec: AnySpec) -> str:
    """R50, R101, X152: a bottleneck has three layers, res5 three bottlenecks wherever it stands, stem and classifier
    one layer each."""
    backbone = getattr(spec.visual, "backbone", None)
    if backbone is None:
        return ABSENT
    depth = 3 * (sum(backbone.blocks[:3]) + 3) + 2
    return f"{'X' if backbone.groups > 1 else 'R'}{depth}"


def roi_head(spec: AnySpec) -> str:
    """C4 runs res5 on every region, FPN two linear layers on features of a pyramid."""
    head = getattr(spec.visual, "roi_head", None)
    return ABSENT if head is None else ("C4" if head.kind == "c4" else "FPN")


def nms(spec: AnySpec) -> str:
    """PC suppresses within each class, CA once over all."""
    selection = getattr(spec.visual, "nms", None)
    return ABSENT if selection is None else ("CA" if selection.method == "class_agnostic" else "PC")


def layers(spec: AnySpec) -> float:
    """Transformer layers in which text and image meet; one that only one modality goes through counts half."""
    part = spec.interaction
    if part is None:
        return 0  # a class of transformers has none that is known here
    if part.kind == "co_attention":
        return (part.text_layers + part.image_layers) / 2 + part.connections
    if part.kind == "cross_modality":
        return (part.text_layers + part.image_layers) / 2 + part.cross_layers
    if part.kind == "single_stream":
        return part.layers
    return 0  # a score needs none


DESCRIPTIONS: dict[str, Callable[[AnySpec], str | float]] = {
    "cnn": cnn,
    "roi_head": roi_head,
    "nms": nms,
    "layers": layers,
}
