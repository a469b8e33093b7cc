"""Finds a user's function by its name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from vlbench.errors import InputError

DEFERRED = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def find_callable(name: str) -> Callable[[], object]:
    """Imports `package.module:function`. Raises InputError if there is none, or a call would run nothing."""
    module_name, _, path = name.partition(":")
    if not module_name or not path:
        raise InputError(f"--callable {name}: not MODULE:FUNCTION; package.module:function works")
    try:
        function: Any = importlib.import_module(module_name)
        for attribute in path.split("."):
            function = getattr(function, attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"--callable {name}: {error}") from error
    if not callable(function):
        raise InputError(f"--callable {name}: is not a function")
    if any(deferred(function) for deferred in DEFERRED):
        raise InputError(
            f"--callable {name}: a call runs nothing of a coroutine or generator; a function that runs it works"
        )
    with suppress(ValueError):  # functions of C may have no signature
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            raise InputError(f"--callable {name}: {error}; a function without arguments works") from error
    return function
