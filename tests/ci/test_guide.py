"""Every command in docs/ci.md and README.md can be called, and every file in them is what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ci.guide import ACTION, GUIDE, ROOT, blocks, commands, parse, scripts, workflows
from tests.test_pytest_plugin import NAMED
from vlbench.compare.thresholds import Thresholds

CALLED = [called for script in scripts() for called in commands(script, "vlbench")]


def test_all_commands_were_found() -> None:
    names = [called[0] for called in CALLED]
    assert {"ab", "bisect", "compare", "history", "run", "doctor"} <= set(names)
    assert len(CALLED) >= 20


@pytest.mark.parametrize("called", CALLED, ids=" ".join)
def test_every_command_can_be_called(called: list[str]) -> None:
    assert parse(called) is not None


def test_every_pytest_command_can_be_called(tmp_path: Path) -> None:
    found = list(commands("\n".join(blocks(GUIDE, "sh")), "pytest"))
    assert len(found) == 3
    (tmp_path / "tests").mkdir()
    for called in found:
        process = subprocess.run(
            [sys.executable, "-m", "pytest", *NAMED, *called],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert process.returncode == 5, process.stderr  # no tests there


def test_thresholds_of_the_guide_are_valid() -> None:
    (found,) = (content for content in map(yaml.safe_load, blocks(GUIDE, "yaml")) if "default" in content)
    thresholds = Thresholds.model_validate(found)
    assert thresholds.of("bench:speed") == 0.03
    assert thresholds.of("bench:other") == 0.10
    assert thresholds.of("vilt") == 0.05


def test_links_of_the_guide_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", GUIDE):
        assert (ROOT / "docs" / link).exists(), link


def test_workflows_are_whole() -> None:
    assert len(workflows()) == 2
    for workflow in workflows():
        assert workflow["name"]
        assert True in workflow, "on, which YAML reads as true"
        for job in workflow["jobs"].values():
            assert job["runs-on"]
            assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    (step,) = (step for step in workflows()[0]["jobs"]["speed"]["steps"] if "vlbench" in step.get("uses", ""))
    assert set(step["with"]) <= set(ACTION["inputs"])
    parse(["ab", "--callable", step["with"]["callables"], *shlex.split(step["with"]["options"])])
