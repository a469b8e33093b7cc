"""Whether a pass asks the host for a value, so that a GPU has to wait and no CUDA graph can record it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers import each_model, tiny
from vlbench.architectures.build import build
from vlbench.inputs import read_example
from vlbench.measuring.gpu import probe
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.workload import prepare_batch
from vlbench.specs.catalog import catalog

WAITING = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "_unique2", "equal", "nms"}
FROM_THE_HOST = {"tensor", "as_tensor", "from_numpy", "tolist", "item", "numpy", "cpu"}


class Operators(TorchDispatchMode):
    """Collects operators whose output, or its size, the host has to know."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            getattr(index, "dtype", None) == torch.bool
            for arg in args
            if isinstance(arg, list | tuple)
            for index in arg
        )
        if name in WAITING or by_mask:
            self.found.add(name)
        return function(*args, **(kwargs or {}))


class Calls(TorchFunctionMode):
    """Collects calls that move values between the host and the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.__name__ in FROM_THE_HOST:
            self.found.add(function.__name__)
        return function(*args, **(kwargs or {}))


def asked_of_the_host(name: str) -> set[str]:
    """In the second pass: what is made once is kept."""
    settings = RunSettings(threads=1, device="cpu", batch=2)
    (cell,) = expand([tiny(name)], read_example(None, None), settings, probe(1))
    model, inputs = build(cell.spec).eval(), prepare_batch(cell)
    with torch.inference_mode():
        model(*inputs)
        with Operators() as operators, Calls() as calls:
            model(*inputs)
    return operators.found | calls.found


@pytest.mark.parametrize(
    "name",
    each_model(name for name, spec in catalog().items() if spec.family != "region" and not name.startswith("hf-")),
)
def test_no_patch_or_grid_model_does(name: str) -> None:
    assert asked_of_the_host(name) == set()


def test_suppression_does() -> None:
    assert "nms" in asked_of_the_host("uniter-base-table6")


def test_so_does_a_mask_and_a_value() -> None:
    values = torch.arange(4.0)
    with Operators() as operators, Calls() as calls:
        values[values > 1].sum().item()
    assert operators.found >= {"index", "_local_scalar_dense"}
    assert calls.found == {"item"}
