"""The quantities that columns of suites are computed from, and where each comes from.

Among them are the parts of an architecture as ViLT's Table 7 names them (`components.*`).
"""

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
    """Where a quantity comes from. Raises ValueError for an unknown one."""
    if path not in ORIGINS:
        raise ValueError(f"no quantity {path!r}; {nearest(path, ORIGINS)}")
    return ORIGINS[path]


ABSENT = "-"


def cnn(spec: AnySpec) -> str:
    """The depth as in R50, R101 and X152: three layers per bottleneck, and one each for stem and classifier.

    res5 has three bottlenecks, whether it belongs to the backbone or to the RoI head.
    """
    backbone = getattr(spec.visual, "backbone", None)
    if backbone is None:
        return ABSENT
    depth = 3 * (sum(backbone.blocks[:3]) + 3) + 2
    return f"{'X' if backbone.groups > 1 else 'R'}{depth}"


def roi_head(spec: AnySpec) -> str:
    """C4: res5 runs on every region; FPN: two linear layers run on features of a pyramid."""
    head = getattr(spec.visual, "roi_head", None)
    return ABSENT if head is None else ("C4" if head.kind == "c4" else "FPN")


def nms(spec: AnySpec) -> str:
    """PC: boxes are suppressed within each class; CA: class-agnostic, once over all classes."""
    selection = getattr(spec.visual, "nms", None)
    return ABSENT if selection is None else ("CA" if selection.method == "class_agnostic" else "PC")


def layers(spec: AnySpec) -> float:
    """Transformer layers of the interaction. A layer that only one modality passes through counts as half."""
    part = spec.interaction
    if part is None:
        return 0  # a model of the transformers library, whose layers no spec describes
    if part.kind == "co_attention":
        return (part.text_layers + part.image_layers) / 2 + part.connections
    if part.kind == "cross_modality":
        return (part.text_layers + part.image_layers) / 2 + part.cross_layers
    if part.kind == "single_stream":
        return part.layers
    return 0  # a similarity score has no layers


DESCRIPTIONS: dict[str, Callable[[AnySpec], str | float]] = {
    "cnn": cnn,
    "roi_head": roi_head,
    "nms": nms,
    "layers": layers,
}
