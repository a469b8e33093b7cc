"""A cell: a model, its input and the settings that it is measured with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from vlbench.frozen import Frozen
from vlbench.measuring.machine import Machine
from vlbench.measuring.records import Precision
from vlbench.runner.backends import EAGER, Scope, check_backend, is_converted
from vlbench.runner.records import Result
from vlbench.specs import AnySpec
from vlbench.version import __version__

L2 = Literal["warm", "cold"]  # the cache of a GPU before each sample: as the last pass left it, or emptied


class Cell(Frozen):
    """A model, its input and the settings it is measured with."""

    action: ClassVar = "restart"

    spec: AnySpec
    image: Path
    image_sha256: str
    text: str
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "fp32"
    backend: str = EAGER
    scope: Scope = "stages"
    batch: int = Field(default=1, ge=1)
    l2: L2 = "warm"
    threads: int = Field(default=1, ge=1)
    budget_seconds: float = Field(default=45, gt=0)
    within: float = Field(default=0.02, gt=0)
    restarts: int | None = Field(default=None, ge=1)

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, name: str) -> str:
        return check_backend(name)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def is_converted(self) -> bool:
        """Whether its backend or its precision changes the model before it is measured."""
        return is_converted(self.backend, self.precision)

    def hash(self) -> str:
        """Of everything that the result depends on, but for how long to measure and where the image lies."""
        settings = self.model_dump(mode="json", exclude={"spec", "image", "budget_seconds", "within", "restarts"})
        if self.l2 == "warm":
            del settings["l2"]  # the only choice once, and still that of a CPU
        if self.scope == "stages":
            del settings["scope"]
        text = json.dumps({"spec": self.spec.hash(), **settings}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def blank_result(cell: Cell, machine: Machine, **values: Any) -> Result:
    """A result that says what the cell was; `values` say what came of it."""
    described = {
        "model": cell.spec.name,
        "family": cell.spec.family,
        "archetype": cell.spec.archetype,
        "device": cell.device,
        "precision": cell.precision,
        "backend": cell.backend if cell.spec.engine == "torchvision" else f"{cell.backend}+{cell.spec.engine}",
        "scope": cell.scope if cell.is_converted else None,
        "batch": cell.batch,
        "l2": cell.l2 if cell.device == "cuda" else None,
        "image_size": cell.spec.input.image_size,
        "text_tokens": cell.spec.input.text_tokens,
        "machine": machine,
        "image_sha256": cell.image_sha256,
        "text": cell.text,
        "budget_seconds": cell.budget_seconds,
        "within": cell.within,
        "seed": cell.spec.seed,
        "weights": cell.spec.weights_label,
        "spec_hash": cell.spec.hash(),
        "cell_hash": cell.hash(),
        "vlbench_version": __version__,
    }
    return Result(**(described | values))
