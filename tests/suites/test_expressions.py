"""The language of columns and claims: its operators, and that it is nothing more."""

from __future__ import annotations

import numpy as np
import pytest

from vlbench.suites.expressions import Name, NoValueError, parse, parse_comparison

FIGURES = {
    Name("a"): 6.0,
    Name("b"): 4.0,
    Name("a.b.c"): 5.0,
    Name("a", "x y"): 7.0,
    Name("zero"): 0.0,
    Name("w"): "R50",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a + b", 10),
        ("a - b - 1", 1),
        ("a - (b - 1)", 3),
        ("a * b", 24),
        ("a / b", 1.5),
        ("-a + +b", -2),
        ("min(a, b)", 4),
        ("max(a, b, 9)", 9),
        ("a.b.c * 2", 10),
        ('a["x y"] - a', 1),
        ("1e3 * a", 6000),
    ],
)
def test_arithmetic(text: str, value: float) -> None:
    assert parse(text).value(FIGURES.__getitem__) == value


def test_a_text_alone_is_a_value() -> None:
    assert parse("w").value(FIGURES.__getitem__) == "R50"


def test_arrays_go_through_whole() -> None:
    draws = {Name("a"): np.array([2.0, 4.0]), Name("b"): np.array([1.0, 8.0])}
    np.testing.assert_array_equal(parse("max(a, b) / 2").value(draws.__getitem__), [1.0, 4.0])


def test_every_name_is_found_once() -> None:
    assert parse('a + min(b, a["x"]) * a - a.b.c').names == (Name("a"), Name("b"), Name("a", "x"), Name("a.b.c"))
    assert parse_comparison('1 < a["x"] < b').names == (Name("a", "x"), Name("b"))


@pytest.mark.parametrize(("text", "said"), [("a / zero", "zero is 0"), ("w + 1", "'R50', not a number")])
def test_what_has_no_value(text: str, said: str) -> None:
    with pytest.raises(NoValueError, match=said):
        parse(text).value(FIGURES.__getitem__)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a +",
        "a ** b",
        "a % b",
        "a // b",
        "abs(a)",
        "min()",
        "min(a, key=b)",
        "a[0]",
        "a[b]",
        "a if b else 1",
        "lambda: a",
        "a and b",
        "not a",
        "[a]",
        "'text'",
        "True",
        "1j",
        "(a := 2)",
        "__import__('os')",
        "a.b()",
        "f'{a}'",
        "a < b",
        "a\n+ b; c",
        "(" * 300 + "a" + ")" * 300,
        "-" * 60 + "a",
        "-" * 900 + "a",
        "+".join(["1"] * 60),
        "+".join(["1"] * 6000),
        "(" * 190 + "-" * 60 + "1" + ")" * 190,
        "9" * 400,
        "9" * 5000,
        "1e999",
        "min(" * 60 + "a" + ")" * 60,
        "a" + ".b()" * 200,
        "a\0b",
        "\ud800",
        "'\\d'",
    ],
)
def test_anything_else_does_not_parse(text: str) -> None:
    with pytest.raises(ValueError, match=r"does not parse|is a comparison") as raised:
        parse(text)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) <= 250


@pytest.mark.parametrize("text", ["a", "a + b", "a in b", "a is b", "a < b and b < 3", "not a < b", "a <"])
def test_what_is_no_comparison(text: str) -> None:
    with pytest.raises(ValueError, match=r"does not parse|is not a comparison"):
        parse_comparison(text)
