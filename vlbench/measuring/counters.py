"""Three counters of MACs by module: vlbench's, fvcore's and PyTorch's. Each runs one forward pass."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vlbench.measuring.attribution import Attribution
from vlbench.measuring.macs import UNCOUNTED, CountingMode, unfused_forward
from vlbench.measuring.traffic import Traffic

MOST_DEPTH = 8  # to which tensors are looked for; a list may hold itself


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedPass:
    """A model with the inputs of one forward pass, and its stages.

    `stage_parts` are the modules of each stage, which is no module itself where they are several.
    """

    module: nn.Module
    arguments: tuple[Any, ...]
    named_arguments: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, nn.Module] = field(default_factory=dict)
    stage_parts: Mapping[str, Sequence[nn.Module]] = field(default_factory=dict)

    def run(self) -> Any:
        return self.module(*self.arguments, **self.named_arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassCount:
    """What a counter found in a pass. Bytes are of vlbench's counter alone; None where a stage cannot be attributed."""

    macs: int
    by_module: Mapping[str, int]
    by_stage: Mapping[str, int | None]
    by_operator: Mapping[str, int]
    skipped: Mapping[str, int]
    never_called: tuple[str, ...] = ()
    bytes_by_module: Mapping[str, int] = field(default_factory=dict)
    bytes_by_stage: Mapping[str, int] = field(default_factory=dict)


def paths_of(path: str) -> frozenset[str]:
    """The path of a module and of all that it is inside, the whole model included."""
    steps = path.split(".")
    return frozenset(".".join(steps[:length]) for length in range(len(steps) + 1))


@contextmanager
def _attributed(counted: CountedPass, read: Callable[[], tuple[int, ...]]) -> Iterator[tuple[Attribution, Attribution]]:
    """Attributions to the stages and to the modules of a pass; a call of a shared module belongs to its first path."""
    stages, modules = Attribution(read), Attribution(read, innermost=True)
    by_path = {
        path: (module, paths_of(path))
        for path, module in counted.module.named_modules()
        if not isinstance(module, torch.jit.ScriptModule)  # takes no hooks
    }
    by_stage = {name: (stage, {name}) for name, stage in counted.stages.items()}
    with stages.to(by_stage), modules.to(by_path), unfused_forward():
        yield stages, modules


def count_by_vlbench(counted: CountedPass) -> PassCount:
    """An operator that is not known is skipped, and so is what has no agreed MACs."""
    mode = CountingMode(lenient=True)
    with _attributed(counted, mode.amounts) as (stages, modules), mode:
        counted.run()
    return PassCount(
        macs=mode.total,
        by_module={path: amounts[0] for path, amounts in modules.amounts.items()},
        by_stage={name: stages.of(name)[0] for name in counted.stages},
        by_operator={name: macs for name, macs in mode.by_operator.items() if macs},
        skipped=mode.unknown + Counter({name: mode.calls[name] for name in UNCOUNTED}),
        bytes_by_module={path: Traffic(*amounts[1:]).bytes(4) for path, amounts in modules.amounts.items()},
        bytes_by_stage={name: Traffic(*stages.of(name)[1:]).bytes(4) for name in counted.stages},
    )


def count_by_torch(counted: CountedPass) -> PassCount:
    """PyTorch's FLOPs are 2 x MACs. It is silent where it has no formula: an operator that vlbench counts, or does not
    know, is listed."""
    flops, seen = FlopCounterMode(display=False), CountingMode(lenient=True)
    with _attributed(counted, lambda: (flops.get_total_flops(),)) as (stages, modules), seen, flops:
        counted.run()
    known = {packet._qualified_op_name for packet in flops.flop_registry if hasattr(packet, "_qualified_op_name")}
    return PassCount(
        macs=flops.get_total_flops() // 2,
        by_module={path: amounts[0] // 2 for path, amounts in modules.amounts.items()},
        by_stage={name: stages.of(name)[0] // 2 for name in counted.stages},
        by_operator={str(packet): amount // 2 for packet, amount in flops.get_flop_counts()["Global"].items()},
        skipped={name: times for name, times in (seen.calls + seen.unknown).items() if name not in known},
    )


def count_by_fvcore(counted: CountedPass) -> PassCount:
    """fvcore calls one multiply-accumulate a flop, and counts norms, pooling and interpolation by element, too.

    It needs a real pass: on the meta device TorchScript's trace loses operators.
    """
    from fvcore.nn import FlopCountAnalysis  # noqa: PLC0415  slow to import

    traced = _FromTensors(counted)
    analysis = FlopCountAnalysis(traced, traced.tensors).unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False).tracer_warnings("none")
    with unfused_forward(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_module = {_inner(path): int(macs) for path, macs in analysis.by_module().items()}
    modules = dict(counted.module.named_modules())
    path_of = {module: path for path, module in modules.items()}
    uncalled = sorted(path for name in analysis.uncalled_modules() if (path := _inner(name)) in modules)
    return PassCount(
        macs=int(analysis.total()),
        by_module=by_module,
        by_stage={
            name: sum(by_module[path_of[part]] for part in parts) if all(part in path_of for part in parts) else None
            for name, parts in counted.stage_parts.items()
        },
        by_operator={name: int(macs) for name, macs in analysis.by_operator().items() if macs},
        skipped=analysis.unsupported_ops(),
        never_called=tuple(path for path in uncalled if _is_layer(modules[path])),
    )


BY_NAME = {"vlbench": count_by_vlbench, "fvcore": count_by_fvcore, "torch": count_by_torch}
ON_SHAPES = ("vlbench", "torch")  # they can count on the meta device


def _is_layer(module: nn.Module) -> bool:
    """Whether it can be called, and has weights; fvcore takes an Identity for a module that was never called."""
    return type(module).forward is not nn.Module.forward and any(True for _ in module.parameters())


def _inner(path: str) -> str:
    """A path within the traced wrapper as one within the model."""
    return path.removeprefix("model").removeprefix(".")


class _FromTensors(nn.Module):
    """A pass from tensors alone to tensors alone, as a trace needs it."""

    def __init__(self, counted: CountedPass) -> None:
        super().__init__()
        self.model = counted.module
        self.inputs = (counted.arguments, dict(counted.named_arguments))
        self.tensors = tuple(tensors_of(self.inputs))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        arguments, named = map_tensors(self.inputs, lambda _: next(given))
        return tuple(tensors_of(self.model(*arguments, **named)))


def tensors_of(value: Any, depth: int = MOST_DEPTH) -> Iterator[Tensor]:
    """Every tensor in a value, also within tuples, lists, mappings and dataclasses, in the order of `map_tensors`."""
    if isinstance(value, Tensor):
        yield value
        return
    inner: Iterable[Any] = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif is_dataclass(value) and not isinstance(value, type):
        inner = (getattr(value, item.name) for item in fields(value))
    for item in inner if depth else ():
        yield from tensors_of(item, depth - 1)


def arguments_of(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs as the positional and the named arguments of a call: a mapping is named, a tuple is several."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return inputs if isinstance(inputs, tuple) else (inputs,), {}


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """The value with each tensor changed, also within tuples, lists, mappings and dataclasses."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        changed = {key: map_tensors(item, change) for key, item in value.items()}
        return changed if type(value) is dict else _like(value, changed)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(item, change) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(item, change) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return _like(value, {item.name: map_tensors(getattr(value, item.name), change) for item in fields(value)})
    return value


def _like(value: Any, content: dict[str, Any]) -> Any:
    """Of the same class; as it was, if that takes other arguments."""
    try:
        return type(value)(**content)
    except TypeError:
        return value
