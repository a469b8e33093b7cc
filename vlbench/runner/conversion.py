"""What a backend is given and what it gives: a workload that is built once, and the same one prepared for execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import torch
from torch import nn

from vlbench.architectures.build import AnyModel
from vlbench.architectures.huggingface_stages import Called
from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.errors import InputError, first_line, is_out_of_memory, shortened
from vlbench.measuring.records import Precision, Scope

Inputs: TypeAlias = tuple[Text | None, Images | RegionFeatures | None]
Pass: TypeAlias = partial[Any]  # one forward pass: a module and its arguments
WHOLE = "model"  # the only part of a model that is converted as a whole


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
        run: executes any pass of the model; None if only `forward` can be executed.
        eager_stages: why a stage, or a part of it, could not be converted and stays eager, by its name.
        options: of the runtime.
        holds_weights: whether the runtime has the weights of what was converted.
    """

    forward: Callable[[], Any]
    stages: Mapping[str, nn.Module]
    parts: Sequence[ConvertedPart] = ()
    run: Callable[[Pass], Any] | None = None
    eager_stages: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str | int] = field(default_factory=dict)
    holds_weights: bool = False

    def release_weights(self, model: nn.Module) -> None:
        """Frees the weights that only converted parts read, of which the runtime has its own."""
        if not self.holds_weights:
            return
        converted = {id(module) for part, _ in self.parts for module in owner_of(part.module).modules()}
        owners = {id(owner_of(part.module)) for part, _ in self.parts if isinstance(part.module, Called)}
        kept = {
            id(tensor)
            for module in model.modules()
            if id(module) not in converted or id(module) in owners
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
        }
        for part, _ in self.parts:
            for tensor in (*owner_of(part.module).parameters(), *owner_of(part.module).buffers()):
                if id(tensor) not in kept:
                    tensor.data = torch.empty(0, dtype=tensor.dtype)


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
        calls: the arguments of its calls in the workload's passes, that of `forward` first.
        calibration: the same in the passes for calibration.
        target: of the workload.
    """

    name: str
    module: nn.Module
    eager: Callable[..., Any]
    calls: Sequence[StageInputs]
    calibration: Sequence[StageInputs]
    target: Target


class ConvertedPart(NamedTuple):
    """What computes the `forward` of a part."""

    part: Part
    forward: Callable[..., Any]


class NotConvertibleError(Exception):
    """A stage that a backend cannot convert; the message is the reason, for a user."""


Convert: TypeAlias = Callable[[Part], Callable[..., Any]]


def convert_workload(workload: Workload, convert: Convert) -> PreparedWorkload:
    """Converts the whole model or its stages, as the target says; whatever lies between stages stays eager.

    Args:
        workload: its modules are changed: each part gets the converted `forward`, so that its calls can be timed.
        convert: gives what computes a part's `forward`, for calls like those given. A stage for which it raises an
            error stays eager, and is listed with the reason.

    Raises InputError for a whole model that cannot be converted, and where none of its stages can.
    """
    if workload.target.scope == "model":
        return _convert_whole(workload, convert)
    parts_by_stage, eager_stages = _parts_of(workload)
    converted: list[ConvertedPart] = []
    for stage, parts in parts_by_stage.items():
        try:
            done = [ConvertedPart(part, _converted(part, convert)) for part in parts]
        except NotConvertibleError as error:
            eager_stages[stage] = str(error)
            continue
        converted += done
    if eager_stages and not converted:
        stage, reason = next(iter(eager_stages.items()))
        raise InputError(f"no stage can be converted; {stage}: {reason}")
    for part, forward in converted:
        part.module.forward = forward
    return PreparedWorkload(
        forward=workload.forward,
        stages=workload.stages,
        parts=converted,
        run=lambda passed: passed(),
        eager_stages=eager_stages,
    )


def _convert_whole(workload: Workload, convert: Convert) -> PreparedWorkload:
    for name, modules in workload.convertible.items():
        for module in modules:
            if reason := getattr(module, "stays_eager", None):
                raise InputError(f"--scope model: {name} {reason}, which no backend converts; --scope stages works")

    def arguments(passes: Sequence[Pass]) -> list[StageInputs]:
        return [StageInputs(some.args, some.keywords) for some in passes]

    forward = workload.forward
    part = Part(
        name=WHOLE,
        module=(module := cast(nn.Module, forward.func)),
        eager=module.forward,
        calls=arguments([forward, *workload.examples]),
        calibration=arguments(workload.calibration),
        target=workload.target,
    )
    try:
        converted = _converted(part, convert)
    except NotConvertibleError as error:
        raise InputError(f"--scope model: {error}; --scope stages may work") from error
    return PreparedWorkload(
        forward=partial(converted, *forward.args, **forward.keywords),
        stages={},
        parts=[ConvertedPart(part, converted)],
        run=lambda passed: converted(*passed.args, **passed.keywords),
    )


def _converted(part: Part, convert: Convert) -> Callable[..., Any]:
    """Raises NotConvertibleError for any error but that memory ran out."""
    try:
        return convert(part)
    except (NotConvertibleError, InputError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise NotConvertibleError(shortened(f"{type(error).__name__}: {first_line(error)}", 160)) from error


def _parts_of(workload: Workload) -> tuple[dict[str, list[Part]], dict[str, str]]:
    """The parts of each stage that a pass calls; and why a part of a stage is none, by the stage's name."""
    modules: dict[str, list[nn.Module]] = {}
    eager_stages: dict[str, str] = {}
    for stage, group in workload.convertible.items():
        modules[stage] = []
        for module in group:
            methods = getattr(module, "convertible_methods", None)
            modules[stage] += [module] if methods is None else [Called(module, name) for name in methods]
            if reason := getattr(module, "stays_eager", None):
                eager_stages[stage] = reason
    observed = [module for group in modules.values() for module in group]
    calls = stage_inputs(observed, [workload.forward, *workload.examples])
    calibration = stage_inputs(observed, workload.calibration)
    parts = {}
    for stage, group in modules.items():
        called = [module for module in group if module in calls]
        parts[stage] = [
            Part(
                name=stage if len(called) == 1 else f"{stage}-{index}",
                module=module,
                eager=module.forward,
                calls=calls[module],
                calibration=calibration.get(module, []),
                target=workload.target,
            )
            for index, module in enumerate(called)
        ]
    return parts, eager_stages


def stage_inputs(modules: Sequence[nn.Module], passes: Sequence[Pass]) -> dict[nn.Module, list[StageInputs]]:
    """The arguments of each module's calls in some passes."""
    inputs: dict[nn.Module, list[StageInputs]] = {}

    def observe(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        inputs.setdefault(module, []).append(StageInputs(positional, named))

    hooks = [module.register_forward_pre_hook(observe, with_kwargs=True) for module in modules]
    try:
        for run in passes:
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return inputs
