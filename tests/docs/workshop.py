"""A folder in which documented commands run as a reader would type them, each through vlbench's own command line."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from tests.command_line import kept_workers, vlbench
from tests.paths import ROOT
from vlbench.files import yaml_files
from vlbench.regression.live import lockstep
from vlbench.specs import catalog
from vlbench.tasks.shapes import items

SCENES = {"test": 4, "val": 2, "train": 20}  # of the tasks of the generated world


@dataclass
class Workshop:
    """`folder` is where commands run, and empty before each; `small` has a vlbench whose catalogue is tiny."""

    folder: Path
    small: Path
    kept: Path

    def empty(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def vlbench(self, *arguments: str, catalogue: str = "small") -> CompletedProcess[str]:
        with self.set_up_for(catalogue):
            return vlbench(*arguments)

    def program(self, *arguments: str) -> CompletedProcess[str]:
        """Another program, in a process of its own."""
        with self.set_up_for("full"):
            return subprocess.run(arguments, cwd=self.folder, capture_output=True, text=True, timeout=300, check=False)

    @contextlib.contextmanager
    def set_up_for(self, catalogue: str) -> Iterator[pytest.MonkeyPatch]:
        """The folder as the present one, offline, without a GPU; `small`: with a catalogue of tiny models."""
        import torch  # noqa: PLC0415
        from huggingface_hub import constants  # noqa: PLC0415

        with kept_workers() as patched:
            patched.chdir(self.folder)
            patched.setenv("PYTHONPATH", os.pathsep.join(map(str, (self.small, ROOT))))
            patched.setenv("CUDA_VISIBLE_DEVICES", "")  # the same everywhere
            patched.setenv("HF_HUB_OFFLINE", "1")
            patched.setenv("COLUMNS", "200")
            patched.setattr(torch.cuda, "is_available", lambda: False)
            patched.setattr(constants, "HF_HUB_OFFLINE", True)
            patched.setattr(items, "SCENES", SCENES)
            patched.setattr(lockstep, "WARM_UP_SECONDS", 0.02)  # these speeds are not judged
            patched.setattr(lockstep, "SECONDS_A_REPLICATE", 0.02)
            if catalogue == "small":
                patched.setattr(yaml_files, "models_folder", lambda: self.small / "models")
            catalog.catalog.cache_clear()
            try:
                yield patched
            finally:
                catalog.catalog.cache_clear()


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
