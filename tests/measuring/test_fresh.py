"""Results and failures of functions that are called in a fresh process."""

from __future__ import annotations

import os

import pytest

from vlbench.errors import WorkerError
from vlbench.measuring.peaks import call_in_fresh_process


def test_the_result_comes_from_another_process() -> None:
    assert call_in_fresh_process(pow, 2, 10) == 1024
    assert call_in_fresh_process(os.getpid) != os.getpid()


def test_an_error_is_told() -> None:
    with pytest.raises(WorkerError, match="failed: ValueError: invalid literal"):
        call_in_fresh_process(int, "ten")


def test_an_end_without_a_result_is_told() -> None:
    with pytest.raises(WorkerError, match="exit code 3"):
        call_in_fresh_process(os._exit, 3)
