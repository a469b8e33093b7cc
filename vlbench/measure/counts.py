"""What one forward pass of a model costs, whatever it runs on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Counts(BaseModel):
    """Parameters of a model, and multiply-accumulates of one forward pass of a whole batch, as a whole and by stage.

    `flops` is 2 x `macs`. `params_table6`, `macs_table6` and `flops_table6` are of the parts and the tokens that ViLT's
    Table 6 counts for one example, the last in its own convention (docs/table6.md); None for architectures that it does
    not know. `operators` is how many operators PyTorch dispatches, the cheap ones included.

    `bytes_moved` is what these operators read and write, each by itself, with elements of the size that they have in
    the precision asked for (docs/methodology.md); None where an older version of vlbench counted.
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
    operators: int
    bytes_moved: int | None = None
    bytes_moved_by_stage: dict[str, int] | None = None
    params_table6: int | None = None
    macs_table6: int | None = None
    flops_table6: int | None = None
