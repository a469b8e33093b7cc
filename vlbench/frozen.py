"""The base of every pydantic class: specs, suites, presets and the records that a measurement leaves."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Cannot be changed, an unknown key is an error, and numbers are finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True, protected_namespaces=()
    )


# For dataclasses with slots: small records of which a results folder holds hundreds of thousands. They take a third of
# the memory of a `Frozen`.
COMPACT = ConfigDict(extra="forbid", allow_inf_nan=False)
