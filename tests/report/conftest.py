"""The command line in this process, beside a folder of the test's own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vlbench.cli import main


@dataclass(frozen=True)
class Done:
    exit_code: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def vlbench_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Runs `vlbench` with arguments, in `tmp_path`, as the shell would."""
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["vlbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        said = capsys.readouterr()
        return Done(exit_code=int(ended.value.code or 0), stdout=said.out, stderr=said.err)

    yield run
    signal.signal(signal.SIGTERM, handler)
