"""A small language for columns and claims: figures by name, those of another row by subscript, `+ - * /`, `min`, `max`
and comparisons. `ast` parses it and this module evaluates the tree; `eval` is never called.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, TypeAlias

from vlbench.errors import quoted

if TYPE_CHECKING:  # numpy is slow to import, and suites are checked without it
    import numpy as np

Value: TypeAlias = (
    "float | str | np.ndarray"  # an array has the figure itself first, then draws; see evidence.median_draws
)
Lookup: TypeAlias = "Callable[[Name], Value]"


@dataclass(frozen=True, slots=True)
class Name:
    """A figure such as `latency_ms_by_stage.visual.rpn`, of the current row or of `row`."""

    path: str
    row: str | None = None


class NoValueError(Exception):
    """A figure that an expression needs is missing; the message is the reason."""


OPERATORS: dict[type[ast.operator], Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
FUNCTIONS: dict[str, Callable] = {
    "min": lambda first, second: _of_both("minimum", first, second),
    "max": lambda first, second: _of_both("maximum", first, second),
}
COMPARISONS: dict[type[ast.cmpop], Callable] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
MOST_CHARACTERS, MOST_DEPTH, LARGEST = 1000, 50, 1e100
SYNTAX = 'numbers, names, name["row"], + - * /, min(a, b), max(a, b)'


@dataclass(frozen=True)
class Expression:
    """A formula over figures. `parse` makes and checks one."""

    text: str
    node: ast.expr

    @cached_property
    def names(self) -> tuple[Name, ...]:
        """Every figure that the formula needs, each once, in order."""
        return tuple(dict.fromkeys(_names(self.node)))

    def value(self, lookup: Lookup) -> Value:
        """The value. Raises NoValueError if a figure is missing, an operand is a text, or a divisor is 0."""
        return _value(self.node, lookup)


@dataclass(frozen=True)
class ClaimComparison:
    """`a < b < c`: expressions and the signs between them. `parse_comparison` makes and checks one."""

    text: str
    sides: tuple[Expression, ...]
    signs: tuple[type[ast.cmpop], ...]

    @cached_property
    def names(self) -> tuple[Name, ...]:
        return tuple(dict.fromkeys(name for side in self.sides for name in side.names))


def parse(text: str) -> Expression:
    """Reads a formula. Raises ValueError, in one line, where the text is not one."""
    node = _parsed(text)
    if isinstance(node, ast.Compare):
        raise ValueError(f"{quoted(text)} is a comparison; a formula with one value is needed here")
    _check(node, text)
    return Expression(text, node)


def parse_comparison(text: str) -> ClaimComparison:
    """Reads a claim such as `a["x"] / a["y"] > 10`. Raises ValueError, in one line, where the text is not one."""
    node = _parsed(text)
    if not isinstance(node, ast.Compare):
        raise ValueError(f'{quoted(text)} is not a comparison; latency_ms["A"] / latency_ms["B"] > 10 is one')
    signs = tuple(type(sign) for sign in node.ops)
    if not set(signs) <= set(COMPARISONS):
        raise ValueError(f"{quoted(text)} does not parse: the comparisons are < <= > >= == !=")
    sides = []
    for side in (node.left, *node.comparators):
        _check(side, text)
        sides.append(Expression(ast.unparse(side), side))
    return ClaimComparison(text, tuple(sides), signs)


def _parsed(text: str) -> ast.expr:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{quoted(text)} does not parse: more than {MOST_CHARACTERS:,} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they warn of is refused below
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "too deep or not text"
        raise ValueError(f"{quoted(text)} does not parse: {reason}") from error


def _check(node: ast.expr, text: str, depth: int = 0) -> None:
    """Raises ValueError at the first part that is not of the language."""
    if depth > MOST_DEPTH:
        raise ValueError(f"{quoted(text)} does not parse: nested more than {MOST_DEPTH} deep")
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        if abs(node.value) > LARGEST:
            raise ValueError(f"{quoted(text)} does not parse: a number above {LARGEST:g}")
        return
    if _name(node):
        return
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        _check(node.left, text, depth + 1)
        _check(node.right, text, depth + 1)
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        _check(node.operand, text, depth + 1)
        return
    if isinstance(node, ast.Call) and _function(node) and node.args and not node.keywords:
        for argument in node.args:
            _check(argument, text, depth + 1)
        return
    part = ast.get_source_segment(text.strip(), node) or text
    raise ValueError(f"{quoted(text)} does not parse at {quoted(part)}: {SYNTAX} work here")


def _function(node: ast.Call) -> Callable | None:
    return FUNCTIONS.get(node.func.id) if isinstance(node.func, ast.Name) else None


def _name(node: ast.expr) -> Name | None:
    """`a.b` or `a.b["row"]`; None for anything else."""
    row = None
    if isinstance(node, ast.Subscript):
        if not (isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)):
            return None
        row = node.slice.value
        node = node.value
    steps: list[str] = []
    while isinstance(node, ast.Attribute):
        steps.append(node.attr)
        node = node.value
    return Name(".".join([node.id, *reversed(steps)]), row) if isinstance(node, ast.Name) else None


def _names(node: ast.expr) -> Iterator[Name]:
    name = _name(node)
    if name:
        yield name
    elif isinstance(node, ast.Call):
        for argument in node.args:
            yield from _names(argument)
    else:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from _names(child)


def _value(node: ast.expr, lookup: Lookup) -> Value:
    name = _name(node)
    if name:
        return lookup(name)
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp):
        value = _number(node.operand, lookup)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Call):
        function = _function(node)
        assert function
        return reduce(function, [_number(argument, lookup) for argument in node.args])
    assert isinstance(node, ast.BinOp)
    left, right = _number(node.left, lookup), _number(node.right, lookup)
    if isinstance(node.op, ast.Div) and _has_zero(right):
        raise NoValueError(f"{ast.unparse(node.right)} is 0")
    return OPERATORS[type(node.op)](left, right)


def _number(node: ast.expr, lookup: Lookup) -> float | np.ndarray:
    value = _value(node, lookup)
    if isinstance(value, str):
        raise NoValueError(f"{ast.unparse(node)} is {value!r}, not a number")
    return value


def _of_both(name: str, first: Any, second: Any) -> float | np.ndarray:
    """NumPy's `minimum` or `maximum`, draw by draw."""
    import numpy as np  # noqa: PLC0415

    return getattr(np, name)(first, second)


def _has_zero(value: float | np.ndarray) -> bool:
    return not value if isinstance(value, float | int) else not value.all()
