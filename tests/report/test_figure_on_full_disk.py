"""A figure on a disk that is full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import others_slow

SCRIPT = """
import resource, signal, sys
from pathlib import Path
from matplotlib.figure import Figure
from vlbench.files.figures import write_figure
picture = Figure()
picture.add_subplot().plot([1, 2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_figure(picture, Path(sys.argv[1]))
except OSError as error:
    print(error.filename, error.strerror, sep=": ")
"""


@pytest.mark.parametrize("ending", others_slow(["pdf", "svg", "png"]))
def test_the_reason_is_named(tmp_path: Path, ending: str) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / f"figure.{ending}")]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.stdout == f"{tmp_path}/figure.{ending}: File too large\n", process.stderr
    assert not (tmp_path / f"figure.{ending}").exists()
