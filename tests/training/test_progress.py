"""What is shown while something is trained."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.training.learners import Classifier, Examples, network, settings
from vlbench.training import progress
from vlbench.training.budget import Spent
from vlbench.training.loop import train
from vlbench.training.progress import TrainingProgress, in_words, training_display


def test_in_words() -> None:
    halfway = TrainingProgress(
        share=0.5,
        spent=Spent(samples=128_000, seconds=400),
        loss=1.2345,
        accuracy=0.612,
        samples_per_second=340.2,
        seconds_left=371.0,
    )
    assert in_words(halfway) == "128,000 samples, loss 1.234, accuracy 61.2%, 340 samples/s, 6 min left"
    early = TrainingProgress(
        share=0.0, spent=Spent(), loss=None, accuracy=None, samples_per_second=None, seconds_left=None
    )
    assert in_words(early) == "0 samples"


def test_lines_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with training_display() as display:
        listener = display.listener("vilt-tiny: training")
        train(Classifier(network("linear"), seconds=0.05), Examples(), settings(), tmp_path, listener=listener)
        listener.on_message("something to know")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "vilt-tiny: training: something to know"
    assert lines[-2].startswith("vilt-tiny: training: 100%, 160 samples, loss ")
    assert lines[-2].endswith(" in all")
    assert lines[0].endswith(" left")
    assert "accuracy" in lines[0]


def test_a_line_every_ten_seconds_at_most(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with training_display() as display:
        display.printed_at = progress.time.monotonic()
        train(Classifier(network("linear"), seconds=0.05), Examples(), settings(), tmp_path,
              listener=display.listener("m"))  # fmt: skip
    assert len(capsys.readouterr().err.splitlines()) == 1  # the end


def test_one_bar_per_model_on_a_terminal(tmp_path: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with training_display(console=console) as display:
        for name in ("vilt", "uniter"):
            train(Classifier(network("linear")), Examples(), settings(), tmp_path / name,
                  listener=display.listener(name))  # fmt: skip
    shown = screen.getvalue()
    last = shown[shown.rindex("vilt ") :]
    assert "100%" in last
    assert "160 samples, loss " in last
    assert "uniter" in last


def test_nothing_is_shown_by_the_other_processes(capsys: pytest.CaptureFixture) -> None:
    with training_display(shown=False) as display:
        listener = display.listener("m")
        listener.on_message("a line")
        listener.on_progress(
            TrainingProgress(
                share=1.0, spent=Spent(), loss=None, accuracy=None, samples_per_second=None, seconds_left=None
            )
        )
    assert capsys.readouterr().err == ""
