"""Writes a converted model as a folder that needs its runtime alone: the files, a README, an example and a script."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from vlbench.errors import InputError, WorkerError
from vlbench.files.writing import write_text
from vlbench.inputs import read_example, short_text
from vlbench.runner.backends import BACKENDS, check_backend
from vlbench.runner.benchmark import open_worker
from vlbench.runner.cells import Cell
from vlbench.runner.deployment_files import Deployment, readme, script
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.worker_client import probe_machine
from vlbench.specs import AnySpec
from vlbench.system.temporary import temporary_folder

WRITERS = tuple(name for name, info in BACKENDS.items() if info.package)  # the backends that write files


def check_writer(name: str) -> None:
    """Raises InputError for a backend that writes no files."""
    if check_backend(name) not in WRITERS:
        raise InputError(f"--backend {name}: writes no files; {' or '.join(WRITERS)} works")


def deploy(spec: AnySpec, settings: RunSettings, folder: Path) -> Deployment:
    """Converts a model in a process of its own, as `vlbench run` does, compares it with eager PyTorch and writes it.

    Raises InputError where a setting does not fit, the runtime is missing, the whole model cannot be converted or the
    folder is not empty or cannot be written; WorkerError where the conversion fails or computes something else. Then
    nothing is left in the folder.
    """
    check_writer(settings.backend)
    example = read_example(None, _text_for(spec, settings))
    with new_folder(folder) as unfinished, open_worker(settings.threads) as worker:
        (cell,) = expand([spec], example, settings, probe_machine(settings.threads, worker))
        job = {"action": "deploy", "cell": cell.model_dump(mode="json"), "folder": str(unfinished)}
        (message,) = worker.run_job(job)
        if "invalid" in message:
            raise WorkerError(f"{spec.name}: {message['invalid']}; nothing is written")
        deployment = Deployment.model_validate(message["deployment"])
        write_texts(deployment, cell, unfinished)
    return deployment


def _text_for(spec: AnySpec, settings: RunSettings) -> str:
    """The default sentence, as long as the text may be."""
    try:
        return short_text([spec.with_input(text_tokens=settings.text_tokens)])
    except ValueError as error:
        raise InputError(f"{spec.name}: {error}") from error


def write_texts(deployment: Deployment, cell: Cell, folder: Path) -> None:
    """README.md and run.py."""
    write_text(folder / "README.md", readme(deployment, cell))
    write_text(folder / "run.py", script(deployment, cell))


def default_scope(spec: AnySpec) -> Literal["stages", "model"]:
    """What is converted by default: the whole model, or its stages where a detector stays in PyTorch."""
    return "stages" if spec.has_detector else "model"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder whose files are moved to `folder` at the end.

    If the block raises, `folder` is as it was. Raises InputError if it is not empty or cannot be written.
    """
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"-o {folder}: is not empty; name a new folder")
        (probe := folder / ".vlbench").touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"-o {folder}: cannot be written ({error.strerror}); name another folder") from error
    try:
        with temporary_folder() as unfinished:
            yield unfinished
            for path in unfinished.iterdir():
                shutil.move(path, folder / path.name)
    except BaseException:
        for path in folder.iterdir():
            path.unlink()
        if not existed:
            with suppress(OSError):
                os.rmdir(folder)
        raise
