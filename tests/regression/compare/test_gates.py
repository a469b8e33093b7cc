"""Exact figures: any growth is a regression, and only memory has room."""

from __future__ import annotations

import pytest

from tests.regression.compare.conftest import made_up
from vlbench.regression.compare.verdicts import gates_of

MIB = 2**20


def found(figure: str, base: int | None, head: int | None) -> tuple[str, str]:
    gates = {gate.figure: gate for gate in gates_of(made_up(**{figure: base}), made_up(**{figure: head}))}
    assert list(gates) == ["status", "params_total", "macs", "operators", "peak_memory_bytes"]
    others = [gate.verdict for name, gate in gates.items() if name != figure]
    assert others == ["same"] * 4
    return gates[figure].verdict, gates[figure].message


@pytest.mark.parametrize("figure", ["params_total", "macs", "operators"])
def test_one_more_is_a_regression_and_one_less_a_change(figure: str) -> None:
    assert found(figure, 1_000, 1_000)[0] == "same"
    assert found(figure, 1_000, 1_001)[0] == "regression"
    assert found(figure, 1_000, 999)[0] == "changed"


@pytest.mark.parametrize(
    ("base", "head", "verdict"),
    [
        (500 * MIB, 510 * MIB, "same"),
        (500 * MIB, 510 * MIB + 1, "regression"),
        (500 * MIB, 490 * MIB, "same"),
        (500 * MIB, 490 * MIB - 1, "changed"),
        (3 * MIB, 4 * MIB, "same"),
        (3 * MIB, 4 * MIB + 1, "regression"),
    ],
)
def test_memory_has_2_percent_or_a_mebibyte(base: int, head: int, verdict: str) -> None:
    assert found("peak_memory_bytes", base, head)[0] == verdict


def test_what_one_side_lacks_is_not_compared() -> None:
    assert found("operators", None, 412) == ("not compared", "operators not measured in BASE")
    assert found("operators", 412, None) == ("not compared", "operators not measured in HEAD")
    assert found("macs", None, None) == ("not compared", "MACs not measured on either side")


def test_a_message_says_by_how_much() -> None:
    assert found("macs", 25_000_000_000, 26_000_000_000)[1] == "MACs 25,000,000,000 to 26,000,000,000, +4%"
    assert found("params_total", 0, 5)[1] == "params 0 to 5"


@pytest.mark.parametrize(
    ("base", "head", "verdict"),
    [
        ("ok", "failed", "regression"),
        ("ok", "invalid", "regression"),
        ("failed", "ok", "changed"),
        ("failed", "failed", "same"),
        ("failed", "invalid", "changed"),
    ],
)
def test_a_cell_that_can_no_longer_be_measured_is_a_regression(base: str, head: str, verdict: str) -> None:
    (gate, *_) = gates_of(made_up(status=base, error="no memory"), made_up(status=head, error="no memory"))
    assert (gate.figure, gate.verdict) == ("status", verdict)
    assert (
        gate.message
        == {
            "regression": f"was ok, now {head}: no memory",
            "changed": f"was {base}, now {head}",
            "same": f"{head} on both sides",
        }[verdict]
    )
