"""The parent's side of a worker: it starts the process, sends jobs, reads the answers and ends the process. It blocks
while it waits, so that it takes no time from what is measured."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from vlbench.errors import InputError, WorkerError
from vlbench.measuring.machine import Machine, confine
from vlbench.specs import RANDOM, AnySpec, ModuleSpec
from vlbench.specs.module import Overrides
from vlbench.system.child_processes import child_environment, die_with_parent
from vlbench.system.console import reserve_descriptors

SILENCE_SECONDS = 600  # the longest time without a message from a worker
WORKER = [sys.executable, "-m", "vlbench.runner.worker"]


class Worker:
    """A process that forks a fresh one for each job. The first job starts it, and so does the next one after a crash.

    Args:
        threads: of PyTorch and of other libraries that read OMP_NUM_THREADS.
        command: starts a worker of another interpreter; by default of this one.
        environment: variables in addition to those of this process.
        folder: its working directory; by default that of this process.
    """

    def __init__(
        self,
        threads: int,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.command = command
        self.environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self.environment |= dict(environment or {})
        self.folder = folder
        reserve_descriptors()  # a pipe or the log would take the number of a closed one
        self.stderr_log = tempfile.TemporaryFile()  # noqa: SIM115  closed by close
        self.stderr_start = 0  # where the output of the present job begins in the log
        self.had_job = False  # since it started
        self.process: subprocess.Popen | None = None
        self.pending: list[str] = []
        self.fragment = b""

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run_job(self, job: Mapping[str, Any], silence_seconds: float | None = None) -> Iterator[dict[str, Any]]:
        """Yields the messages of a job as they arrive.

        Raises WorkerError if the job fails, or the worker dies, sends something else than JSON, or nothing for so long;
        InputError if the worker refuses the job's input.
        """
        silence = SILENCE_SECONDS if silence_seconds is None else silence_seconds
        self.send(job)
        answered = False
        while True:
            message = self.receive(silence)
            if "ended" in message:
                if not answered:
                    raise WorkerError(self.death_reason(message["ended"]))
                return
            if "refused" in message:
                self.receive(silence)
                raise InputError(message["refused"])
            if "failed" in message:
                self.receive(silence)
                raise WorkerError(message["failed"])
            answered = answered or "phase" not in message
            yield message

    def send(self, job: Mapping[str, Any]) -> None:
        """Sends a job, or the next line of one. Failures show in the answer."""
        self.start()
        assert self.process is not None
        assert self.process.stdin is not None
        if self.had_job:  # what imports write belongs to the first job
            self.stderr_start = os.fstat(self.stderr_log.fileno()).st_size
        self.had_job = True
        try:
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died before it read the job; the answer will give the reason

    def receive(self, silence_seconds: float) -> dict[str, Any]:
        """The next message. Raises WorkerError, and ends the worker, if there is none or it is not JSON."""
        try:
            line = self._line(silence_seconds)
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError
        except ValueError as error:
            self.end()
            raise WorkerError(f"the worker answered what is not JSON: {line[:80]!r}") from error
        except BaseException:
            self.end()
            raise
        return message

    def confine(self, cores: tuple[int, ...]) -> None:
        """Restricts the process of the present job to these cores."""
        for child in psutil.Process(self.process.pid).children() if self.process else ():
            confine(child.pid, cores)

    def close(self) -> None:
        self.end()
        self.stderr_log.close()

    def end(self) -> None:
        """Kills the process and its forks; the next job starts another."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process, self.pending, self.fragment = None, [], b""

    def start(self) -> None:
        """Starts the process and its imports. It has a session of its own, so that Ctrl-C reaches only the parent."""
        if self.process is not None:
            return
        self.stderr_start, self.had_job = os.fstat(self.stderr_log.fileno()).st_size, False
        self.process = subprocess.Popen(
            self.command or WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr_log,
            bufsize=0,
            env=child_environment() | self.environment,
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=die_with_parent,  # a worker imports for seconds before it could see that its parent has gone
        )

    def _line(self, silence_seconds: float) -> str:
        """The next line; blocks until there is one."""
        assert self.process is not None
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while not self.pending:
                if not selector.select(timeout=silence_seconds):
                    raise WorkerError(f"timeout: the worker said nothing for {silence_seconds:.0f} s")
                chunk = os.read(descriptor, 1 << 16)
                if not chunk:
                    raise WorkerError(self.death_reason(self.process.wait()))
                *lines, self.fragment = (self.fragment + chunk).split(b"\n")
                self.pending += [line.decode("utf-8", errors="replace") for line in lines]
        return self.pending.pop(0)

    def death_reason(self, status: int) -> str:
        """Exit status or signal, and the last line that the present job wrote to standard error."""
        size = os.fstat(self.stderr_log.fileno()).st_size - self.stderr_start
        text = os.pread(self.stderr_log.fileno(), size, self.stderr_start).decode(errors="replace")
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")
        how = f"killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        return f"the worker {how} without a result: {last}"


def probe_machine(threads: int, worker: Worker) -> Machine:
    """This machine, as a worker reports it; only PyTorch knows whether it can use a GPU."""
    (message,) = worker.run_job({"action": "probe", "threads": threads})
    return Machine.model_validate(message["machine"])


def inspect_source(source: str, overrides: Overrides, worker: Worker) -> ModuleSpec:
    """The spec of a module that must be made to be known. Raises InputError as `inspect_module` does."""
    job = {"action": "inspect", "source": source, "overrides": overrides.model_dump(mode="json", exclude_unset=True)}
    try:
        (message,) = worker.run_job(job)
    except WorkerError as error:
        raise InputError(f"{source}: {error}") from error
    return ModuleSpec.model_validate(message["spec"])


def check_weights(specs: Iterable[AnySpec], worker: Worker) -> None:
    """Builds every model that has a checkpoint. Raises InputError if it cannot be read or belongs to another model."""
    for spec in specs:
        if {spec.weights, spec.visual.weights} == {RANDOM}:
            continue
        with suppress(WorkerError):  # the cell itself will record why the model cannot be built
            list(worker.run_job({"action": "fill", "spec": spec.model_dump(mode="json")}))
