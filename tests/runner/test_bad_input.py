"""Bad input: one line, exit code 2, no traceback, and nothing measured is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from tests.command_line import vlbench
from tests.helpers import write_tiny
from tests.paths import RESULTS
from tests.runner.conftest import ended

PUBLISHED = RESULTS / "epyc-2-cores"
THREE = ("vit-b16", "vit-b32", "vilt-b32")


def refused(*arguments: object, code: int = 2) -> str:
    process = vlbench(*arguments)
    assert process.returncode == code, process.stderr
    assert process.stdout == ""
    assert process.stderr.count("\n") == 1, process.stderr
    return process.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--models", "vlit"), "no model 'vlit'; did you mean vilt?"),
        (("run", "--models", "zzz*"), "no model matches 'zzz*'"),
        (("run", "--models", ","), "no model named"),
        (("run", "--models", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("run",), "Missing option '--models'"),
        (("run", "--models", "vilt", "--bugdet", "3"), "No such option"),
        (
            ("run", "--models", "vilt", "--device", "tpu"),
            "no such device; auto, cpu, cuda, or cuda:1 for the second GPU works",
        ),
        (("run", "--models", "vilt", "--batch", "0"), "--batch"),
        (("run", "--models", "vilt", "--budget", "-3"), "--budget"),
        (("run", "--models", "vilt", "--image", "nowhere.jpg"), "nowhere.jpg: no such file"),
        (("run", "--models", "vilt", "--image-size", "384"), "384x640 works"),
        (
            ("run", "--models", "vilt", "--device", "cpu", "--image-size", "800x1333"),
            "vilt-b32: image size 800x1333 is no",
        ),
        (("run", "--models", "uniter", "--device", "cpu", "--image-size", "9000x9000"), "from 32 to 4096"),
        (("run", "--models", "vilt", "--device", "cpu", "--text", "word " * 60), "62 tokens"),
        (("run", "--models", "vilt", "--device", "cpu", "--text-tokens", "99"), "40 positions"),
        (("show", "nowhere"), "nowhere: no cells.jsonl here"),
        (("list", "colours"), "models"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_it_is_one_line_that_says_what_works(arguments: tuple, said: str) -> None:
    assert said in refused(*arguments)


def test_cuda_without_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert "PyTorch sees no GPU here; --device cpu works" in refused("run", "--models", "vilt", "--device", "cuda")


def test_a_misspelt_key_names_file_key_and_nearest(tmp_path: Path) -> None:
    path = write_tiny(tmp_path, "uniter-base")
    path.write_text(path.read_text().replace("proposals:", "propsals:"))
    line = refused("run", "--models", path)
    assert f"{path}: unknown key 'visual.rpn.propsals'; did you mean proposals?" in line


def test_an_out_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model = write_tiny(tmp_path, "vit-b16")
    assert "cannot be written" in refused(
        "run", "--models", model, "--device", "cpu", "--out", tmp_path / "file" / "out"
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda line: line[: len(line) // 2] + "\n" + line, "line 1: not JSON"),
        (
            lambda line: line.replace('"schema":5', '"schema":99'),
            "line 1: schema 99, but this vlbench reads schema 5 only; use the newer vlbench that wrote it",
        ),
        (lambda line: line.replace('"model":', '"modle":'), "line 1: model"),
        (lambda line: "[1, 2]", "line 1: schema None"),
        (lambda line: "", "holds no results yet"),
    ],
    ids=["cut off", "schema", "key", "list", "empty"],
)
def test_damaged_results(tmp_path: Path, damage, said: str) -> None:
    line = (PUBLISHED / "cells.jsonl").read_text().splitlines()[0]
    (tmp_path / "cells.jsonl").write_text(damage(line))
    assert said in refused("show", tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    command = [sys.executable, "-m", "vlbench", "show", str(PUBLISHED)]
    with open("/dev/full", "w") as full:
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "No space left on device" in process.stderr


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    command = f"{sys.executable} -m vlbench show {PUBLISHED} --format json | true"
    process = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert process.stderr == ""


@pytest.fixture(scope="module")
def two_of_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three models, two of which are measured."""
    folder = tmp_path_factory.mktemp("models")
    models = [write_tiny(folder, name) for name in THREE]
    options = ("--budget", 0.2, "--device", "cpu", "--out", folder / "out")
    quick = vlbench("run", "--models", f"{models[0]},{models[1]}", *options)
    assert quick.returncode == 0, quick.stderr
    return folder


def start_long_run(tmp_path: Path, two_of_three: Path) -> tuple[subprocess.Popen, Path]:
    """Two models that are kept, then one that takes a minute; gives back once it is measured."""
    shutil.copytree(two_of_three, tmp_path, dirs_exist_ok=True)
    models, out = [tmp_path / f"{name}-tiny.yaml" for name in THREE], tmp_path / "out"
    command = [sys.executable, "-m", "vlbench", "run", "--models", ",".join(map(str, models))]
    process = subprocess.Popen(
        [*command, "--budget", "120", "--device", "cpu", "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not busy_workers(process.pid) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    return process, out


def busy_workers(pid: int) -> list[int]:
    """A worker that measures, and the process that it forked to do so, more than a second ago: probing and counting are
    shorter."""
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):  # one that ends meanwhile
            forked = [one.pid for one in child.children() if time.time() - one.create_time() > 1]
            if forked:
                return [child.pid, *forked]
    return []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_an_interrupted_run_keeps_what_was_measured_and_leaves_no_worker(
    tmp_path: Path, two_of_three: Path, sent: signal.Signals, code: int
) -> None:
    process, out = start_long_run(tmp_path, two_of_three)
    workers = busy_workers(process.pid)
    assert workers, "the third model was never reached"
    os.kill(process.pid, sent)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    kept = {json.loads(line)["model"] for line in (out / "cells.jsonl").read_text().splitlines()}
    assert kept == {"vit-b16-tiny", "vit-b32-tiny"}
    assert all(map(ended, workers))
    if sent is not signal.SIGINT:
        assert stderr.splitlines()[-1] == f"vlbench: ended by {sent.name}"
    else:
        assert "interrupted: 2 of 3 models are kept" in stderr
        assert "vit-b32-tiny" in stdout
