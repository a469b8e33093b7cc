"""Detectron2's names of a Faster R-CNN's tensors next to ours; the tensors themselves are the same.

{n} is the number of a bottleneck, {m} of a convolution in it, {p} weight or bias.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Names = tuple[tuple[str, str], ...]  # ours below `visual`, theirs below GeneralizedRCNN

STATISTICS = ("running_mean", "running_var")
COUNTER = "num_batches_tracked"  # a norm with fixed statistics does not use it


def _normed(convolution: str, norm: str, theirs: str) -> Names:
    of_norm = ((f"{norm}.{kind}", f"{theirs}.norm.{kind}") for kind in ("{p}", *STATISTICS))
    return ((f"{convolution}.weight", f"{theirs}.weight"), *of_norm)


def _stage(ours: str, theirs: str) -> Names:
    return (
        *_normed(f"{ours}.{{n}}.conv{{m}}", f"{ours}.{{n}}.bn{{m}}", f"{theirs}.{{n}}.conv{{m}}"),
        *_normed(f"{ours}.{{n}}.downsample.0", f"{ours}.{{n}}.downsample.1", f"{theirs}.{{n}}.shortcut"),
    )


def _trunk(theirs: str, stages: int) -> Names:
    names = _normed("backbone.stem.0", "backbone.stem.1", f"{theirs}.stem.conv1")
    for index in range(stages):
        names += _stage(f"backbone.stages.{index}", f"{theirs}.res{index + 2}")
    return names


_HEADS: Names = (
    ("rpn.conv.{p}", "proposal_generator.rpn_head.conv.{p}"),
    ("rpn.objectness.{p}", "proposal_generator.rpn_head.objectness_logits.{p}"),
    ("rpn.deltas.{p}", "proposal_generator.rpn_head.anchor_deltas.{p}"),
    ("roi_head.classifier.{p}", "roi_heads.box_predictor.cls_score.{p}"),
    ("roi_head.box_regressor.{p}", "roi_heads.box_predictor.bbox_pred.{p}"),
)
C4_NAMES: Names = (*_trunk("backbone", 3), *_stage("roi_head.res5", "roi_heads.res5"), *_HEADS)
FPN_NAMES: Names = (
    *_trunk("backbone.bottom_up", 4),
    *((f"fpn.lateral.{index}.{{p}}", f"backbone.fpn_lateral{index + 2}.{{p}}") for index in range(4)),
    *((f"fpn.output.{index}.{{p}}", f"backbone.fpn_output{index + 2}.{{p}}") for index in range(4)),
    ("roi_head.mlp.0.{p}", "roi_heads.box_head.fc1.{p}"),
    ("roi_head.mlp.2.{p}", "roi_heads.box_head.fc2.{p}"),
    *_HEADS,
)

_VALUES = {"n": r"\d+", "m": r"[123]", "p": "weight|bias"}


class Renaming:
    """Translates single names from one side of a table to the other.

    Args:
        pairs: name before, name after.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._patterns = [(_pattern(before), after) for before, after in pairs]

    def __call__(self, name: str) -> str:
        """The name on the other side; the same name if the table has none."""
        for pattern, after in self._patterns:
            match = pattern.fullmatch(name)
            if match:
                return after.format(**match.groupdict())
        return name


def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template)
    for variable, values in _VALUES.items():
        escaped = escaped.replace(re.escape(f"{{{variable}}}"), f"(?P<{variable}>{values})")
    return re.compile(escaped)
