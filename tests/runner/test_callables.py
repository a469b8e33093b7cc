"""What a worker accepts as a function to measure."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator

import pytest

from vlbench.errors import InputError
from vlbench.runner.requests import find_callable

CODE = """
import functools

def plain(): return 1
def optional(a=1, *rest, **named): return a
def needs(a): return a
async def coroutine(): return 1
def generator(): yield 1
async def both(): yield 1
class Maker: pass
class Caller:
    def __call__(self, a): return a
instance = Caller()
bound = functools.partial(needs, 3)
number = 3
"""


@pytest.fixture(autouse=True)
def module() -> Iterator[None]:
    module = types.ModuleType("mine")
    exec(CODE, module.__dict__)
    sys.modules["mine"] = module
    yield
    del sys.modules["mine"]


@pytest.mark.parametrize(
    "name", ["mine:plain", "mine:optional", "mine:Maker", "mine:bound", "os:getpid", "builtins:dict"]
)
def test_what_can_be_called_without_arguments_is_measured(name: str) -> None:
    assert callable(find_callable(name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mine:needs", "missing a required argument: 'a'; a function without arguments works"),
        ("mine:instance", "missing a required argument: 'a'; a function without arguments works"),
        ("os:chdir", "missing a required argument: 'path'; a function without arguments works"),
        ("mine:coroutine", "a call runs nothing of a coroutine or generator; a function that runs it works"),
        ("mine:generator", "a call runs nothing of a coroutine or generator; a function that runs it works"),
        ("mine:both", "a call runs nothing of a coroutine or generator; a function that runs it works"),
        ("mine:number", "is not a function"),
        ("mine:nothing", "module 'mine' has no attribute 'nothing'"),
        ("mine", "not MODULE:FUNCTION; package.module:function works"),
        (":", "not MODULE:FUNCTION; package.module:function works"),
    ],
)
def test_what_cannot_be_is_one_line(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(f'--callable {name}: {reason}')}$"):
        find_callable(name)
