"""What all tests share: two tiers, the machine to oneself, the reference data, and a look at who else computes here."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import io
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.paths import REFERENCE_DATA
from vlbench.doctor.activity import watch
from vlbench.system.signals import ENDING_SIGNALS
from vlbench.system.temporary import remove_leftovers

OTHERS_CORES = 0.3

for number in ENDING_SIGNALS:  # what a script runs in the background ignores Ctrl-C, and what nohup runs SIGHUP, too;
    if signal.getsignal(number) is signal.SIG_IGN:  # what tests start would inherit that
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

if "PYTEST_XDIST_WORKER" in os.environ:  # one core and one temporary folder per worker, also in what tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="tests-")
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that are marked slow")


NO_GPU = "no GPU"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not has_gpu():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason=NO_GPU))
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


def has_gpu() -> bool:
    import torch  # noqa: PLC0415  slow to import, and most runs have no such test

    return torch.cuda.is_available()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if NO_GPU in str(report.longrepr)]
    if skipped:
        count = f"{len(skipped)} test{'s' if len(skipped) > 1 else ''}"
        terminalreporter.write_line(f"skipped without a GPU: {count}; on a machine that has one: pytest -m gpu")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around the clock of pytest-timeout
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With several workers, a test marked serial runs while no other does: a lock that it holds alone and the others
    share. Who waits for the lock keeps the gate, so that the other workers cannot keep it waiting."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    folder = Path(item.config.getoption("basetemp")).parent  # of all workers
    with (folder / "gate").open("w") as gate, (folder / "tests").open("w") as tests:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(tests, fcntl.LOCK_EX if item.get_closest_marker("serial") else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(tests, fcntl.LOCK_UN)


@pytest.fixture(autouse=True)
def no_leftovers() -> Iterator[None]:
    """What a killed run leaves behind is removed after its test, or the next run would say that it removes it."""
    yield
    with contextlib.redirect_stderr(io.StringIO()):
        remove_leftovers()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch computes on one thread, so that its sums do not depend on how many cores there are."""
    import torch  # noqa: PLC0415  slow to import, and many tests need none of it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generated world has 60 scenes to test on, of 420 questions, which is more than --quick evaluates on."""
    from vlbench.tasks.shapes import items  # noqa: PLC0415

    monkeypatch.setattr(items, "SCENES", {"test": 60, "val": 20, "train": 100})


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """`shared/data`, beside the repository; the test is skipped where a checkout comes without it."""
    if not REFERENCE_DATA.is_dir():
        pytest.skip(f"{REFERENCE_DATA} is absent")
    return REFERENCE_DATA


def skip_where_busy() -> None:
    """For a bar in seconds that was missed: it is one of a machine that nobody else computes on."""
    others = watch(1.0).interference.other_processes_cores
    if others is None or others > OTHERS_CORES:
        pytest.skip(f"others keep {others} cores busy, so that no bar in seconds holds")
