"""A folder in which documented commands run as a reader would type them, each through vlbench's own command line."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paths import ROOT
from vlbench import yaml_files
from vlbench.cli import main
from vlbench.runner import benchmark
from vlbench.runner.worker_client import Worker
from vlbench.specs import catalog
from vlbench.tasks.shapes import items

SCENES = {"test": 4, "val": 2, "train": 20}  # of the tasks of the generated world


@dataclass(frozen=True, slots=True)
class Called:
    code: int
    output: str
    error: str


class KeptWorker(Worker):
    """Serves one command after the other, so that PyTorch is imported once. It forks a fresh process a job anyway."""

    def close(self) -> None:
        """Not yet."""

    def really_close(self) -> None:
        super().close()


@dataclass
class Workshop:
    """`folder` is where commands run, and empty before each; `small` has a vlbench whose catalogue is tiny."""

    folder: Path
    small: Path
    kept: Path
    workers: dict[int, KeptWorker] = field(default_factory=dict)

    def empty(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def worker(self, threads: int, *, command: list[str] | None, **other: Any) -> Worker:
        """One that is kept, unless it is another interpreter's or imports other code."""
        if command:
            return Worker(threads, command=command, **other)
        if threads not in self.workers:
            self.workers[threads] = KeptWorker(threads)
        return self.workers[threads]

    def vlbench(self, *arguments: str, catalogue: str = "small") -> Called:
        """In this process, by the function that the `vlbench` command is."""
        output, error = io.StringIO(), io.StringIO()
        before = signal.getsignal(signal.SIGTERM)
        with self.set_up_for(catalogue) as patched:
            patched.setattr(sys, "argv", ["vlbench", *arguments])
            with (
                contextlib.redirect_stdout(output),
                contextlib.redirect_stderr(error),
                pytest.raises(SystemExit) as end,
            ):
                main.main()
        signal.signal(signal.SIGTERM, before)
        return Called(int(end.value.code or 0), output.getvalue(), error.getvalue())

    def program(self, *arguments: str) -> Called:
        """Another program, in a process of its own."""
        with self.set_up_for("full"):
            done = subprocess.run(arguments, cwd=self.folder, capture_output=True, text=True, timeout=300, check=False)
        return Called(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def set_up_for(self, catalogue: str) -> Iterator[pytest.MonkeyPatch]:
        """The folder as the present one, offline, without a GPU; `small`: with a catalogue of tiny models."""
        import torch  # noqa: PLC0415
        from huggingface_hub import constants  # noqa: PLC0415

        threads = torch.get_num_threads()
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(self.folder)
            patched.setenv("PYTHONPATH", os.pathsep.join(map(str, (self.small, ROOT))))
            patched.setenv("CUDA_VISIBLE_DEVICES", "")  # the same everywhere
            patched.setenv("HF_HUB_OFFLINE", "1")
            patched.setenv("COLUMNS", "200")
            patched.setattr(torch.cuda, "is_available", lambda: False)
            patched.setattr(constants, "HF_HUB_OFFLINE", True)
            patched.setattr(benchmark, "Worker", self.worker)
            patched.setattr(items, "SCENES", SCENES)
            if catalogue == "small":
                patched.setattr(yaml_files, "models_folder", lambda: self.small / "models")
            catalog.catalog.cache_clear()
            try:
                yield patched
            finally:
                catalog.catalog.cache_clear()
                torch.set_num_threads(threads)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.really_close()


def set_up(folder: Path) -> Workshop:
    """Makes the small vlbench: the package as it is, beside tiny models under the published names."""
    small, kept, work = (folder / name for name in ("small", "kept", "work"))
    kept.mkdir(parents=True)
    work.mkdir()
    shutil.copytree(ROOT / "vlbench", small / "vlbench", ignore=shutil.ignore_patterns("__pycache__"))
    (small / "models").mkdir()
    for name, spec in catalog.catalog().items():
        content = spec.tiny().model_dump(mode="json", exclude_none=True) | {"name": name}
        (small / "models" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return Workshop(folder=work, small=small, kept=kept)
