"""What is measured is kept: kills at any moment, full disks, cut lines, two writers, clocks set back, other schemas."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.command_line import vlbench
from tests.helpers import write_tiny
from tests.paths import ROOT
from tests.runner.made_up import CELLS, MACHINE, RESTARTS, cells
from vlbench.errors import InputError
from vlbench.runner.cells import blank_result
from vlbench.runner.reader import read_results
from vlbench.runner.records import Restart, Result, WarmUp
from vlbench.runner.schemas import RESULT_SCHEMA
from vlbench.runner.store import Store, append_line

KILLS = 24

# Imports once, and forks a process for each run: a line on standard input names its folder.
RUNS = """
import os, sys, traceback
from contextlib import closing
from pathlib import Path
from tests.runner.made_up import MACHINE, cells, fake_worker
from vlbench.runner.records import Result
from vlbench.runner.plan import split_measured
from vlbench.runner.scheduler import measure_rounds
from vlbench.runner.store import Store

def run(folder):
    with fake_worker(folder) as worker, closing(Store(folder / "out", Result)) as store:
        missing, _ = split_measured(cells(), store, MACHINE)
        print("begun", os.getpid(), flush=True)
        for result in measure_rounds(missing, store, MACHINE, worker):
            pass

for line in sys.stdin:
    if not (pid := os.fork()):
        try:
            run(Path(line.strip()))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture
def runs() -> Iterator[subprocess.Popen]:
    with subprocess.Popen(
        [sys.executable, "-c", RUNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["parent", "worker"])
def test_kill_9_at_random_moments_loses_at_most_the_restart_under_way(
    runs: subprocess.Popen, tmp_path: Path, victim: str
) -> None:
    """A round of four cells takes about half a second; runs are killed until half of all kills have struck."""
    source = random.Random(victim)
    kills = lost_at_most = 0
    while kills < KILLS // 2:
        folder = tmp_path / str(kills)
        folder.mkdir()
        struck = True
        while struck and kills < KILLS // 2:
            struck = killed_run(runs, folder, victim, source.uniform(0, 0.5))
            kills += struck
            lost_at_most += struck
        while killed_run(runs, folder, "nobody", 0):
            pass
        results = read_results(folder / "out")
        ok = [result for result in results if result.status == "ok"]
        assert len(ok) == len({result.cell_hash for result in ok}) == CELLS, "each cell has one good line"
        numbers = [restart.latency_ms[0] for result in ok for restart in result.restarts]
        assert len(numbers) == len(set(numbers)) == RESTARTS * CELLS, "no restart is told twice"
        assert not (folder / "out" / "cells.unfinished.jsonl").exists()
        lost = (folder / "begun").stat().st_size - len(numbers)
        assert lost <= lost_at_most
        lost_at_most = 0
        failed = [result.error or "" for result in results if result.status == "failed"]
        assert victim == "worker" or not failed
        assert all("killed by signal 9" in error for error in failed)


def killed_run(runs: subprocess.Popen, folder: Path, victim: str, after_seconds: float) -> bool:
    """Starts or goes on with a run, and kills one of its processes so much later; whether that struck."""
    print(folder, file=runs.stdin, flush=True)
    begun, pid = runs.stdout.readline().split()
    assert begun == "begun"
    struck = False
    if victim != "nobody":
        time.sleep(after_seconds)
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it had ended
            parent = psutil.Process(int(pid))
            targets = [parent] if victim == "parent" else parent.children()
            if targets:
                os.kill(targets[0].pid, signal.SIGKILL)
                struck = True
    ended, code = runs.stdout.readline().split()
    assert ended == "ended"
    if victim == "parent":
        struck = code == "-9"  # one that had just ended of itself takes a signal, too
    assert struck or code == "0"
    return struck


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store[Result]]:
    with closing(Store(tmp_path, Result)) as opened:
        yield opened


def a_result(batch: int = 1) -> Result:
    return blank_result(cells()[batch - 1], MACHINE, status="failed", error="why", measured_at="now")


def a_restart(value: float = 1.0) -> Restart:
    return Restart(latency_ms=(value,), warm_up=WarmUp(n=1, steady=True), measured_at="now")


