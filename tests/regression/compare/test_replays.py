"""The harness that replays a corpus, on made-up corpora whose truth is known."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from scipy.stats import binomtest

from benchmarks.harness.replays import (
    HELD,
    PLANS,
    SUITES,
    Plan,
    Share,
    Tally,
    at_random,
    figures_of,
    in_windows,
    main,
    read_corpus,
    replay,
)
from tests.helpers import write_results
from tests.regression.compare.conftest import made_up, speeds

QUIET = {"quiet": tuple(speeds(1, 200)), "louder": tuple(speeds(2, 200, noise=0.02))}


def replayed(corpus: dict[str, tuple[float, ...]], plan: Plan, *, windows: bool = False, replays: int = 60) -> Tally:
    return replay(corpus, plan, windows=windows, replays=replays, threshold=0.05, seed=1)


def share_of(tally: Tally, title: str) -> float:
    found = figures_of(tally)[title]
    return found.count / found.of


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("plan", PLANS)
def test_unchanged_code_raises_no_more_alarms_than_promised(plan: str, windows: bool) -> None:
    tally = replayed(QUIET, PLANS[plan], windows=windows)
    assert (tally.suites, tally.replayed) == (60, {"quiet": 600, "louder": 600})
    assert share_of(tally, "alarms, alone") <= 0.01
    assert share_of(tally, SUITES) <= 0.05
    if not windows:
        assert 0.92 <= share_of(tally, HELD) <= 0.98


def test_slowdowns_are_found_and_what_is_neither_is_unknown() -> None:
    tally = replayed({"quiet": QUIET["quiet"]}, PLANS["15 restarts"])
    assert share_of(tally, "+5% found, alone") == share_of(tally, "+10% found, in a suite") == 1
    assert share_of(tally, "unknown, alone") == 0
    restless = replayed({"three": tuple(speeds(3, 200, states=(0.83, 1, 1.17)))}, PLANS["6 restarts"], replays=10)
    assert share_of(restless, "unknown, alone") > 0.9


def test_windows_show_a_drift_that_random_draws_hide() -> None:
    steps = {"steps": tuple(value * (1.0 if place // 15 % 2 else 1.1) for place, value in enumerate(speeds(4, 300)))}
    assert share_of(replayed(steps, PLANS["15 restarts"], replays=20), "alarms, alone") < 0.05
    assert share_of(replayed(steps, PLANS["15 restarts"], windows=True, replays=20), "alarms, alone") > 0.5


def test_a_side_takes_its_restarts_in_order_and_shares_none_with_the_other() -> None:
    values = tuple(float(number) for number in range(1, 101))
    base, head = at_random(random.Random(1))(values, Plan(most=15), 0)
    assert (len(base), len(head), len({*base, *head})) == (15, 15, 30)
    assert in_windows([0.0])(values, Plan(most=6), 0) == (values[:6], values[6:12])
    assert in_windows([0.5, 0.999])(values, Plan(most=6), 1) == (values[88:94], values[94:])
    base, head = in_windows([0.0])(values, Plan(most=60, enough=lambda taken: len(taken) == 9), 0)
    assert (base, head) == (values[:9], values[9:18])
    base, head = in_windows([0.9])(values, Plan(most=60), 0)
    assert (base, head) == (values[:50], values[50:])


@pytest.mark.parametrize(("count", "of"), [(0, 100), (3, 1000), (957, 1000), (50, 50)])
def test_intervals_of_shares_are_wilsons(count: int, of: int) -> None:
    expected = binomtest(count, of).proportion_ci(method="wilson")
    assert Share(count=count, of=of).interval == pytest.approx((expected.low, expected.high), abs=1e-4)


@pytest.mark.parametrize(("count", "verdict"), [(0, "met"), (10, "unknown: too few replays"), (40, "missed")])
def test_a_bar_is_met_or_missed_where_the_whole_interval_says_so(count: int, verdict: str) -> None:
    assert Share(count=count, of=1000).verdict(0, 0.01) == verdict


def test_the_script_prints_bars_and_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, out = tmp_path / "corpus.json", tmp_path / "out.json"
    corpus.write_text(json.dumps({"cells": QUIET, "machine": "made up"}))
    assert main([str(corpus), "--replays", "20", "--json", str(out)]) == 0
    said, written = capsys.readouterr().out, json.loads(out.read_text())
    assert said.count("bar: ") == len(written["verdicts"]) == 3 * 6
    assert [row["plan"] for row in written["rows"]][:2] == ["random, 15 restarts", "random, 6 restarts"]
    assert written["rows"][0]["figures"]["alarms, alone"]["of"] == 400
    assert set(written["rows"][5]["by_cell"][HELD]) == set(QUIET)


def test_a_results_folder_is_a_corpus(tmp_path: Path) -> None:
    results = [made_up("one", drawn=speeds(1, 40)), made_up("two", drawn=speeds(2, 40))]
    assert read_corpus(write_results(tmp_path, results)) == {
        one.model: one.latency_ms.by_restart for one in results if one.latency_ms
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "no corpus"),
        ("{", "no corpus"),
        ('{"cells": {"one": "fast"}}', "no corpus"),
        ('{"cells": {}}', "holds no cell"),
        ('{"cells": {"one": [1, 2, 3]}}', "one: 3 restarts; 30 or more"),
        (json.dumps({"cells": {"one": [0.0] * 40}}), "all above 0 ms"),
    ],
)
def test_what_is_no_corpus_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    path = tmp_path / "corpus.json"
    path.write_text(content)
    assert main([str(path)]) == 2
    assert said in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere.json")]) == 2
