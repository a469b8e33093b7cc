"""The parent's side of a worker: starts it, sends it jobs, reads its answers, ends it. It blocks in between: while
something is measured, it computes nothing."""

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
from vlbench.measure.affinity import confine
from vlbench.measure.machine import Machine
from vlbench.specs import RANDOM, AnySpec

SILENCE_SECONDS = 600  # the longest time that a worker may say nothing
WORKER = [sys.executable, "-m", "vlbench.runner.worker"]


class Worker:
    """A process that forks a fresh one for each job. It starts with the first job, and again after one that broke it.

    Args:
        threads: of PyTorch and of what else reads OMP_NUM_THREADS.
        command: of a worker with another interpreter; by default this one's.
        environment: what it has beside this process's.
        folder: where it starts.
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
        self.said = tempfile.TemporaryFile()  # noqa: SIM115  closed by close
        self.said_before = 0  # bytes that earlier jobs left on standard error
        self.asked = False  # since it started
        self.process: subprocess.Popen | None = None
        self.pending: list[str] = []
        self.fragment = b""

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, job: Mapping[str, Any], silence_seconds: float | None = None) -> Iterator[dict[str, Any]]:
        """The messages that a job gives, each as it comes.

        Raises WorkerError where the job fails, or the worker dies, answers nonsense or says nothing for so long;
        InputError where it refuses what it was asked.
        """
        silence = SILENCE_SECONDS if silence_seconds is None else silence_seconds
        self.send(job)
        answered = False
        while True:
            message = self.receive(silence)
            if "ended" in message:
                if not answered:
                    raise WorkerError(self.why_it_died(message["ended"]))
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
        """Sends a line; what becomes of it, the answer says."""
        self.start()
        assert self.process is not None
        assert self.process.stdin is not None
        if self.asked:  # what it said at its imports belongs to the first job
            self.said_before = os.fstat(self.said.fileno()).st_size
        self.asked = True
        try:
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died before it read its job; what it answers says how

    def receive(self, silence_seconds: float) -> dict[str, Any]:
        """The next message. Raises WorkerError, and ends the worker, where there is none or it is nonsense."""
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
        """Has what does the present job run on these cores alone, until that job ends."""
        for child in psutil.Process(self.process.pid).children() if self.process else ():
            confine(child.pid, cores)

    def close(self) -> None:
        self.end()
        self.said.close()

    def end(self) -> None:
        """Ends the process and whatever it forked; the next job starts another."""
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
        """Begins its imports, in a session of its own, so that Ctrl-C reaches the parent alone."""
        if self.process is not None:
            return
        self.said_before, self.asked = os.fstat(self.said.fileno()).st_size, False
        self.process = subprocess.Popen(
            self.command or WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            bufsize=0,
            env=os.environ | self.environment,
            cwd=self.folder,
            start_new_session=True,
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
                    raise WorkerError(self.why_it_died(self.process.wait()))
                *lines, self.fragment = (self.fragment + chunk).split(b"\n")
                self.pending += [line.decode("utf-8", errors="replace") for line in lines]
        return self.pending.pop(0)

    def why_it_died(self, status: int) -> str:
        """Exit status or signal, and the last line that this job left on standard error."""
        size = os.fstat(self.said.fileno()).st_size - self.said_before
        said = os.pread(self.said.fileno(), size, self.said_before).decode(errors="replace")
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "no message")
        how = f"killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        return f"the worker {how} without a result: {last}"


def probe_machine(threads: int, worker: Worker) -> Machine:
    """This machine, as a worker reports it; only PyTorch knows whether it can use a GPU."""
    (message,) = worker.ask({"action": "probe", "threads": threads})
    return Machine.model_validate(message["machine"])


def check_weights(specs: Iterable[AnySpec], worker: Worker) -> None:
    """Raises InputError where weights that a spec names cannot be read or are another model's, before time is spent."""
    for spec in specs:
        if {spec.weights, spec.visual.weights} == {RANDOM}:
            continue
        with suppress(WorkerError):  # its cell will tell why it cannot be built
            list(worker.ask({"action": "fill", "spec": spec.model_dump(mode="json")}))
