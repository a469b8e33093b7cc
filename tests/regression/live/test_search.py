"""The search, with commits whose speeds are made up: what is measured, skipped, and answered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from math import ceil, log2

import pytest
from rich.console import Console

from vlbench.errors import InputError
from vlbench.regression.compare.effects import Effect
from vlbench.regression.live.bisect import Bisection, Step, Verdict, search
from vlbench.regression.live.bisect_tables import bisection_tables, headline
from vlbench.regression.live.revisions import Commit
from vlbench.tables.terminal import to_terminal
from vlbench.tables.writers import to_markdown

GOOD = Commit(hash="0" * 40, subject="The start")


def commits(count: int) -> list[Commit]:
    return [Commit(hash=f"{number + 1:010x}{0:030x}", subject=f"Step {number}") for number in range(count)]


class Speeds:
    """A cell is slower from the place that `since` names on; `said` overrides what a place says of a cell, in turn."""

    def __init__(
        self, way: Sequence[Commit], since: Mapping[str, int], said: Mapping[tuple[str, int], Sequence[Verdict]] = {}
    ) -> None:
        self.places = {commit: place for place, commit in enumerate(way)}
        self.since, self.said = since, {key: list(verdicts) for key, verdicts in said.items()}
        self.asked: list[tuple[int, tuple[str, ...], float]] = []

    def __call__(self, commit: Commit, cells: Sequence[str], budgets: float) -> list[Step]:
        place = self.places[commit]
        self.asked.append((place, tuple(cells), budgets))
        return [self._step(commit, place, cell) for cell in cells]

    def _step(self, commit: Commit, place: int, cell: str) -> Step:
        verdict: Verdict = "slower" if place >= self.since.get(cell, 10**6) else "same"
        if self.said.get((cell, place)):
            verdict = self.said[cell, place].pop(0)
        ratio = 1.5 if verdict == "slower" else 1.0
        effect = None if verdict == "failed" else Effect(ratio=ratio, low=0.99 * ratio, high=1.01 * ratio)
        reason = {"failed": "no such function", "unknown": "too wide"}.get(verdict)
        return Step(commit=commit, workload=cell, verdict=verdict, effect=effect, reason=reason)

    @property
    def places_asked(self) -> list[int]:
        return [place for place, _, _ in self.asked]


def answer(found: Bisection, cell: str, way: Sequence[Commit]) -> tuple[str, list[int]]:
    (one,) = (one for one in found.results if one.workload == cell)
    return one.status, [way.index(commit) for commit in one.commits]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 33])
def test_every_culprit_is_found_in_as_few_steps_as_halving_takes(length: int) -> None:
    way = commits(length)
    for culprit in range(length):
        speeds = Speeds(way, {"a": culprit})
        found = search(GOOD, way, ["a"], speeds)
        assert answer(found, "a", way) == ("culprit", [culprit])
        assert found.exit_code == 1
        assert speeds.places_asked[0] == length - 1, "the bad commit first"
        assert len(speeds.asked) <= 1 + ceil(log2(length))
        assert len(set(speeds.places_asked)) == len(speeds.asked)


def test_what_is_not_slower_is_not_measured_further() -> None:
    way = commits(8)
    speeds = Speeds(way, {"a": 5}, {("c", 7): ["faster"]})
    found = search(GOOD, way, ["a", "b", "c"], speeds)
    assert speeds.asked[0] == (7, ("a", "b", "c"), 1)
    assert all(cells == ("a",) for _, cells, _ in speeds.asked[1:])
    assert [one.status for one in found.results] == ["culprit", "not slower", "not slower"]


def test_nothing_slower() -> None:
    way = commits(8)
    speeds = Speeds(way, {})
    found = search(GOOD, way, ["a"], speeds)
    assert (found.exit_code, speeds.places_asked) == (0, [7])
    assert headline(found) == "Nothing is slower at 0000000008 than at 0000000000"


def test_two_culprits_share_the_commits_that_both_need() -> None:
    way = commits(16)
    speeds = Speeds(way, {"a": 3, "b": 12})
    found = search(GOOD, way, ["a", "b"], speeds)
    assert answer(found, "a", way) == ("culprit", [3])
    assert answer(found, "b", way) == ("culprit", [12])
    assert speeds.asked[:2] == [(15, ("a", "b"), 1), (7, ("a", "b"), 1)]
    assert len(set(speeds.places_asked)) == len(speeds.asked), "no commit twice"
    assert all(len(cells) == 1 for _, cells, _ in speeds.asked[2:])


def test_the_same_culprit_is_searched_once() -> None:
    way = commits(16)
    speeds = Speeds(way, {"a": 9, "b": 9})
    found = search(GOOD, way, ["a", "b"], speeds)
    assert [one.commits for one in found.results] == [(way[9],), (way[9],)]
    assert all(cells == ("a", "b") for _, cells, _ in speeds.asked)


def test_a_commit_that_fails_is_skipped_and_its_neighbour_measured() -> None:
    way = commits(9)
    speeds = Speeds(way, {"a": 6}, {("a", 3): ["failed"]})
    found = search(GOOD, way, ["a"], speeds)
    assert answer(found, "a", way) == ("culprit", [6])
    assert speeds.places_asked.count(3) == 1


def test_where_all_between_are_skipped_the_answer_is_a_range() -> None:
    way = commits(8)
    speeds = Speeds(way, {"a": 5}, {("a", place): ["failed"] for place in (3, 4, 5)})
    found = search(GOOD, way, ["a"], speeds)
    assert answer(found, "a", way) == ("range", [3, 4, 5, 6])
    assert found.exit_code == 3
    assert "one of 4 commits: a +50.0%" in headline(found)


def test_what_cannot_be_told_is_measured_again_with_twice_the_budget() -> None:
    way = commits(2)
    speeds = Speeds(way, {"a": 0, "b": 0}, {("a", 0): ["unknown", "slower"]})
    found = search(GOOD, way, ["a", "b"], speeds)
    assert speeds.asked == [(1, ("a", "b"), 1), (0, ("a", "b"), 1), (0, ("a",), 2)]
    assert answer(found, "a", way) == ("culprit", [0])


def test_what_cannot_be_told_twice_is_skipped() -> None:
    way = commits(2)
    speeds = Speeds(way, {"a": 0}, {("a", 0): ["unknown", "unknown"]})
    found = search(GOOD, way, ["a"], speeds)
    assert answer(found, "a", way) == ("range", [0, 1])
    assert speeds.asked[1:] == [(0, ("a",), 1), (0, ("a",), 2)]


def test_bad_that_cannot_be_told_is_no_answer() -> None:
    way = commits(4)
    found = search(GOOD, way, ["a"], Speeds(way, {"a": 1}, {("a", 3): ["unknown", "unknown"]}))
    assert (answer(found, "a", way), found.exit_code) == (("unknown", []), 3)
    assert headline(found) == "Cannot tell: a"


def test_bad_that_cannot_be_measured_is_bad_input() -> None:
    way = commits(4)
    with pytest.raises(InputError, match="a: good and bad cannot be compared: no such function"):
        search(GOOD, way, ["a"], Speeds(way, {}, {("a", 3): ["failed"]}))


def test_a_skip_of_one_cell_is_none_of_another() -> None:
    way = commits(3)
    speeds = Speeds(way, {"a": 1, "b": 1}, {("a", 1): ["failed"]})
    found = search(GOOD, way, ["a", "b"], speeds)
    assert answer(found, "b", way) == ("culprit", [1])
    assert answer(found, "a", way) == ("range", [1, 2])
    assert found.exit_code == 1


def test_it_is_told_as_a_table_as_markdown_and_as_json() -> None:
    way = commits(8)
    speeds = Speeds(way, {"a": 5, "b": 2}, {("b", 1): ["failed"], ("b", 2): ["unknown", "unknown"]})
    found = search(GOOD, way, ["a", "b", "c"], speeds)
    assert Bisection.model_validate_json(found.model_dump_json(by_alias=True)) == found
    text = re.sub(" +", " ", to_markdown(bisection_tables(found)).replace("&#8203;", ""))
    assert text.splitlines()[0].startswith(f"**vlbench: Slower since {way[5].short}: a +50.0%; slower since one of 3 ")
    assert "| a | +50.0% | +48.5% to +51.5% | **slower** | 0000000006 | Step 5 |" in text
    assert "| c | +0.0% | -1.0% to +1.0% | same |" in text
    assert f"- {way[2].short} skipped for b: unknown: too wide" in text
    assert f"- b: one of {way[1].short}, {way[2].short}, {way[3].short}" in text
    for width in (200, 40):
        console = Console(width=width, file=StringIO())
        console.print(to_terminal(bisection_tables(found), width))
        assert "Step 5" in console.file.getvalue()  # type: ignore[attr-defined]
