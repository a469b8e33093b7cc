"""The small settings of `--quick`: work of the same shape, and a small part of it."""

from __future__ import annotations

import math

from vlbench.specs import AnySpec, HuggingFaceSpec, Patch

BUDGET_SECONDS = 0.6
SHRINK = 4  # each side of the image; boxes and classes of a suppression


def small_spec(spec: AnySpec) -> AnySpec:
    """The architecture with tiny parts, its text as long as it was, on an image of a quarter of each side.

    A class of transformers is as small as its file says, input and all.
    """
    if isinstance(spec, HuggingFaceSpec):
        return spec.tiny()
    tiny = spec.tiny()
    step = tiny.visual.patch_size if isinstance(tiny.visual, Patch) else 64
    height, width = (max(1, math.ceil(side / SHRINK / step)) * step for side in spec.input.image_size)
    return tiny.with_input(image_size=(height, width), text_tokens=spec.input.text_tokens)
