"""What a backend is given and what it gives: a workload that is built once, and the same one prepared for execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import nn

from vlbench.architectures.build import AnyModel
from vlbench.architectures.huggingface_stages import Called
from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.measuring.records import Precision, Scope

Inputs: TypeAlias = tuple[Text | None, Images | RegionFeatures | None]
Pass: TypeAlias = partial[Any]  # one forward pass: a module and its arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """For what a workload is converted.

    Attributes:
        precision: in which a backend computes.
        scope: whether each stage is converted, or the whole model at once.
        threads: of the runtime.
        folder: where converted files are kept; another process with the same workload finds them there.
        fixed_shapes: whether a conversion may be specialised to the shapes that it is first called with.
    """

    folder: Path
    precision: Precision = "fp32"
    scope: Scope = "stages"
    threads: int = 1
    fixed_shapes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A model and a batch for it, built once, before a backend has changed anything.

    Attributes:
        model: in evaluation mode, on `device`, in the precision that the backend is given.
        inputs: text and images of one forward pass.
        forward: one forward pass.
        device: where it computes.
        stages: modules whose calls are timed, by name; `visual.backbone` lies within `visual`.
        convertible: the modules of each stage that has no stage within it: what a backend may convert one by one.
        target: for what it is converted.
        examples: passes with inputs of other sizes.
        calibration: passes from whose values static quantisation takes its ranges.
    """

    model: AnyModel
    inputs: Inputs
    forward: Pass
    device: torch.device
    stages: Mapping[str, nn.Module]
    convertible: Mapping[str, Sequence[nn.Module]]
    target: Target
    examples: Sequence[Pass] = ()
    calibration: Sequence[Pass] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedWorkload:
    """A workload as a backend executes it.

    Attributes:
        forward: one forward pass, which gives what the model gives.
        stages: modules that `forward` calls and whose calls are timed; empty if it can only be timed as a whole.
        parts: what was converted, with the stage of each.
        outputs: what eager PyTorch gives for `forward` and for each example.
        run: executes any pass of the model; None if only `forward` can be executed.
        eager_stages: why a stage, or a part of it, could not be converted and stays eager, by its name.
        options: of the runtime.
        holds_weights: whether the runtime has the weights of what was converted.
    """

    forward: Callable[[], Any]
    stages: Mapping[str, nn.Module]
    parts: Sequence[ConvertedPart] = ()
    outputs: Sequence[Any] = ()
    run: Callable[[Pass], Any] | None = None
    eager_stages: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str | int] = field(default_factory=dict)
    holds_weights: bool = False

    def release_weights(self, model: nn.Module) -> None:
        """Frees the weights that only converted parts read, of which the runtime has its own.

        A method that is a part shares the weights of its module with other methods, unless that declares which convert.
        """
        if not self.holds_weights:
            return
        released = [part.module for part, _ in self.parts if _has_own_weights(part.module)]
        converted = {id(module) for part in released for module in owner_of(part).modules()}
        owners = {id(part.owner) for part in released if isinstance(part, Called)}
        kept = {
            id(tensor)
            for module in model.modules()
            if id(module) not in converted or id(module) in owners
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
        }
        for part in released:
            for tensor in (*owner_of(part).parameters(), *owner_of(part).buffers()):
                if id(tensor) not in kept:
                    tensor.data = torch.empty((), dtype=tensor.dtype).expand(tensor.shape)  # code may ask its shape


def _has_own_weights(module: nn.Module) -> bool:
    return not isinstance(module, Called) or hasattr(module.owner, "convertible_methods")


def owner_of(module: nn.Module) -> nn.Module:
    """The module that has the weights of a part."""
    return module.owner if isinstance(module, Called) else module


class Backend(Protocol):
    """Turns a workload into callables. It is made and used once, in the process that measures, without gradients."""

    def prepare(self, workload: Workload) -> PreparedWorkload:
        """Converts the stages or the whole model. Raises InputError where the backend cannot be used here."""
        ...


class StageInputs(NamedTuple):
    """The arguments of a call of a stage's module."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A module that is converted.

    Attributes:
        name: of its stage, with a number where the stage has several parts.
        module: its `forward` is what is converted.
        eager: that `forward`, as the module has it before.
        calls: the arguments of its calls in the workload's passes, that of `forward` first; `MOST_CALLS` of each size.
        outputs: what eager PyTorch gave for each.
        calibration: gives the same in the passes for calibration, which are run when they are first needed.
        target: of the workload.
    """

    name: str
    module: nn.Module
    eager: Callable[..., Any]
    calls: Sequence[StageInputs]
    outputs: Sequence[Any]
    calibration: Callable[[], Sequence[StageInputs]]
    target: Target


class ConvertedPart(NamedTuple):
    """What computes the `forward` of a part."""

    part: Part
    forward: Callable[..., Any]


class NotConvertibleError(Exception):
    """A stage that a backend cannot convert; the message is the reason, for a user."""
