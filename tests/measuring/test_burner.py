"""benchmarks/harness/burner.py in short: a cell beside each burner. The idle cells are judged by no test, for no test
knows that its machine is idle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cells_beside_a_burner_are_contended(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.harness.burner", "--cells", "1", "--restarts", "2", "--threads", "1"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "found.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["contended"]["threads=1 spin"] == found["contended"]["threads=1 memory"] == 1.0
    interference = [one for cell in found["cells"]["threads=1 spin"] for one in cell["interference"]]
    assert len(interference) == 2
    assert all(one["other_processes_cores"] >= 0.5 for one in interference)
