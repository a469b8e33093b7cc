"""The pytest plugin, in runs of pytest within a test."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from xml.etree import ElementTree

import pytest

from tests.helpers import others_slow
from tests.paths import ROOT
from tests.regression.live import test_live  # noqa: F401  the stub imports it
from tests.regression.live.made_up import Repository
from vlbench.regression.live import functions

pytest_plugins = ["pytester"]
# In an environment where vlbench was installed before it had the plugin, or where another checkout is installed
NAMED = [] if any(one.name == "vlbench" for one in entry_points(group="pytest11")) else ["-p", "vlbench.pytest_plugin"]
WORK = """
def once():
    for number in range(4_000):
        last = number ** 0.5
    return last

def thrice():
    return once(), once(), once()
"""
# Stands for the measuring: `{plan}` is that of the made-up head
STUB = """
import vlbench.regression.live.functions as functions
from tests.regression.live.test_live import QUIET, live

def compare_functions(function, baseline, **options):
    print("asked for", options)
    return live(base=QUIET, control=QUIET | {control}, head=QUIET | {head})

functions.compare_functions = compare_functions
"""
ONE_TEST = """
def speed(): ...

def test_speed(vlbench):
    vlbench.assert_not_slower(speed, speed)
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return pytester


def run(inner: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return inner.runpytest_subprocess(*NAMED, *arguments, timeout=300)


def stubbed(inner: pytest.Pytester, *, head: str = "{}", control: str = "{}") -> None:
    inner.makeconftest(STUB.format(head=head, control=control))
    inner.makepyfile(ONE_TEST)


def test_it_starts_with_pytest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"vlbench": "vlbench.pytest_plugin"}


def test_it_costs_pytest_nothing_to_speak_of() -> None:
    """It imports nothing but itself; the least of several times is below 10 ms."""
    code = """
import sys, time, pytest
before, start = set(sys.modules), time.perf_counter()
import vlbench.pytest_plugin
print(time.perf_counter() - start, *sorted(set(sys.modules) - before))
"""
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(5)
    ]
    assert all(modules == ["vlbench", "vlbench.pytest_plugin", "vlbench.version"] for _, *modules in said)
    assert min(float(seconds) for seconds, *_ in said) < 0.01


@pytest.mark.serial
@pytest.mark.slow
def test_live_slower_than_another_function_and_than_itself_before(inner: pytest.Pytester) -> None:
    """Three times the work, which little else hides."""
    repository = Repository(inner.path)
    repository.write("tests/test_speed.py", WORK)
    repository.commit("Start")
    slower = WORK.replace("4_000", "12_000")
    inner.path.joinpath("tests/test_speed.py").write_text(
        slower
        + """
def test_other(vlbench):
    vlbench.assert_not_slower(thrice, once, budget_seconds=100)

def test_before(vlbench):
    vlbench.assert_not_slower(once, "HEAD")
"""
    )
    result = run(inner, "-rs", "--vlbench-budget", "1", "--junit-xml", "junit.xml")
    said = result.stdout.str()
    if re.search(r"\d replicates\)|processes of the baseline differ", said):
        pytest.skip("something else runs on this machine, so that no verdict counts")
    result.assert_outcomes(failed=2)
    assert "Regression in 1 of 1 measurement: test_speed:thrice +" in said
    assert "BASE test_speed:once, HEAD test_speed:thrice" in said
    assert "BASE HEAD (" in said
    assert "vlbench.assert_not_slower(" not in said, "no traceback"
    assert "\x1b" not in said
    assert len(repository.worktrees()) == 1
    cases = {case.get("name"): case for case in ElementTree.parse(inner.path / "junit.xml").iter("testcase")}
    found = {one.get("name"): one.get("value") for one in cases["test_other"].iter("property")}
    assert found["vlbench_verdict"] == "slower"
    assert 2 < float(found["vlbench_ratio"] or 0) < 4
    assert float(found["vlbench_low"] or 0) > 1
    assert int(found["vlbench_replicates"] or 0) >= 14


@pytest.mark.parametrize(
    ("head", "control", "arguments", "outcomes", "said"),
    others_slow(
        [
            ("{}", "{}", [], {"passed": 1}, "asked for"),
            ("{'factor': 1.5}", "{}", [], {"failed": 1}, "Regression in 1 of 1 measurement"),
            ("{'factor': 0.5}", "{}", [], {"passed": 1}, ""),
            ("{'peak': 10**9}", "{}", [], {"passed": 1}, ""),
            (
                "{'factor': 1.3, 'until': 8}",
                "{}",
                [],
                {"skipped": 1},
                "vlbench cannot tell whether made.up:function is slower",
            ),
            ("{'factor': 1.5}", "{'factor': 1.3}", [], {"skipped": 1}, "two processes of the baseline differ"),
            ("{'factor': 1.5}", "{'factor': 1.3}", ["--vlbench-strict"], {"failed": 1}, "biased"),
            ("{'factor': 1.5}", "{}", ["--vlbench-skip"], {"skipped": 1}, "--vlbench-skip"),
            ("{}", "{}", ["--vlbench-budget", "7"], {"passed": 1}, "'budget_seconds': 7.0, 'threads': 1"),
        ],
        first=5,
    ),
)
def test_outcomes(
    inner: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    head: str,
    control: str,
    arguments: list[str],
    outcomes: dict[str, int],
    said: str,
) -> None:
    """In this process, where all that is slow to import is imported already."""
    monkeypatch.setattr(functions, "compare_functions", functions.compare_functions)  # back to itself afterwards
    stubbed(inner, head=head, control=control)
    result = inner.runpytest_inprocess(*NAMED, "-rA", *arguments)
    result.assert_outcomes(**outcomes)
    assert said in result.stdout.str()


def test_bad_input_is_one_line(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
def speed(): ...

def test_lambda(vlbench):
    vlbench.assert_not_slower(lambda: 3, speed)

def test_revision(vlbench):
    vlbench.assert_not_slower(speed, "nowhere")

def test_threshold(vlbench):
    vlbench.assert_not_slower(speed, speed, threshold=5)
"""
    )
    result = run(inner, "-q")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "vlbench: *<lambda> cannot be imported by a fresh process; a function at the top of a module, without*",
            "vlbench: baseline 'nowhere': *",
            "vlbench: threshold=5: *",
        ]
    )
    assert "Error" not in result.stdout.str(), "no traceback"


def test_a_fixture_of_that_name_elsewhere_goes_before_it(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
import pytest

@pytest.fixture
def vlbench():
    return 3

def test_mine(vlbench):
    assert vlbench == 3
"""
    )
    run(inner, "--vlbench-skip").assert_outcomes(passed=1)


def test_its_options_are_explained(inner: pytest.Pytester) -> None:
    said = run(inner, "--help").stdout.str()
    assert all(option in said for option in ("--vlbench-budget=SECONDS", "--vlbench-skip", "--vlbench-strict"))
    fixtures = run(inner, "--fixtures").stdout.str()
    assert "Compares the speed of functions: `vlbench.assert_not_slower(function, baseline)`." in fixtures
