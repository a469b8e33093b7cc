"""A machine of GitHub's, as far as a step of a composite action sees it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.ci.guide import STEPS


class Runner:
    """What GitHub gives a step: folders, files for output and summary, and programs that stand for others."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output, self.summary = folder, folder / "output", folder / "summary"
        self.work = folder / "work"
        for name in ("bin", "work", "temp"):
            (folder / name).mkdir()

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{script}")
        path.chmod(0o755)

    def run(self, step: str, **variables: str) -> subprocess.CompletedProcess:
        script = self.folder / "script"
        script.write_text(STEPS[step]["run"])
        environment = {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "RUNNER_TEMP": str(self.folder / "temp"),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_ACTION_PATH": "/the action",
            "GITHUB_REPOSITORY": "owner/project",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_RUN_ID": "77",
            "GITHUB_RUN_ATTEMPT": "1",
            "NAME": "vlbench",
        }
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            env=environment | variables,
            cwd=self.work,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)
