"""What a fresh process can import, from where, and what is said of the rest."""

from __future__ import annotations

import functools
import importlib
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.regression.live.made_up import Repository
from vlbench.errors import InputError
from vlbench.regression.live.functions import at_revision, compare_functions, import_paths, importable

HERE = __name__  # as pytest imports it


def plain() -> int:
    return 3


def needy(one: int, two: int = 2) -> int:
    return one + two


def lenient(*values: int, one: int = 1) -> int:
    return one


class Holder:
    @staticmethod
    def static() -> None: ...

    @classmethod
    def of_class(cls) -> None: ...

    def method(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (plain, "plain"),
        (lenient, "lenient"),
        (Holder.static, "Holder.static"),
        (Holder.of_class, "Holder.of_class"),
        (Holder, "Holder"),
    ],
)
def test_what_can_be_imported_has_a_name(function: object, name: str) -> None:
    assert importable(function) == f"{HERE}:{name}"


def closure() -> object:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: 3, "<lambda> cannot be imported by a fresh process"),
        (closure(), r"closure.<locals>.inner cannot be imported by a fresh process"),
        (functools.partial(needy, 1), "is not a named function"),
        (Holder().method, "Holder.method cannot be imported by a fresh process"),
        (needy, r"needy needs arguments \(one\)"),
        (Holder.method, r"Holder.method needs arguments \(self\)"),
        ("plain", "'plain' is not a named function"),
    ],
)
def test_what_cannot_is_refused_in_one_line(function: object, said: str) -> None:
    with pytest.raises(InputError, match=rf"{said}.*; a function at the top of a module, without arguments, works$"):
        importable(function)


def test_a_replaced_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plain
    monkeypatch.setattr(sys.modules[HERE], "plain", needy)
    with pytest.raises(InputError, match="plain cannot be imported"):
        importable(before)


def test_folders_are_those_of_the_function_first_and_none_of_the_interpreter() -> None:
    paths = import_paths([plain], None)
    assert paths[0] == str(Path(__file__).parents[HERE.count(".")])
    assert not any(path.endswith("site-packages") for path in paths)
    assert len(set(paths)) == len(paths)


def test_bad_values_are_refused() -> None:
    with pytest.raises(InputError, match=r"threshold='5': .*5% or 0.05 works"):
        compare_functions(plain, lenient, threshold="5", budget_seconds=1, threads=1)
    with pytest.raises(InputError, match="a budget of 0 seconds; 30 works"):
        compare_functions(plain, lenient, threshold="5%", budget_seconds=0, threads=1)
    with pytest.raises(InputError, match="math:sqrt needs arguments"):
        compare_functions(math.sqrt, lenient, threshold="5%", budget_seconds=1, threads=1)  # type: ignore[arg-type]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A package below `lib`, which is imported from there; two commits of it, the second with one more module."""
    made = Repository(tmp_path / "project")
    made.write("lib/gate_example/__init__.py", "")
    made.write("lib/gate_example/work.py", "def speed():\n    return 1\n")
    made.commit("Start")
    made.write("lib/gate_example/work.py", "def speed():\n    return 2\n")
    made.write("lib/gate_example/new.py", "def speed():\n    return 3\n")
    made.commit("Next")
    monkeypatch.syspath_prepend(str(made.folder / "lib"))
    monkeypatch.chdir(made.folder / "lib")
    return made


def test_a_revision_is_imported_from_its_checkout(project: Repository) -> None:
    work = importlib.import_module("gate_example.work")
    paths = import_paths([work.speed], project.folder)
    with at_revision("HEAD~1", work.speed, paths) as side, side.worker(1) as worker:
        code = "import gate_example.work as work; print(work.speed(), work.__file__)"
        said = subprocess.run(
            [side.python, "-c", code], env=worker.environment, cwd=worker.folder, capture_output=True, text=True
        ).stdout.split()
        assert said[0] == "1"
        assert not Path(said[1]).is_relative_to(project.folder)
        assert side.label.startswith("HEAD~1 (")
        assert not any(Path(path).is_relative_to(project.folder) for path in side.paths or [])
        assert worker.folder
        assert worker.folder.name == "lib"
    assert len(project.worktrees()) == 1


def test_what_a_revision_lacks_is_not_taken_from_elsewhere(project: Repository) -> None:
    new = importlib.import_module("gate_example.new")
    for revision, said in (
        ("HEAD~1", "baseline 'HEAD~1': new.py is not in it; name a later revision or a function"),
        ("nowhere", "baseline 'nowhere': no git revision here"),
    ):
        with pytest.raises(InputError, match=said), at_revision(revision, new.speed, []):
            pass


def test_a_function_that_lies_in_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gate_alone.py").write_text("def speed(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    alone = importlib.import_module("gate_alone")
    with (
        pytest.raises(InputError, match=r"baseline 'HEAD': .*not a git repository"),
        at_revision("HEAD", alone.speed, []),
    ):
        pass