def test_a_second_writer_is_refused_and_a_reader_is_not(store: Store[Result], tmp_path: Path) -> None:
    store.add(a_result())
    with pytest.raises(InputError, match=r"another vlbench writes there; wait for it or name another"):
        Store(tmp_path, Result)
    assert read_results(tmp_path) == [a_result()]
    store.close()
    Store(tmp_path, Result).close()


def test_two_runs_into_one_folder_from_the_command_line(tmp_path: Path) -> None:
    model = write_tiny(tmp_path, "vit-b16")
    out = tmp_path / "out"
    with closing(Store(out, Result)):
        process = vlbench("run", "--models", model, "--device", "cpu", "--out", out)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "another vlbench writes there" in process.stderr


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    script = "import sys, os; from pathlib import Path; from vlbench.runner.records import Result\n"
    script += f"from vlbench.runner.store import Store; store = Store(Path({str(tmp_path)!r}), Result)\n"
    script += "os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    Store(tmp_path, Result).close()


@pytest.mark.parametrize("cut", [1, 40, -2], ids=["at its start", "in the middle", "before its end"])
def test_a_last_line_that_was_cut_off_is_moved_aside_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture, cut: int
) -> None:
    whole, fragment = a_result(1).to_line(), a_result(2).to_line()[:cut]
    path = tmp_path / "cells.jsonl"
    path.write_text(whole + "\n" + fragment)
    assert read_results(tmp_path) == [a_result(1)]
    assert "line 2: cut off in the middle and left out; the others are kept" in capsys.readouterr().err
    with closing(Store(tmp_path, Result)) as store:
        store.add(a_result(3))
    assert "moved to cells.jsonl.cut-off" in capsys.readouterr().err
    assert (tmp_path / "cells.jsonl.cut-off").read_text() == fragment + "\n"
    assert read_results(tmp_path) == [a_result(1), a_result(3)]
    assert capsys.readouterr().err == ""


def test_a_last_line_that_lacks_its_end_alone_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "cells.jsonl").write_text(a_result(1).to_line())
    with closing(Store(tmp_path, Result)) as store:
        store.add(a_result(2))
    assert read_results(tmp_path) == [a_result(1), a_result(2)]
    assert capsys.readouterr().err == ""


