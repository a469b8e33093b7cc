"""What one forward pass of a model costs, whatever it runs on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Counts(BaseModel):
    """Parameters of a model, and multiply-accumulates of one forward pass of a whole batch, as a whole and by stage.

    `flops` is 2 x `macs`. `params_table6` and `flops_table6` count as ViLT's Table 6 does (docs/table6.md), one example
    a pass; None where that table has no such architecture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_tokens: int
    text_tokens: int
    params_total: int
    params_trainable: int
    params_by_stage: dict[str, int]
    macs: int
    macs_by_stage: dict[str, int]
    flops: int
    params_table6: int | None = None
    flops_table6: int | None = None
