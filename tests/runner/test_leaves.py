"""The tensors of a call have the names of its arguments, and of the fields within them where these differ."""

from __future__ import annotations

from typing import Any

import pytest

from vlbench.runner.leaves import argument_leaves, distinct_names, leaves


def fuse(text: Any, image_BLD: Any, *, scale: float = 1) -> None:
    pass


def test_arguments_have_the_functions_names_without_their_shapes() -> None:
    named = list(argument_leaves(fuse, ({"values": 1, "mask": 2}, 3), {"scale": 4}))
    assert named == [(("text", "values"), 1), (("text", "mask"), 2), (("image",), 3), (("scale",), 4)]


def test_items_of_a_list_share_its_path() -> None:
    assert list(leaves([1, (2, {"a": 3})], ("x",))) == [(("x",), 1), (("x",), 2), (("x", "a"), 3)]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([("text", "ids"), ("images", "pixels"), ("logits",)], ["ids", "pixels", "logits"]),
        ([("text", "values"), ("image", "values"), ("text", "mask")], ["text_values", "image_values", "mask"]),
        ([("text", "values"), ("out", "text", "values")], ["text_values", "out_text_values"]),
        ([("output",), ("output",), ("output",)], ["output", "output_2", "output_3"]),
        ([], []),
    ],
)
def test_names_are_as_short_as_they_differ(paths: list[tuple[str, ...]], names: list[str]) -> None:
    assert distinct_names(paths) == names
