"""Counts any PyTorch module, and what is inside it, without computing where its shapes suffice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from vlbench.errors import LONGEST_REASON, InputError, shortened
from vlbench.measuring.counters import BY_NAME, ON_SHAPES, CountedPass, PassCount, arguments_of, map_tensors
from vlbench.measuring.module_counts import CounterReport, ModuleCount, ModuleCounts, check_counters


def count_module(module: nn.Module, inputs: Any, *, counters: Sequence[str] = ("vlbench",)) -> ModuleCounts:
    """Counts a module for one forward pass in evaluation mode.

    The pass runs on a copy on the meta device, which takes no memory and computes nothing. Where the module or a
    counter needs values, it runs on a copy that shares its parameters. The module stays as it is.

    Args:
        module: any module.
        inputs: a tensor, a tuple of arguments, or a dict of named arguments.
        counters: of `vlbench`, `fvcore` and `torch`.

    Raises InputError for an unknown counter, and a module whose parameters have no shape yet; and what the module
    raises if it cannot run on these inputs.
    """
    names = check_counters(counters)
    if any(map(is_lazy, (*module.parameters(), *module.buffers()))):
        raise InputError(f"{type(module).__name__}: has parameters without shapes; run it once, then count it")
    arguments, named = arguments_of(inputs)

    def prepare(on_meta: bool) -> CountedPass:
        if on_meta:
            change: Callable[[Tensor], Tensor] = _on_meta
            copied = copy_of(module, on_meta=True)
        else:
            change = torch.detach
            try:
                copied = copy_of(module, on_meta=False)
            except Exception:  # any error of any class that does not copy: the module itself, whose flags are restored
                copied = module
        return CountedPass(
            module=copied.eval(),
            arguments=map_tensors(arguments, change),
            named_arguments=map_tensors(named, change),
        )

    with training_modes_kept(module):
        return count_modules(prepare, names)


@contextmanager
def training_modes_kept(module: nn.Module) -> Iterator[None]:
    """Afterwards each part of a module is in training or in evaluation mode as before."""
    modes = {part: part.training for part in module.modules()}
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def count_modules(prepare: Callable[[bool], CountedPass], counters: Sequence[str] = ("vlbench",)) -> ModuleCounts:
    """Counts a model by stage and by module.

    Each counter gets the model on the meta device, and, if it fails there, where it can compute. Another counter than
    vlbench's that fails has the reason in its report. Raises what the model raises if it cannot run.

    Args:
        prepare: makes the model and its inputs, on the meta device or where it can compute.
        counters: their names.
    """
    reports: dict[str, CounterReport] = {}
    counts: dict[str, PassCount | None] = {}
    real: list[CountedPass] = []

    def real_pass() -> CountedPass:
        if not real:
            real.append(prepare(False))
        return real[0]

    for name in counters:
        try:
            counts[name], reports[name] = _count(name, prepare, real_pass)
        except Exception as error:  # what a model or a tracer raises can be of any class
            if name == "vlbench":
                raise
            counts[name], reports[name] = None, _failed(error)
    shown = real[0] if real else prepare(True)
    return ModuleCounts(
        counters=reports,
        stages=tuple(_stage_rows(shown, counts)),
        modules=tuple(_module_rows(shown, counts)),
    )


def _count(
    name: str, prepare: Callable[[bool], CountedPass], real_pass: Callable[[], CountedPass]
) -> tuple[PassCount, CounterReport]:
    count, device = None, "meta"
    if name in ON_SHAPES:
        with suppress(Exception):  # what needs values raises errors of any class on the meta device
            count = BY_NAME[name](prepare(True))
    if count is None:
        counted = real_pass()
        count, device = BY_NAME[name](counted), _device_of(counted)
    return count, CounterReport(
        macs=count.macs,
        device=device,
        macs_by_operator=dict(count.by_operator),
        skipped=dict(sorted(count.skipped.items(), key=lambda item: (-item[1], item[0]))),
        never_called=count.never_called,
        error=None,
    )


def _failed(error: Exception) -> CounterReport:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = shortened(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__, LONGEST_REASON)
    return CounterReport(macs=None, device=None, macs_by_operator={}, skipped={}, never_called=(), error=reason)


def _module_rows(shown: CountedPass, counts: Mapping[str, PassCount | None]) -> Iterable[ModuleCount]:
    ours = counts.get("vlbench")
    for path, module in shown.module.named_modules():
        yield ModuleCount(
            path=path,
            type=type(module).__name__,
            params=_elements(module),
            macs={name: count.by_module.get(path, 0) if count else None for name, count in counts.items()},
            bytes_moved=ours.bytes_by_module.get(path, 0) if ours else None,
        )


def _stage_rows(shown: CountedPass, counts: Mapping[str, PassCount | None]) -> Iterable[ModuleCount]:
    ours = counts.get("vlbench")
    for stage, module in shown.stages.items():
        parts = shown.stage_parts[stage]
        yield ModuleCount(
            path=stage,
            type=type(parts[0]).__name__ if len(parts) == 1 else "",
            params=_elements(module),
            macs={name: count.by_stage[stage] if count else None for name, count in counts.items()},
            bytes_moved=ours.bytes_by_stage[stage] if ours else None,
        )


def _elements(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _device_of(counted: CountedPass) -> str:
    return next((parameter.device.type for parameter in counted.module.parameters()), "cpu")


def copy_of(module: nn.Module, *, on_meta: bool) -> nn.Module:
    """A copy on the meta device, or one whose parameters share the memory; other tensors are copied.

    Its parameters take no gradient, which confuses PyTorch's counter.
    """
    change = _on_meta if on_meta else torch.detach
    parameters = {id(parameter): nn.Parameter(change(parameter), False) for parameter in module.parameters()}
    with _CopiedTensors(on_meta):
        return copy.deepcopy(module, dict(parameters))


class _CopiedTensors(TorchFunctionMode):
    """Within it, a deep copy of a tensor that is no parameter is on the meta device, or has the same values."""

    def __init__(self, on_meta: bool) -> None:
        super().__init__()
        self.on_meta = on_meta

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = _on_meta(tensor) if self.on_meta else tensor.detach().clone()
        return memo[id(tensor)]


def _on_meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")
