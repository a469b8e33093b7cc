"""Which modules ran while something was counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from operator import add, sub

from torch import nn

Amounts = tuple[int, ...]


class Attribution:
    """Charges what is counted during a forward pass to every scope that runs meanwhile, such as a stage or a module.

    Args:
        read: what was counted so far. Each call and each return of a module reads it, and the growth since the last
            reading belongs to the scopes that ran.
        innermost: charges only the scopes of the module that was called last, not those of the modules that called it.
    """

    def __init__(self, read: Callable[[], Amounts], *, innermost: bool = False) -> None:
        self.read, self.last, self.innermost = read, read(), innermost
        self.running: list[Set[str]] = []
        self.amounts: dict[str, Amounts] = {}

    def of(self, scope: str) -> Amounts:
        """What a scope counted; zeros if it never ran."""
        return self.amounts.get(scope, (0,) * len(self.last))

    @contextmanager
    def to(self, modules: Mapping[str, tuple[nn.Module, Set[str]]]) -> Iterator[None]:
        """Meanwhile, a call of each module is charged to the scopes beside it, each once, however deep it nests."""
        handles = []
        for module, scopes in modules.values():
            handles.append(module.register_forward_pre_hook(lambda *_, scopes=scopes: self._enter(scopes)))
            handles.append(module.register_forward_hook(lambda *_: self._leave(), always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, scopes: Set[str]) -> None:
        self._charge()
        self.running.append(scopes)

    def _leave(self) -> None:
        self._charge()
        self.running.pop()

    def _charge(self) -> None:
        amounts = self.read()
        growth = tuple(map(sub, amounts, self.last))
        self.last = amounts
        if any(growth):
            for scope in set().union(*(self.running[-1:] if self.innermost else self.running)):
                self.amounts[scope] = tuple(map(add, self.of(scope), growth))
