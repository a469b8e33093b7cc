"""What a backend is given and what it gives: a workload that is built once, and the same one prepared for execution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import torch
from torch import nn

from vlbench.architectures.build import AnyModel
from vlbench.architectures.huggingface_stages import Called
from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.errors import LONGEST_REASON, InputError, first_line, is_out_of_memory, shortened
from vlbench.measuring.counters import tensors_of
from vlbench.measuring.records import Precision
from vlbench.runner.backends import Scope

Inputs: TypeAlias = tuple[Text | None, Images | RegionFeatures | None]
Pass: TypeAlias = partial[Any]  # one forward pass: a module and its arguments
WHOLE = "model"  # the only part of a model that is converted as a whole
MOST_CALLS = 2  # of a part with tensors of the same shapes, that are kept


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


class ObservedCall(NamedTuple):
    """A call of a module in an eager pass, and what it gave."""

    inputs: StageInputs
    output: Any


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


Convert: TypeAlias = Callable[[Part], Callable[..., Any]]


def convert_workload(workload: Workload, convert: Convert) -> PreparedWorkload:
    """Converts the whole model or its stages, as the target says; whatever lies between stages stays eager.

    Args:
        workload: its modules are changed: each part gets the converted `forward`, so that its calls can be timed.
        convert: gives what computes a part's `forward`, for calls like those given. A stage for which it raises an
            error stays eager, and is listed with the reason.

    Raises InputError for a whole model that cannot be converted, and where no stage can be.
    """
    if workload.target.scope == "model":
        return _convert_whole(workload, convert)
    parts_by_stage, eager_stages, outputs = _parts_of(workload)
    converted: list[ConvertedPart] = []
    for stage, parts in parts_by_stage.items():
        try:
            done = [ConvertedPart(part, _converted(part, convert)) for part in parts]
        except NotConvertibleError as error:
            eager_stages[stage] = str(error)
            continue
        converted += done
    if not converted:
        reasons = "; ".join(f"{stage}: {reason}" for stage, reason in eager_stages.items())
        raise InputError(f"no stage could be converted ({shortened(reasons, LONGEST_REASON)})")
    for part, forward in converted:
        part.module.forward = forward
    return PreparedWorkload(
        forward=workload.forward,
        stages=workload.stages,
        parts=converted,
        outputs=outputs,
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
    outputs = [run() for run in (forward, *workload.examples)]
    part = Part(
        name=WHOLE,
        module=(module := cast(nn.Module, forward.func)),
        eager=module.forward,
        calls=arguments([forward, *workload.examples]),
        outputs=outputs,
        calibration=partial(arguments, workload.calibration),
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
        outputs=outputs,
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
        raise NotConvertibleError(shortened(f"{type(error).__name__}: {_reason(error)}", LONGEST_REASON)) from error


def _reason(error: Exception) -> str:
    """What an error says; OpenVINO's and the exporter's say first where they were raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "## Exception summary" in lines:
        return lines[lines.index("## Exception summary") + 1]
    return lines[-1] if lines and lines[0].startswith("Exception from") else first_line(error)


def _parts_of(workload: Workload) -> tuple[dict[str, list[Part]], dict[str, str], list[Any]]:
    """The parts of each stage that a pass calls; why a part of a stage is none, by the stage's name; and what the
    passes gave."""
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
    calls, outputs = observe_calls(observed, [workload.forward, *workload.examples])
    calibration = cache(lambda: observe_calls(observed, workload.calibration, most=len(workload.calibration))[0])
    parts = {}
    for stage, group in modules.items():
        called = [module for module in group if module in calls]
        parts[stage] = [
            Part(
                name=stage if len(called) == 1 else f"{stage}-{index}",
                module=module,
                eager=module.forward,
                calls=[inputs for inputs, _ in calls[module]],
                outputs=[output for _, output in calls[module]],
                calibration=partial(_calls_of, module, calibration),
                target=workload.target,
            )
            for index, module in enumerate(called)
        ]
    return parts, eager_stages, outputs


def _calls_of(module: nn.Module, calls: Callable[[], Mapping[nn.Module, Sequence[ObservedCall]]]) -> list[StageInputs]:
    return [inputs for inputs, _ in calls().get(module, ())]


def observe_calls(
    modules: Sequence[nn.Module], passes: Sequence[Pass], *, most: int = MOST_CALLS
) -> tuple[dict[nn.Module, list[ObservedCall]], list[Any]]:
    """Calls of each module in some passes, at most so many with tensors of the same shapes; and what the passes
    gave."""
    calls: dict[nn.Module, list[ObservedCall]] = {}
    seen: Counter[Hashable] = Counter()

    def observe(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        inputs = StageInputs(positional, named)
        sizes = (module, *(tensor.shape for tensor in tensors_of(inputs)))
        seen[sizes] += 1
        if seen[sizes] <= most:
            calls.setdefault(module, []).append(ObservedCall(inputs, output))

    hooks = [module.register_forward_hook(observe, with_kwargs=True) for module in modules]
    try:
        outputs = [run() for run in passes]
    finally:
        for hook in hooks:
            hook.remove()
    return calls, outputs
