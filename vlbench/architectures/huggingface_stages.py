"""A foreign model's modules and methods as the stages that vlbench times and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from vlbench.errors import SpecError, nearest


class Called(nn.Module):
    """A method of a module as a module of its own, so that hooks and counters see its calls.

    It stands in the way of the method on that one object, and holds none of its weights.
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
    """Modules that are timed and counted as one. It is never called itself: its hooks are theirs.

    Args:
        parts: that run one after the other, none within another.
        weights: theirs.
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
    """Hooks that go together."""

    def remove(self) -> None:  # type: ignore[override]
        for handle in self:
            handle.remove()


def find_parts(model: nn.Module, stages: Mapping[str, Sequence[str]], where: str) -> dict[str, tuple[nn.Module, ...]]:
    """The modules of each stage, in the order of a forward pass; a method becomes a module that calls it.

    Raises SpecError where a path names nothing, or a module is within another that is named too.
    """
    parts = {
        name: tuple(part for path in stages[name] for part in _find(model, path, f"{where}: stages.{name}"))
        for name in sorted(stages, key=_place)
    }
    for name, own in parts.items():
        others = [part for other, theirs in parts.items() if _apart(name, other) for part in theirs]
        for part in own:
            inside = [inner for inner in part.modules() if inner is not part]
            doubled = [one for one in (*inside, part) if own.count(one) + others.count(one) > (one is part)]
            if doubled:
                raise SpecError(f"{where}: stages.{name}: a {type(doubled[0]).__name__} within it is named twice")
    return parts


def _place(stage: str) -> int:
    return ("text", "visual", "interaction", "head").index(stage.partition(".")[0])


def _apart(one: str, other: str) -> bool:
    """Whether two stages may share nothing: a step is within its stage."""
    return one != other and not other.startswith(f"{one}.") and not one.startswith(f"{other}.")


def _find(model: nn.Module, path: str, where: str) -> list[nn.Module]:
    named = dict(model.named_modules())
    found = [module for name, module in named.items() if name and _matches(name, path)]
    if found:
        return found
    parent, _, last = path.rpartition(".")
    owner = named.get(parent)
    method = getattr(owner, last, None)
    if isinstance(method, Called):
        return [method]
    if owner is None or not callable(method):
        raise SpecError(f"{where}: {type(model).__name__} has no module or method {path!r}; {_near(path, named)}")
    return [Called(owner, last)]


def _matches(name: str, path: str) -> bool:
    steps, wanted = name.split("."), path.split(".")
    return len(steps) == len(wanted) and all(map(fnmatchcase, steps, wanted))


def _near(path: str, named: Mapping[str, nn.Module]) -> str:
    """The nearest path, or what the model's outermost modules are called."""
    near = nearest(path, filter(None, named))
    return near if near.startswith("did") else nearest("", {name.split(".")[0] for name in named if name})


def as_stages(parts: Mapping[str, Sequence[nn.Module]]) -> dict[str, Stage]:
    """A stage's weights are its modules', and for a method its owner's that no other stage apart from it has."""
    held = {name: _held(own) for name, own in parts.items()}
    stages = {}
    for name, own in parts.items():
        others = {id(weight) for other, theirs in held.items() if _apart(name, other) for weight in theirs}
        owners = [part.owner for part in own if isinstance(part, Called)]
        left = [weight for owner in owners for weight in owner.parameters() if id(weight) not in others]
        unique = {id(weight): weight for weight in (*held[name], *left)}
        stages[name] = Stage(own, list(unique.values()))
    return stages


def _held(parts: Sequence[nn.Module]) -> list[nn.Parameter]:
    return [weight for part in parts for weight in part.parameters()]


def unnamed(model: nn.Module, parts: Mapping[str, Sequence[nn.Module]]) -> str:
    """The path of the largest module that lies in no stage; empty where all do."""
    inside = {id(inner) for own in parts.values() for part in own for inner in _inside(part)}
    sizes = {
        name: sum(weight.numel() for weight in module.parameters())
        for name, module in model.named_modules()
        if name and not any(id(inner) in inside for inner in module.modules())
    }
    return max(sizes, key=lambda name: (sizes[name], -len(name)), default="")


def _inside(part: nn.Module) -> Iterator[nn.Module]:
    yield from part.modules()
