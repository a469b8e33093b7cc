"""What a side can be, and that a checkout is gone afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from vlbench.cli.ab import parse_options
from vlbench.cli.live_options import model_names
from vlbench.errors import InputError
from vlbench.regression.compare.outcomes import Thresholds
from vlbench.regression.live.checkouts import checked_out
from vlbench.regression.live.lockstep import Member, orders_of, pace_for
from vlbench.regression.live.run import LiveRequest, start_workers
from vlbench.regression.live.sides import Side, open_sides
from vlbench.runner.worker_client import Worker

NONE: dict = {}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits of a module that says which it is, and a change that is not committed."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for number, tag in ((1, "one"), (2, "two")):
        (folder / "mine.py").write_text(f"def speed():\n    return {number}\n")
        git("init", "-q") if number == 1 else None
        git("add", "mine.py")
        git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", tag)
        git("tag", tag)
    (folder / "mine.py").write_text("def speed():\n    return 3\n")
    return folder


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout


def told(worker: Worker) -> int:
    """What `mine.speed()` says where a worker would import it."""
    code = "import mine; print(mine.speed())"
    assert worker.command
    environment = {"PYTHONPATH": worker.environment["PYTHONPATH"]}
    process = subprocess.run(
        [worker.command[0], "-c", code], capture_output=True, text=True, env=environment, cwd=worker.folder, check=True
    )
    return int(process.stdout)


def test_revisions_are_checked_out_side_by_side_and_removed(repository: Path) -> None:
    with open_sides("one", "two", base_options=NONE, head_options={"threads": 2}) as (base, head):
        with base.worker(1) as first, head.worker(1) as second:
            assert (told(first), told(second)) == (1, 2)
        assert base.label.startswith("one (")
        assert head.options == {"threads": 2}
        assert base.source
        assert base.source.is_dir()
    assert not base.source.exists()
    assert len(git("worktree", "list").splitlines()) == 1
    assert (repository / "mine.py").read_text().endswith("3\n"), "the working tree is left alone"


def test_a_folder_is_taken_as_it_is(repository: Path) -> None:
    with open_sides("one", ".", base_options=NONE, head_options=NONE) as (_, head), head.worker(1) as worker:
        assert told(worker) == 3


def test_a_virtual_environment_and_an_interpreter(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    python = tmp_path / "venv" / "bin" / "python"
    python.symlink_to(sys.executable)
    with open_sides(str(tmp_path / "venv"), str(python), base_options=NONE, head_options=NONE) as (base, head):
        assert base.python == head.python == str(python)
        assert base.source is None


def test_nothing_named_is_this_installation(repository: Path) -> None:
    with open_sides(None, None, base_options=NONE, head_options=NONE) as (base, head):
        assert (base.python, base.source, head.label) == (sys.executable, None, "this installation")


def test_what_is_nothing_of_all_that(repository: Path) -> None:
    message = "--head three: neither a git revision here, nor a virtual environment, nor a folder with code"
    with pytest.raises(InputError, match=message), open_sides("one", "three", base_options=NONE, head_options=NONE):
        pass
    assert len(git("worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("echo 0", "its vlbench is too old for a live comparison; a later revision works"),
        ("echo 1000", "its vlbench is newer than this one; run the newer one's vlbench ab"),
        ("echo \"No module named 'vlbench.runner.schemas'\" >&2; exit 1", "its vlbench is too old"),
        ("echo \"ModuleNotFoundError: No module named 'vlbench'\" >&2; exit 1", "vlbench cannot be imported there"),
        ("echo A reason >&2; exit 1", "its vlbench does not answer: A reason"),
        ("exit 5", "its vlbench does not answer: no message"),
    ],
)
def test_a_side_that_does_not_speak_alike_is_said_before_anything_is_measured(
    tmp_path: Path, answer: str, said: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{answer}\n")
    python.chmod(0o755)
    this = Side(name="head", label="this installation")
    other = Side(name="base", label="another", python=str(python))
    request = LiveRequest(callables=["a:b"], settings={"threads": 1}, thresholds=Thresholds(), budget_seconds=1)
    with pytest.raises(InputError, match=rf"^base \(another\): {said}"), start_workers(request, other, this):
        pass


def test_this_checkout_speaks_to_itself() -> None:
    Side(name="base", label="a checkout", source=ROOT).check()
    Side(name="base", label="paths of its own", paths=[str(ROOT)]).check()


def test_an_interpreter_that_does_not_start(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("no program")
    python.chmod(0o755)
    with pytest.raises(InputError, match=r"base \(another\): .*: Exec format error"):
        Side(name="base", label="another", python=str(python)).check()


def test_a_checkout_that_was_interrupted_is_gone(repository: Path) -> None:
    checkout = checked_out("one")
    folder = checkout.__enter__()
    (folder / ".git").unlink()
    assert not checkout.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None), "it goes on"
    assert not folder.exists()
    assert len(git("worktree", "list").splitlines()) == 1


def test_hooks_do_not_run_for_a_checkout(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with checked_out("one") as folder:
        assert (folder / "mine.py").exists()


def test_options_have_the_types_of_settings() -> None:
    texts = ["threads=2", "image-size=416x672", "device=cpu", "text=a = b"]
    assert parse_options("--head-option", texts) == {
        "threads": 2,
        "image_size": (416, 672),
        "device": "cpu",
        "text": "a = b",
    }


def test_models_are_named_each_once() -> None:
    assert model_names("vilt, ./mine.yaml,vilt,,unheard-of") == ["vilt", "./mine.yaml", "unheard-of"]
    assert model_names("vit-b*,vit-b16") == ["vit-b16", "vit-b32"], "a worker knows no globs"
    with pytest.raises(InputError, match="no model matches 'nothing"):
        model_names("nothing*")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("threads", "not NAME=VALUE; threads=1 works"),
        ("threads=", "not NAME=VALUE"),
        ("thread=1", "no option 'thread' here; did you mean threads?"),
        ("threads=many", "'many' is not a valid threads"),
        ("threads=0", "'0' is not a valid threads"),
        ("device=tpu", "--device tpu: no such device"),
        ("image-size=3", "384x640 works"),
    ],
)
def test_bad_options_are_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_options("--base-option", [text])


@pytest.mark.parametrize(
    ("pass_ms", "discarded", "passes", "cycles"),
    [(0.01, 1, 100, 6), (0.5, 1, 40, 6), (10, 1, 2, 6), (60, 1, 1, 3), (500, 0, 1, 1)],
)
def test_blocks_are_short_and_a_replicate_has_so_many_that_each_stood_in_each_place(
    pass_ms: float, discarded: int, passes: int, cycles: int
) -> None:
    pace = pace_for(pass_ms)
    assert (pace.discarded, pace.end_to_end, pace.cycles) == (discarded, passes, cycles)
    assert pace.by_stage >= 1


def test_every_member_stands_in_every_place_equally_often() -> None:
    members = [Member(name=name, worker=Worker(1), workload={}) for name in ("base", "control", "head")]
    orders = [[member.name for member in order] for order in orders_of(members)]
    for half in (orders[:3], orders[3:]):
        assert [sorted(place) for place in zip(*half, strict=True)] == [["base", "control", "head"]] * 3
    assert len({tuple(order) for order in orders}) == 6
