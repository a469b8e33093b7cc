"""Weights of a run: missing and wrong ones end it before anything is measured, right ones are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import vlbench
from tests.helpers import write_tiny
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.native import save_model
from vlbench.specs.catalog import catalog

QUICK = ("--restarts", 1, "--budget", 0.5, "--threads", 1, "--device", "cpu")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a tiny ViLT with another seed than the file's."""
    spec = catalog()["vilt-b32"].tiny().model_copy(update={"seed": 5})
    path = tmp_path / "vilt.safetensors"
    save_model(path, build(spec), spec)
    return path


def test_missing_weights_end_a_run_before_it_begins(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for extra in (("--weights", "vilt=/nope"), ("--weights", "vilt.visual=/nope")):
        process = vlbench("run", "--models", "vilt", *extra, "--out", out)
        assert (process.returncode, process.stdout) == (2, "")
        assert "weights /nope: no such file or folder" in process.stderr
        assert process.stderr.count("\n") == 1
    path = write_tiny(tmp_path, "vilt-b32", weights="/nope")
    process = vlbench("run", "--models", path, "--device", "cpu", "--out", out)
    assert (process.returncode, process.stderr.count("\n")) == (2, 1)
    assert "weights /nope: no such file or folder" in process.stderr
    assert not out.exists()


def test_a_line_says_its_weights(tmp_path: Path, checkpoint: Path) -> None:
    out = tmp_path / "out"
    models = ("--models", write_tiny(tmp_path, "vilt-b32"), "--weights", f"vilt-b32-tiny={checkpoint}")
    process = vlbench("run", *models, *QUICK, "--out", out)
    assert process.returncode == 0, process.stderr
    (line,) = map(json.loads, (out / "cells.jsonl").read_text().splitlines())
    assert (line["status"], line["weights"]) == ("ok", str(checkpoint))
    assert line["spec_hash"] != catalog()["vilt-b32"].tiny().hash()
    assert f"Weights: {checkpoint}" in process.stdout


def test_weights_of_another_model_end_a_run_and_lose_nothing(tmp_path: Path, checkpoint: Path) -> None:
    out, right, wrong = tmp_path / "out", write_tiny(tmp_path, "vilt-b32"), write_tiny(tmp_path, "vit-b16")
    assert vlbench("run", "--models", right, *QUICK, "--out", out).returncode == 0
    before = (out / "cells.jsonl").read_text()
    models = ("--models", f"{right},{wrong}", "--weights", f"vit-b16-tiny={checkpoint}")
    process = vlbench("run", *models, *QUICK, "--out", out)
    assert (process.returncode, process.stdout, process.stderr.count("\n")) == (2, "", 1)
    assert f"weights {checkpoint}: saved from vilt-b32-tiny, whose " in process.stderr
    assert (out / "cells.jsonl").read_text() == before
