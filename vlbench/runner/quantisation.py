"""Dynamic quantisation of PyTorch's own linear layers, through torchao."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from torch import nn

from vlbench.errors import InputError, first_line
from vlbench.runner.conversion import NotConvertibleError, Part, owner_of


def quantised(part: Part) -> Callable[..., Any]:
    """The forward of a part whose linear layers now have weights in 8 bits, a scale for each output, and quantise each
    row of their inputs.

    Raises NotConvertibleError for a part without linear layers, InputError where torchao is absent.
    """
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # torchao's import uses what it deprecates
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_  # noqa: PLC0415  an extra
    except ImportError as error:
        raise InputError(
            f"--precision int8: PyTorch needs torchao ({first_line(error)}); pip install 'vlbench[int8]' installs it"
        ) from error
    module = owner_of(part.module)
    if not any(isinstance(layer, nn.Linear) for layer in module.modules()):
        raise NotConvertibleError("stays in fp32: it has no linear layers")
    quantize_(module, Int8DynamicActivationInt8WeightConfig())
    return part.eager
