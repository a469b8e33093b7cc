"""Weights of a timm model for a visual embedder that is one, under timm's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vlbench.architectures.checkpoints.rules import COUNTER, State, refuse_gaps, refuse_shapes, refuse_values
from vlbench.errors import InputError, SpecError

if TYPE_CHECKING:
    from vlbench.architectures.timm_backbone import TimmTrunk


def load_backbone(trunk: TimmTrunk, state: State, *, source: str) -> str:
    """Fills a trunk from a checkpoint of its timm model, and gives its title.

    Only the classifier, and what lies behind the features that are read, may be left over. Raises InputError, in one
    line, where a tensor is missing, of another shape, or none of that model.
    """
    from vlbench.architectures.timm_backbone import create  # noqa: PLC0415  slow to import, and few models need it

    title, expected = f"a checkpoint of timm's {trunk.spec.model}", trunk.model.state_dict()
    with torch.device("meta"):
        known = create(trunk.spec, num_classes=1).state_dict()
    filled = {name: state[name] for name in expected if name in state}
    missing = [name for name in expected if name not in state and not name.endswith(COUNTER)]
    refuse_gaps(title, source, missing, [name for name in state if name not in known])
    refuse_shapes(title, source, filled, expected)
    refuse_values(title, source, {name: tensor for name, tensor in filled.items() if tensor.is_floating_point()})
    trunk.model.load_state_dict(filled, strict=False)
    return title


def load_fetched(trunk: TimmTrunk) -> str:
    """Fills a trunk with the weights that timm fetches, and gives its title.

    Raises InputError, in one line, where timm has none or cannot fetch them.
    """
    from vlbench.architectures.timm_backbone import create, reason_of  # noqa: PLC0415  slow to import

    try:
        fetched = create(trunk.spec, pretrained=True).state_dict()
    except (SpecError, OSError) as error:
        cause = error.__cause__ or error
        raise InputError(
            f"weights pretrained: timm cannot fetch those of {trunk.spec.model} ({reason_of(cause)}); fetch the "
            "checkpoint elsewhere and name its file as visual.weights"
        ) from error
    trunk.model.load_state_dict({name: fetched[name] for name in trunk.model.state_dict()})
    return f"timm's pretrained {trunk.spec.model}"
