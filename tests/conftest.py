"""What tests share: the reference data beside the repository, and a look at who else computes here."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import REFERENCE_DATA
from vlbench.doctor.activity import watch

OTHERS_CORES = 0.3

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a script runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else what tests start would ignore their Ctrl-C, too


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch computes on one thread, so that its sums do not depend on how many cores there are."""
    import torch  # noqa: PLC0415  slow to import, and many tests need none of it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """`shared/data`, beside the repository; the test is skipped where a checkout comes without it."""
    if not REFERENCE_DATA.is_dir():
        pytest.skip(f"{REFERENCE_DATA} is absent")
    return REFERENCE_DATA


def skip_where_busy() -> None:
    """For a bar in seconds that was missed: it is one of a machine that nobody else computes on."""
    others = watch(1.0).evidence.others_cores
    if others is None or others > OTHERS_CORES:
        pytest.skip(f"others keep {others} cores busy, so that no bar in seconds holds")
