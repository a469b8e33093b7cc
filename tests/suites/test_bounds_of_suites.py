"""Values of suites that cannot be measured are refused in one short line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import write_yaml
from vlbench.errors import SpecError
from vlbench.suites.reader import read_suite, suites_folder

LONG = "x" * 10_000


@pytest.mark.parametrize(
    ("suite", "place", "value", "says"),
    [
        (
            "nms-style",
            ("rows", 0, "suppression", "boxes"),
            10**7,
            "boxes: input should be less than or equal",
        ),
        ("nms-style", ("rows", 0, "suppression", "boxes"), True, "boxes: input should be a valid integer, not True"),
        (
            "nms-style",
            ("rows", 0, "suppression"),
            {"boxes": 10**6, "classes": 1600},
            "1,000,000 boxes x 1,600 classes",
        ),
        ("nms-style", ("settings",), {"budget_seconds": 1e9}, "budget_seconds: input should be less than"),
        ("nms-style", ("claims", 0, "expr"), f"{LONG} > 1", "does not parse: more than 1,000 characters"),
        ("nms-style", ("claims", 0, "expr"), "9" * 400 + " > 1", "does not parse: a number above 1e+100"),
        ("nms-style", ("claims", 0, "expr"), f'loop["{"y" * 900}"] > 1', "no row 'yyy"),
        ("nms-style", ("rows", 0, "label"), "\x1b[31m", "holds the control character '\\x1b'"),
        ("nms-style", ("name",), LONG, "name is 'xxx"),
        ("batch-scaling", ("rows", 0, "batch"), 10**9, "batch: input should be less than or equal to 65536"),
        ("batch-scaling", ("rows", 0, "model"), LONG, "no model 'xxx"),
        ("batch-scaling", ("rows", 0, "model"), "../../etc/passwd.yaml", "passwd.yaml: no such file"),
        ("batch-scaling", ("rows", 0, "set"), {"visual": "x"}, "set: visual"),
        ("batch-scaling", ("rows", 0, "set"), {"a.b.c.d": 1}, "set: no part 'a' in 'a.b.c.d'"),
        ("batch-scaling", ("rows", 0, "set"), {"": 1}, "set: unknown key ''"),
        ("batch-scaling", ("rows", 0, "set"), {"x" * 9999: 1}, "set: unknown key 'xxx"),
        ("batch-scaling", ("rows", 0, "set"), {1: 1}, "set"),
        ("batch-scaling", ("rows", 0, "set"), {"visual.patch_size": 0}, "visual.patch_size: input should be greater"),
        ("batch-scaling", ("rows", 0, "reported"), {"latency": float("nan")}, "reported.latency"),
        (
            "batch-scaling",
            ("rows", 0, "tolerance"),
            {"latency": float("inf")},
            "tolerance.latency: input should be",
        ),
    ],
)
def test_a_value_out_of_bounds(tmp_path: Path, suite: str, place: tuple[Any, ...], value: Any, says: str) -> None:
    content = yaml.safe_load((suites_folder() / f"{suite}.yaml").read_text(encoding="utf-8"))
    part = content
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    path = write_yaml(tmp_path / f"{suite}.yaml", content)
    with pytest.raises(SpecError) as error:
        read_suite(path)
    message = str(error.value)
    assert says in message
    assert message.isprintable()
    assert len(message.replace(str(tmp_path), "")) <= 300
