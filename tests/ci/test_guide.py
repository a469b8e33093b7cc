"""Every pytest command in docs/ci.md can be called, and every file in it is what it says; tests/docs runs the rest."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

from tests.ci.guide import ACTION, GUIDE, ROOT, blocks, parse, workflows
from tests.docs.shown import commands
from tests.test_pytest_plugin import NAMED
from vlbench.regression.compare.outcomes import Thresholds


def test_every_pytest_command_can_be_called(tmp_path: Path) -> None:
    shown = commands("\n".join(blocks(GUIDE, "sh")))
    found = [shlex.split(command)[1:] for command in shown if command.startswith("pytest ")]
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
