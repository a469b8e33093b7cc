"""Temporary folders that do not outlive their process for long: each holds a lock, which the kernel frees when the
process ends, however it ends, and a later run removes the folders whose lock is free."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vlbench.frozen import Frozen
from vlbench.system.console import print_error
from vlbench.system.signals import signals_deferred

PREFIX = "vlbench-"
OWNER = "owner.json"
CONTENT = "files"  # short, as a path of a socket has at most 107 bytes
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MOST_NAMED = 3


class Owner(Frozen):
    """The process that uses a temporary folder. `boot` names the running kernel; it is empty where none is known."""

    host: str
    boot: str
    pid: int

    @property
    def was_here(self) -> bool:
        """Whether this machine's locks tell if the process is alive: containers share a kernel, a folder that machines
        share may not share its locks."""
        here = this_process()
        return self.host == here.host or (bool(self.boot) and self.boot == here.boot)


def this_process() -> Owner:
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
    return Owner(host=socket.gethostname(), boot=boot, pid=os.getpid())


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder, removed at the end. First removes, and names, those of processes that were killed."""
    remove_leftovers()
    owner = this_process().model_dump_json()  # beforehand, so that a folder is without one for microseconds alone
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    with (folder / OWNER).open("w", encoding="utf-8") as file:
        try:
            with suppress(OSError):  # some file systems have no locks; without an owner, no other run removes it
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(owner)
                file.flush()
            (folder / CONTENT).mkdir()
            yield folder / CONTENT
        finally:
            with signals_deferred():
                _remove(folder, file)


def remove_leftovers() -> None:
    """Removes the folders of this user's processes that have ended on this machine without removing them."""
    folders = sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))
    removed = [str(folder) for folder in folders if _remove_if_left(folder)]
    if removed:
        more = f" and {len(removed) - MOST_NAMED} more" if len(removed) > MOST_NAMED else ""
        print_error(f"removed {', '.join(removed[:MOST_NAMED])}{more}: left behind by a run that was killed")


def _remove_if_left(folder: Path) -> bool:
    try:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return False
        with (folder / OWNER).open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # An owner is written once the lock is held. A file without a link was removed by another run meanwhile.
            if not os.fstat(file.fileno()).st_nlink or not Owner.model_validate_json(file.read()).was_here:
                return False
            _remove(folder, file)
    except (OSError, ValueError):
        return False
    return not folder.exists()


def _remove(folder: Path, file: IO[str]) -> None:
    """The owner last, so that a later run finds it if this is interrupted. NFS keeps an open file until it is closed,
    and its folder with it."""
    shutil.rmtree(folder / CONTENT, ignore_errors=True)
    (folder / OWNER).unlink(missing_ok=True)
    file.close()
    with suppress(OSError):
        folder.rmdir()
