"""vlbench's command line within the process of the test, so that nothing is imported again for each command."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from vlbench.cli import main
from vlbench.runner.worker_client import WORKER, Worker

Kept = tuple[subprocess.Popen, IO[bytes]]  # a worker's process, and the file that it writes its errors to

IDLE: dict[object, list[Kept]] = {}
PEAKS: dict[object, list[dict[str, Any]]] = {}  # what workers answered


def vlbench(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What `vlbench ARGUMENTS` prints and ends with, by the function that the command is."""
    import torch  # noqa: PLC0415  slow to import, and many tests need none of it

    output, error = io.StringIO(), io.StringIO()
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    words = ["vlbench", *map(str, arguments)]
    with kept_workers() as patched, contextlib.chdir(cwd or Path.cwd()):
        patched.setattr(sys, "argv", words)
        try:
            with (
                contextlib.redirect_stdout(output),
                contextlib.redirect_stderr(error),
                pytest.raises(SystemExit) as end,
            ):
                main.main()
        finally:
            signal.signal(signal.SIGTERM, handler)
            torch.set_num_threads(threads)
    return subprocess.CompletedProcess(words, int(end.value.code or 0), output.getvalue(), error.getvalue())


@contextlib.contextmanager
def kept_workers() -> Iterator[pytest.MonkeyPatch]:
    """The process of a worker that is closed with no job under way serves the next worker of the same environment.

    Each job has a fresh process anyway, forked from it. The machine's peaks, of two seconds, are measured once for each
    setting and environment; later commands write the same line.
    """
    start, send, receive, close, run_job = Worker.start, Worker.send, Worker.receive, Worker.close, Worker.run_job
    keys: dict[Worker, object] = {}  # of those that were started, and have no job under way

    def start_or_take(worker: Worker) -> None:
        if worker.process is None:
            keys[worker] = key_of(worker)
            idle = IDLE.get(keys[worker], []) if is_usual(worker) else []
            while idle and worker.process is None:
                process, errors = idle.pop()
                if process.poll() is None:
                    worker.stderr_log.close()
                    worker.process, worker.stderr_log, worker.had_job = process, errors, True
        start(worker)

    def send_job(worker: Worker, job: Any) -> None:
        send(worker, job)
        keys.pop(worker, None)

    def receive_answer(worker: Worker, silence_seconds: float) -> dict[str, Any]:
        message = receive(worker, silence_seconds)
        if "ended" in message:
            keys[worker] = key_of(worker)
        return message

    def keep(worker: Worker) -> None:
        if is_usual(worker) and worker.process and keys.get(worker) == key_of(worker):
            IDLE.setdefault(keys[worker], []).append((worker.process, worker.stderr_log))
            worker.process = None
        else:
            close(worker)

    def run_or_recall(
        worker: Worker, job: Mapping[str, Any], silence_seconds: float | None = None
    ) -> Iterator[dict[str, Any]]:
        if job["action"] != "peaks" or not is_usual(worker):
            yield from run_job(worker, job, silence_seconds)
            return
        _folder, environment = key_of(worker)
        key = json.dumps(job), environment
        if key not in PEAKS:
            PEAKS[key] = list(run_job(worker, job, silence_seconds))
        yield from PEAKS[key]

    with pytest.MonkeyPatch.context() as patched:
        for name, method in (
            ("run_job", run_or_recall),
            ("start", start_or_take),
            ("send", send_job),
            ("receive", receive_answer),
            ("close", keep),
        ):
            patched.setattr(Worker, name, method)
        yield patched


def is_usual(worker: Worker) -> bool:
    """Whether it is of this interpreter, and starts where the command is called."""
    return (worker.command or WORKER) == WORKER and worker.folder is None


def key_of(worker: Worker) -> tuple[Path, frozenset[tuple[str, str]]]:
    environment = os.environ | worker.environment
    environment.pop("PYTEST_CURRENT_TEST", None)
    return Path.cwd(), frozenset(environment.items())


@atexit.register
def end_idle() -> None:
    for process, _ in (kept for idle in IDLE.values() for kept in idle):
        process.kill()
