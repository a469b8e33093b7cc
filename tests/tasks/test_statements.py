"""NLVR's and NLVR2's accuracy and consistency equal the official scripts' results on the real files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vlbench.tasks.items import Item
from vlbench.tasks.metrics import balanced, consistent, correct, unbalanced
from vlbench.tasks.readers.nlvr import read_nlvr, read_nlvr2


def hash_of(text: str) -> int:
    return int(hashlib.sha1(text.encode()).hexdigest()[:8], 16)


def noisy(every: int) -> Callable[[Item], str]:
    """The correct label, except for about one in `every` items, chosen by its hash."""
    other = {"true": "false", "false": "true"}
    return lambda item: item.answers[0] if hash_of(item.identifier) % every else other[item.answers[0]]


RULES: dict[str, Callable[[Item], str]] = {
    "all_true": lambda item: "True",
    "all_false": lambda item: "false",
    "gold": lambda item: item.answers[0],
    "hash": lambda item: "true" if hash_of(item.identifier) % 2 == 0 else "false",
    "noisy_m10": noisy(10),
    "noisy_m3": noisy(3),
}
READERS = {"nlvr1_dev": ("nlvr1", read_nlvr), "nlvr2_dev": ("nlvr2", read_nlvr2)}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("data", READERS)
def test_every_figure_is_the_official_scripts_to_the_last_digit(reference_data: Path, data: str, rule: str) -> None:
    cases = json.loads((reference_data / "golden" / "nlvr_official_golden.json").read_text(encoding="utf-8"))["cases"]
    (case,) = (case for case in cases if (case["dataset"], case["rule"]) == (data, rule))
    folder, read = READERS[data]
    items = read(reference_data / folder, "dev")
    predictions = {item.identifier: RULES[rule](item) for item in items}
    found = consistent(items, predictions)
    assert sum(correct(items, predictions)) / len(items) == case.get("precision", case.get("accuracy"))
    assert sum(found.values()) / len(found) == case["consistency"]
    for subset, key in ((balanced(items), "balanced_acc_pct"), (unbalanced(items), "unbalanced_acc_pct")):
        if key in case:
            assert sum(correct(subset, predictions)) / len(subset) * 100 == pytest.approx(case[key], abs=1e-12)
        else:
            assert subset == []


def item(identifier: str, label: str, group: str, pair: str) -> Item:
    return Item(identifier=identifier, text="", images=(), answers=(label,), unit=group, group=group, pair=pair)


def test_a_statement_is_consistent_if_all_its_items_are_correct() -> None:
    items = [item("1", "true", "a", "p"), item("2", "false", "a", "q"), item("3", "true", "b", "p")]
    assert consistent(items, {"1": "TRUE", "2": "true", "3": "true"}) == {"a": False, "b": True}


def test_balanced_pairs_have_both_labels_and_unbalanced_ones_repeat_one() -> None:
    items = [
        item("1", "true", "a", "both"),
        item("2", "false", "b", "both"),
        item("3", "true", "a", "same"),
        item("4", "true", "b", "same"),
        item("5", "true", "c", "once"),
    ]
    assert [one.identifier for one in balanced(items)] == ["1", "2"]
    assert [one.identifier for one in unbalanced(items)] == ["3", "4"]
