"""What a backend is given and what it gives: a workload that is built once, and the same one prepared for execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import nn

from vlbench.architectures.build import AnyModel
from vlbench.architectures.interfaces import Images, RegionFeatures, Text

Inputs: TypeAlias = tuple[Text | None, Images | RegionFeatures | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A model and a batch for it, built once, before a backend has changed anything.

    Attributes:
        model: in evaluation mode, on `device`, in the precision that is measured.
        inputs: text and images of one forward pass.
        forward: one forward pass of the model.
        stages: modules whose calls are timed, by name; `visual.backbone` lies within `visual`.
        convertible: the modules of each stage that has no stage within it: what a backend may convert one by one.
    """

    model: AnyModel
    inputs: Inputs
    forward: Callable[[], Any]
    device: torch.device
    stages: Mapping[str, nn.Module]
    convertible: Mapping[str, Sequence[nn.Module]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedWorkload:
    """A workload as a backend executes it.

    Attributes:
        forward: one forward pass, which gives what the model gives.
        stages: modules that `forward` calls and whose calls are timed; empty if it can only be timed as a whole.
        eager_stages: why a stage could not be converted and stays eager, by its name.
        size_bytes: on disk, of what was converted; None if nothing is written.
    """

    forward: Callable[[], Any]
    stages: Mapping[str, nn.Module]
    eager_stages: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int | None = None


class Backend(Protocol):
    """Turns a workload into callables. It is made and used once, in the process that measures, without gradients."""

    def prepare(self, workload: Workload) -> PreparedWorkload:
        """Converts the stages or the whole model. Raises InputError where the backend cannot be used here."""
        ...


class StageInputs(NamedTuple):
    """The arguments of the first call of a stage's module in a forward pass."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


class NotConvertibleError(Exception):
    """A stage that a backend cannot convert; the message is the reason, for a user."""


def convert_stages(
    workload: Workload, convert: Callable[[nn.Module, StageInputs], Callable[..., Any]]
) -> PreparedWorkload:
    """Converts the stages one by one; whatever lies between them stays eager.

    Args:
        workload: its modules are changed: each gets the converted `forward`, so that its calls can still be timed.
        convert: gives what computes a module's `forward`, for inputs like those given. A stage for which it raises
            NotConvertibleError stays eager, and is listed with the reason.
    """
    inputs = _stage_inputs(workload)
    eager_stages = {}
    for name, modules in workload.convertible.items():
        called = [module for module in modules if module in inputs]
        try:
            converted = [convert(module, inputs[module]) for module in called]
        except NotConvertibleError as error:
            eager_stages[name] = str(error)
            continue
        for module, forward in zip(called, converted, strict=True):
            module.forward = forward
    return PreparedWorkload(forward=workload.forward, stages=workload.stages, eager_stages=eager_stages)


def _stage_inputs(workload: Workload) -> dict[nn.Module, StageInputs]:
    """From one forward pass."""
    inputs: dict[nn.Module, StageInputs] = {}

    def observe(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        inputs.setdefault(module, StageInputs(positional, named))

    modules = [module for group in workload.convertible.values() for module in group]
    hooks = [module.register_forward_pre_hook(observe, with_kwargs=True) for module in modules]
    workload.forward()
    for hook in hooks:
        hook.remove()
    return inputs
