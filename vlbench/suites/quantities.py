"""What a column can be made of: the names of its formula, and what must be done to know each."""

from __future__ import annotations

from typing import Literal

from vlbench.catalog import nearest

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
