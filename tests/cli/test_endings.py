"""How a command ends, other than by finishing: one line, and a code that says why."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.command_line import vlbench
from vlbench.system.signals import ENDING_SIGNALS


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "vlbench: interrupted\n"),
        (signal.SIGTERM, 143, "vlbench: ended by SIGTERM\n"),
        (signal.SIGHUP, 129, "vlbench: ended by SIGHUP\n"),
        (None, 1, "vlbench: out of memory; a smaller --batch or fewer --workers need less\n"),
    ],
)
def test_one_line(monkeypatch: pytest.MonkeyPatch, number: signal.Signals | None, code: int, said: str) -> None:
    def end(*_arguments: object) -> None:
        if number is None:
            raise MemoryError
        signal.raise_signal(number)

    monkeypatch.setattr("vlbench.files.yaml_files.models_folder", end)
    handlers = [signal.getsignal(number) for number in ENDING_SIGNALS]
    process = vlbench("list", "models")
    assert (process.returncode, process.stdout, process.stderr) == (code, "", said)
    assert [signal.getsignal(number) for number in ENDING_SIGNALS] == handlers


def test_what_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nohup ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr("vlbench.files.yaml_files.models_folder", lambda: signal.raise_signal(signal.SIGHUP) or Path())
    try:
        assert vlbench("list", "models").returncode != 129
    finally:
        signal.signal(signal.SIGHUP, before)