def test_a_full_disk_leaves_whole_lines_and_is_one_line(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the write stops in the middle of a line in the same way."""
    model = write_tiny(tmp_path, "vit-b16")
    out = tmp_path / "out"
    options = ("--device", "cpu", "--threads", "1", "--budget", "0.2", "--out", out)
    words = map(str, (sys.executable, "-m", "vlbench", "run", "--models", model, *options))
    process = subprocess.run(
        ["bash", "-c", f"ulimit -f 3; exec {shlex.join(words)}"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2, process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith(f"vlbench: {out}")
    assert "File too large; what was measured before is kept" in last
    assert "Traceback" not in process.stderr
    kept = (out / "cells.unfinished.jsonl").read_text()
    assert kept.endswith("\n")
    again = vlbench("run", "--models", model, *options)
    assert again.returncode == 0, again.stderr
    (result,) = read_results(out)
    assert [restart.model_dump(mode="json") for restart in result.restarts][: kept.count("\n")] == [
        json.loads(line)["restart"] for line in kept.splitlines()
    ]


def test_a_line_that_cannot_be_written_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.write

    def half(descriptor: int, content: bytes) -> int:
        if len(content) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(descriptor, content[: len(content) // 2])

    path = tmp_path / "lines"
    with path.open("ab", buffering=0) as file:
        append_line(file, "the first line")
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left") as raised:
            append_line(file, "the second line is longer")
    assert raised.value.filename == str(path)
    assert path.read_text() == "the first line\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); name another folder"):
        Store(tmp_path / "out", Result)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match=r"--out .*out: cannot be written"):
        Store(tmp_path / "out", Result)


def test_restarts_are_gone_on_with_on_the_same_machine_alone(tmp_path: Path) -> None:
    hashed = cells()[0].hash()
    other = MACHINE.model_copy(update={"torch": "1.0"})
    with closing(Store(tmp_path, Result)) as store:
        for machine in (MACHINE, other):
            store.keep_restart(hashed, machine, a_restart())
        store.keep_restart("another cell", MACHINE, a_restart())
    with (tmp_path / "cells.unfinished.jsonl").open("a") as file:
        file.write('[1]\nnull\n{"schema": null, "cell_hash": "x"}\nnot JSON\n{"cut')
    with closing(Store(tmp_path, Result)) as store:
        assert len(store.restarts(hashed, MACHINE)) == 1
        store.drop_journal()
        assert store.restarts(hashed, MACHINE) == []


def test_a_clock_that_was_set_back_changes_no_order(tmp_path: Path) -> None:
    with closing(Store(tmp_path, Result)) as store:
        for measured_at in ("2026-06-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00"):
            store.add(a_result().model_copy(update={"measured_at": measured_at}))
    assert [result.measured_at[:4] for result in read_results(tmp_path)] == ["2026", "1970"]


OTHER_SCHEMAS = {1: "older", 4: "older", 6: "newer", 99: "newer"}


@pytest.mark.parametrize("name", ["cells.jsonl", "evaluations.jsonl", "suppressions.jsonl", "peaks.jsonl"])
@pytest.mark.parametrize("schema", OTHER_SCHEMAS)
def test_another_schema_is_refused_before_anything_is_measured_and_its_folder_stays(
    tmp_path: Path, schema: int, name: str
) -> None:
    path = tmp_path / name
    path.write_text(f'{{"schema":{schema}}}\n{{"cut off in the mid')
    before = path.read_bytes()
    with pytest.raises(InputError) as told:
        Store(tmp_path, Result)
    assert str(told.value) == (
        f"{path} line 1: schema {schema}, but this vlbench reads schema {RESULT_SCHEMA} only; use the "
        f"{OTHER_SCHEMAS[schema]} vlbench that wrote it or name another folder"
    )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_into_a_folder_of_another_schema_ends_in_one_line_at_once(tmp_path: Path) -> None:
    model = write_tiny(tmp_path, "vit-b16")
    out = tmp_path / "out"
    out.mkdir()
    content = a_result().to_line().replace(f'"schema":{RESULT_SCHEMA}', '"schema":4')
    (out / "cells.jsonl").write_text(content + "\n")
    process = vlbench("run", "--models", model, "--device", "cpu", "--out", out)
    assert process.returncode == 2
    assert process.stderr.startswith(
        f"vlbench: {out / 'cells.jsonl'} line 1: schema 4, but this vlbench reads schema 5 "
    )
    assert process.stderr.count("\n") == 1
    assert [path.name for path in out.iterdir()] == ["cells.jsonl"]
    assert (out / "cells.jsonl").read_text() == content + "\n"


@pytest.mark.parametrize("schema", OTHER_SCHEMAS)
def test_unfinished_restarts_of_another_schema_are_refused_and_kept(tmp_path: Path, schema: int) -> None:
    with closing(Store(tmp_path, Result)) as store:
        store.keep_restart(cells()[0].hash(), MACHINE, a_restart())
    journal = tmp_path / "cells.unfinished.jsonl"
    entry = json.loads(journal.read_text())
    assert entry["schema"] == RESULT_SCHEMA
    journal.write_text(json.dumps(entry | {"schema": schema}) + "\n")
    before = journal.read_text()
    with pytest.raises(InputError, match=f"cells.unfinished.jsonl line 1: schema {schema}, but this vlbench reads"):
        Store(tmp_path, Result)
    assert journal.read_text() == before


@pytest.mark.parametrize("schema", OTHER_SCHEMAS)
def test_the_line_of_another_schema_is_named(tmp_path: Path, schema: int) -> None:
    lines = [json.loads(a_result().to_line()) | {"schema": number} for number in (RESULT_SCHEMA, schema)]
    (tmp_path / "cells.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(
        InputError, match=f"cells.jsonl line 2: schema {schema}, .* the {OTHER_SCHEMAS[schema]} vlbench"
    ):
        read_results(tmp_path)


@pytest.mark.parametrize("schema", [0, None, "5", 5.0, True])
def test_a_schema_that_never_was_is_refused(tmp_path: Path, schema: object) -> None:
    content = json.loads(a_result().to_line()) | {"schema": schema}
    (tmp_path / "cells.jsonl").write_text(json.dumps(content) + "\n")
    with pytest.raises(InputError, match=f"line 1: schema {schema}, which vlbench never wrote; move the line to"):
        read_results(tmp_path)


def test_published_results_are_still_read() -> None:
    published = sorted(ROOT.glob("results/*/**/cells.jsonl"))
    assert published
    assert all(read_results(path.parent) for path in published)
