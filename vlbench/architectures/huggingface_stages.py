"""The modules and methods of a transformers model as the stages that vlbench times and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from inspect import ismethod
from typing import Any

from torch import nn

from vlbench.errors import SpecError, nearest, quoted

ORDER = ("text", "visual", "interaction", "head")


class Called(nn.Module):
    """A method of a module as a module, so that hooks and counters see its calls.

    It replaces the method on that one object, and holds none of its weights.
    """

    owner: nn.Module

    def __init__(self, owner: nn.Module, name: str) -> None:
        super().__init__()
        self.__dict__["owner"] = owner  # no child: the owner is its parent
        self.method = getattr(owner, name)
        owner.__dict__[name] = self

    def forward(self, *positional: Any, **named: Any) -> Any:
        return self.method(*positional, **named)


class Stage(nn.Module):
    """Modules that are timed and counted as one. It is never called itself: its hooks are put on the modules.

    Args:
        parts: modules that run one after the other, none within another.
        weights: of these modules.
    """

    def __init__(self, parts: Sequence[nn.Module], weights: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.parts, self.weights = tuple(parts), tuple(weights)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return iter(self.weights)

    def register_forward_pre_hook(self, hook: Callable, **options: Any) -> Any:  # type: ignore[override]
        return _Handles([part.register_forward_pre_hook(hook, **options) for part in self.parts])

    def register_forward_hook(self, hook: Callable, **options: Any) -> Any:  # type: ignore[override]
        return _Handles([part.register_forward_hook(hook, **options) for part in self.parts])


class _Handles(list):
    """Hooks that are removed together."""

    def remove(self) -> None:  # type: ignore[override]
        for handle in self:
            handle.remove()


def find_parts(model: nn.Module, stages: Mapping[str, Sequence[str]], where: str) -> dict[str, tuple[nn.Module, ...]]:
    """The modules of each stage, in the order of a forward pass, or as given where a stage has another name than those
    of vlbench's own models; a method becomes a module that calls it.

    Raises SpecError where a path names nothing, or a module is within another that is named too.
    """
    ordered = sorted(stages, key=_order) if all(name.partition(".")[0] in ORDER for name in stages) else list(stages)
    parts = {
        name: tuple(part for path in stages[name] for part in find(model, path, f"{where}: stages.{name}"))
        for name in ordered
    }
    for name, modules in parts.items():
        others = [part for other, theirs in parts.items() if _disjoint(name, other) for part in theirs]
        for part in modules:
            for inner in part.modules():
                if modules.count(inner) + others.count(inner) > (inner is part):
                    raise SpecError(f"{where}: stages.{name}: a {type(inner).__name__} within it is named twice")
    return parts


def _order(stage: str) -> int:
    return ORDER.index(stage.partition(".")[0])


def _disjoint(first: str, second: str) -> bool:
    """Whether two stages must share no module; a step is part of its stage."""
    return first != second and not second.startswith(f"{first}.") and not first.startswith(f"{second}.")


def find(model: nn.Module, path: str, where: str) -> list[nn.Module]:
    """The modules that a path of a stage names, or its method. Raises SpecError where it names nothing."""
    named = dict(model.named_modules())
    matching = [part for name, module in named.items() if name and _matches(name, path) for part in _callable(module)]
    if matching:
        return matching
    parent, _, last = path.rpartition(".")
    owner = named.get(parent)
    method = getattr(owner, last, None)
    if isinstance(method, Called):
        return [method]
    of_any_module = hasattr(nn.Module, last) and last != "forward"  # as `parameters`, which is no work of a pass
    if owner is None or not ismethod(method) or last.startswith("_") or of_any_module:
        raise SpecError(f"{where}: {type(model).__name__} has no module or method {quoted(path)}; {_near(path, named)}")
    return [Called(owner, last)]


def _callable(module: nn.Module) -> list[nn.Module]:
    """The module itself; of a list, which is never called, its members."""
    if not isinstance(module, nn.ModuleList | nn.ModuleDict):
        return [module]
    return [part for child in module.children() for part in _callable(child)]


def _matches(name: str, path: str) -> bool:
    steps, patterns = name.split("."), path.split(".")
    return len(steps) == len(patterns) and all(map(fnmatchcase, steps, patterns))


def _near(path: str, named: Mapping[str, nn.Module]) -> str:
    """The nearest path, or the names of the outermost modules."""
    near = nearest(path, filter(None, named))
    return near if near.startswith("did") else nearest("", {name.split(".")[0] for name in named if name})


def as_stages(parts: Mapping[str, Sequence[nn.Module]]) -> dict[str, Stage]:
    """A stage has the weights of its modules; for a method, also those of its owner that no other stage has."""
    weights = {name: _weights(modules) for name, modules in parts.items()}
    stages = {}
    for name, modules in parts.items():
        taken = {id(weight) for other, theirs in weights.items() if _disjoint(name, other) for weight in theirs}
        owners = [part.owner for part in modules if isinstance(part, Called)]
        free = [weight for owner in owners for weight in owner.parameters() if id(weight) not in taken]
        unique = {id(weight): weight for weight in (*weights[name], *free)}
        stages[name] = Stage(modules, list(unique.values()))
    return stages


def _weights(parts: Sequence[nn.Module]) -> list[nn.Parameter]:
    return [weight for part in parts for weight in part.parameters()]


def unnamed(model: nn.Module, parts: Mapping[str, Sequence[nn.Module]]) -> str:
    """The path of the largest module that is in no stage; empty if there is none."""
    inside = {id(inner) for modules in parts.values() for part in modules for inner in part.modules()}
    sizes = {
        name: sum(weight.numel() for weight in module.parameters())
        for name, module in model.named_modules()
        if name and not any(id(inner) in inside for inner in module.modules())
    }
    return max(sizes, key=lambda name: (sizes[name], -len(name)), default="")
