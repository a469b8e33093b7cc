"""Converts a workload part by part, or as a whole, with what a backend makes of each part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias, cast

import torch
from torch import nn

from vlbench.architectures.huggingface_stages import Called
from vlbench.errors import LONGEST_REASON, InputError, first_line, is_out_of_memory, shortened
from vlbench.measuring.counters import map_tensors, tensors_of
from vlbench.runner.conversion import (
    ConvertedPart,
    NotConvertibleError,
    Part,
    Pass,
    PreparedWorkload,
    StageInputs,
    Workload,
)
from vlbench.runner.exporting import flattened

WHOLE = "model"  # the name of the only part of a model that is converted as a whole
MOST_CALLS = 2  # of a part with tensors of the same shapes, that are kept

Convert: TypeAlias = Callable[[Part], Callable[..., Any]]


class ObservedCall(NamedTuple):
    """A call of a module in an eager pass, what it gave, and whether it changed its arguments in place."""

    inputs: StageInputs
    output: Any
    in_place: bool


def convert_workload(workload: Workload, convert: Convert) -> PreparedWorkload:
    """Converts the whole model or its stages, as the target says; whatever lies between stages stays eager.

    Args:
        workload: its modules are changed: each part gets the converted `forward`, so that its calls can be timed.
        convert: gives what computes a part's `forward`, for calls like those given. A part for which it raises an
            error stays eager, and is listed with the reason.

    Raises InputError for a whole model that cannot be converted, and where no stage can be.
    """
    if workload.target.scope == "model":
        return _convert_whole(workload, convert)
    parts_by_stage, eager_stages, outputs = _parts_of(workload)
    converted: list[ConvertedPart] = []
    for part in (part for parts in parts_by_stage.values() for part in parts):
        try:
            converted.append(ConvertedPart(part, _converted(part, convert)))
        except NotConvertibleError as error:
            eager_stages[part.name] = str(error)
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
        raise NotConvertibleError(shortened(f"{type(error).__name__}: {first_line(error)}", LONGEST_REASON)) from error


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
        if any(call.in_place for module in called for call in calls[module]):
            eager_stages[stage] = "changes its arguments in place"
            called = []
        parts[stage] = [
            Part(
                name=stage if len(called) == 1 else f"{stage}-{index}",
                module=module,
                eager=module.forward,
                calls=[call.inputs for call in calls[module]],
                outputs=[call.output for call in calls[module]],
                calibration=partial(_calls_of, module, calibration),
                target=workload.target,
            )
            for index, module in enumerate(called)
        ]
    return parts, eager_stages, outputs


def _calls_of(module: nn.Module, calls: Callable[[], Mapping[nn.Module, Sequence[ObservedCall]]]) -> list[StageInputs]:
    return [call.inputs for call in calls().get(module, ())]


def observe_calls(
    modules: Sequence[nn.Module], passes: Sequence[Pass], *, most: int = MOST_CALLS
) -> tuple[dict[nn.Module, list[ObservedCall]], list[Any]]:
    """Calls of each module in some passes, at most so many with tensors of the same shapes; and what the passes
    gave."""
    calls: dict[nn.Module, list[ObservedCall]] = {}
    seen: Counter[Hashable] = Counter()
    before: dict[nn.Module, tuple[StageInputs, list[int]]] = {}

    def remember(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        inputs = StageInputs(positional, named)
        sizes = (module, *(tensor.shape for tensor in tensors_of(inputs)))
        seen[sizes] += 1
        if seen[sizes] <= most:
            before[module] = _as_it_is(inputs), _versions(inputs)

    def observe(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if module not in before:
            return
        inputs, versions = before.pop(module)
        changed = versions != _versions((positional, named))
        kept = map_tensors(output, torch.clone)  # later code may change it in place, or put other tensors into it
        calls.setdefault(module, []).append(ObservedCall(inputs, kept, changed))

    hooks = [module.register_forward_pre_hook(remember, with_kwargs=True) for module in modules]
    hooks += [module.register_forward_hook(observe, with_kwargs=True) for module in modules]
    try:
        outputs = [run() for run in passes]
    finally:
        for hook in hooks:
            hook.remove()
    return calls, outputs


def _as_it_is(inputs: StageInputs) -> StageInputs:
    """The inputs of a call; a copy of them where they hold an object that the call may change, as a cache."""
    try:
        flattened(inputs)
    except NotConvertibleError:
        return deepcopy(inputs)
    return inputs


def _versions(inputs: Any) -> list[int]:
    """How often each tensor was changed in place; PyTorch does not count it for tensors of inference mode."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors_of(inputs)]
