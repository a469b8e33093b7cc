"""What the one line says that an error of a library becomes."""

from __future__ import annotations

import pytest

from vlbench.errors import first_line

OPENVINO = """Exception from src/inference/src/cpp/core.cpp:117:
Check 'sizes.size() == 1' failed at src/core/src/op.cpp:26:
an input has no size
"""
EXPORTER = """Failed to export the model with torch.export.
- Create an issue in the PyTorch GitHub repository

## Exception summary

<class 'ValueError'>: no such operator

(Refer to the full stack trace above for more information.)
"""


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("one\ntwo", "one"),
        ("\n  one  \ntwo", "one"),
        ("", "RuntimeError"),
        (OPENVINO, "an input has no size"),
        (EXPORTER, "<class 'ValueError'>: no such operator"),
        ("Exception from nowhere", "Exception from nowhere"),
        ("## Exception summary", "## Exception summary"),
    ],
)
def test_the_line_is_the_first_that_gives_a_reason(message: str, line: str) -> None:
    assert first_line(RuntimeError(message)) == line
