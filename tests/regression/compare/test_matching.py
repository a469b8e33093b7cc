"""Which cells are paired, what is refused, and what --force does."""

from __future__ import annotations

import random
import time

import pytest

from tests.regression.compare.conftest import MACHINE, made_up
from vlbench.errors import InputError
from vlbench.regression.compare.matching import Matched, match
from vlbench.runner.records import Result

NAMES = ("a", "b")


def on(result: Result, **machine: object) -> Result:
    return result.model_copy(update={"machine": MACHINE.model_copy(update=machine)})


def matched(base: list[Result], head: list[Result], *, force: bool = False) -> Matched:
    return match(base, head, names=NAMES, force=force)


def refused(base: list[Result], head: list[Result]) -> str:
    with pytest.raises(InputError) as caught:
        matched(base, head)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_cells_are_paired_by_model_and_settings_in_the_order_of_base() -> None:
    base = [made_up("one"), made_up("two"), made_up("two", batch=4)]
    head = [made_up("two", batch=4), made_up("one"), made_up("two")]
    found = matched(base, head)
    assert [pair.name for pair in found.pairs] == ["one", "two, batch 1", "two, batch 4"]
    assert [(pair.base.model, pair.base.batch) for pair in found.pairs] == [("one", 1), ("two", 1), ("two", 4)]
    assert all(pair.base.batch == pair.head.batch for pair in found.pairs)
    assert found.only_in_base == found.only_in_head == found.differences == found.notes == ()


def test_of_several_lines_the_last_that_is_ok() -> None:
    lines = [
        made_up(macs=1),
        made_up(macs=2),
        made_up(status="failed", error="killed", macs=3),
    ]
    (pair,) = matched(lines, lines[:1]).pairs
    assert (pair.base.macs, pair.head.macs) == (2, 1)


def test_a_cell_that_never_was_ok_is_its_last_line() -> None:
    lines = [made_up(status="failed", error=reason) for reason in ("first", "second")]
    (pair,) = matched(lines, [made_up()]).pairs
    assert pair.base.error == "second"


def test_cells_of_one_side_are_listed() -> None:
    found = matched([made_up("one"), made_up("two")], [made_up("two"), made_up("three"), made_up("two", batch=2)])
    assert [pair.name for pair in found.pairs] == ["two, batch 1"]
    assert found.only_in_base == ("one",)
    assert found.only_in_head == ("three", "two, batch 2")


def test_no_cell_in_common_is_refused_with_what_there_is() -> None:
    line = refused([made_up(name) for name in "vwxyz"], [made_up("other")])
    assert line.startswith("no measurement is in both: a holds v, w, x and 2 more, b other;")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cpu": "Other 1"}, "cpu 'Made-up 9000' in a, 'Other 1' in b"),
        ({"cores": 4}, "cores 2 in a, 4 in b"),
        ({"logical_cores": 8}, "logical_cores 4 in a, 8 in b"),
        ({"ram_bytes": 16 * 2**30}, "ram_bytes 8589934592 in a, 17179869184 in b"),
        ({"gpu": "H200"}, "gpu none in a, H200 in b"),
    ],
)
def test_another_machine_is_refused(change: dict, said: str) -> None:
    assert f"another machine: {said}" in refused([made_up()], [on(made_up(), **change)])
    assert "or add --force" in refused([made_up()], [on(made_up(), **change)])


def test_what_a_kernel_keeps_of_the_memory_is_no_other_machine() -> None:
    assert matched([made_up()], [on(made_up(), ram_bytes=8 * 2**30 - 50 * 2**20)]).pairs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch": 4}, "batch 1 in a, 4 in b"),
        ({"device": "cuda"}, "device cpu in a, cuda in b"),
        ({"precision": "bf16"}, "precision fp32 in a, bf16 in b"),
        ({"image_size": (416, 672)}, "image_size 384x640 in a, 416x672 in b"),
        ({"text_tokens": 20}, "text_tokens 40 in a, 20 in b"),
        ({"text": "other words"}, "text 'a photograph' in a, 'other words' in b"),
        ({"image_sha256": "cd" * 32}, f"image_sha256 {'ab' * 18}a... in a, {'cd' * 18}c... in b"),
    ],
)
def test_the_same_model_with_other_settings_is_refused(change: dict, said: str) -> None:
    line = refused([made_up()], [made_up(**change)])
    assert f"vilt-b32 was measured with other settings: {said}" in line
    assert "or add --force" in line


def test_what_a_backend_converts_is_a_setting_and_eager_pytorch_is_timed_by_stage() -> None:
    stages, whole = made_up(backend="openvino", scope="stages"), made_up(backend="openvino", scope="model")
    assert [pair.head for pair in matched([stages, whole], [whole, stages]).pairs] == [stages, whole]
    with pytest.raises(InputError, match=r"scope stages in .*, model in "):
        matched([stages], [whole])
    with pytest.raises(InputError, match=r"backend eager in .*, openvino in [^;]*; measure both alike"):
        matched([made_up(scope=None)], [stages])


def test_other_threads_are_another_setting() -> None:
    assert "vilt-b32 was measured with other settings: threads 2 in a, 1 in b" in refused(
        [made_up()], [on(made_up(), threads=1)]
    )


def test_a_machine_with_other_threads_is_first_of_all_another_machine() -> None:
    line = refused([made_up("one"), made_up("two")], [on(made_up(name), cores=8, threads=8) for name in ("one", "two")])
    assert line.startswith("another machine: cores 2 in a, 8 in b (and 2 more)")


def test_another_model_than_those_compared_may_have_other_settings() -> None:
    assert matched([made_up("one")], [made_up("one"), made_up("two", batch=4)]).only_in_head == ("two",)


def test_forced_cells_of_one_model_are_paired_by_what_differs_least() -> None:
    base = [made_up("one", batch=1), made_up("one", batch=2, precision="bf16")]
    head = [made_up("one", batch=4, precision="bf16"), on(made_up("one", batch=8), cpu="Other 1")]
    found = matched(base, head, force=True)
    assert [(pair.base.batch, pair.head.batch) for pair in found.pairs] == [(1, 8), (2, 4)]
    assert found.differences == (
        "another machine: cpu 'Made-up 9000' in a, 'Other 1' in b",
        "one was measured with other settings: batch 1 in a, 8 in b",
        "one was measured with other settings: batch 2 in a, 4 in b",
    )


def test_force_cannot_compare_different_models() -> None:
    with pytest.raises(InputError, match="no measurement is in both"):
        matched([made_up("one")], [made_up("two")], force=True)


def test_other_software_is_allowed_and_said_once() -> None:
    base = [made_up("one"), made_up("two")]
    head = [on(made_up(name, vlbench_version="9.9"), torch="2.15.0", timm="1.0") for name in ("one", "two")]
    assert matched(base, head).notes == (
        "vlbench: 0.1.0 in BASE, 9.9 in HEAD",
        "torch: 2.11.0 in BASE, 2.15.0 in HEAD",
        "timm: none in BASE, 1.0 in HEAD",
    )


def test_a_model_that_is_described_otherwise_is_said() -> None:
    notes = matched([made_up("one")], [made_up("one", spec_hash="0" * 16)]).notes
    assert notes == ("the model's own description differs: one",)


def test_a_folder_may_be_compared_with_itself() -> None:
    results = [made_up("one"), made_up("two")]
    assert [pair.base is pair.head for pair in matched(results, results).pairs] == [True, True]


def closest_by_search(base: list[Result], head: list[Result]) -> list[tuple[int, int]]:
    """The rule itself: of all pairs, the ones that differ in the fewest settings first, then in the order of both."""

    def settings(result: Result) -> tuple:
        return (result.batch, result.text_tokens, result.precision, result.backend)

    every = [(b, h) for b in range(len(base)) for h in range(len(head))]
    every.sort(key=lambda at: sum(x != y for x, y in zip(settings(base[at[0]]), settings(head[at[1]]), strict=True)))
    pairs: dict[int, int] = {}
    for b, h in every:
        if b not in pairs and h not in pairs.values():
            pairs[b] = h
    return sorted(pairs.items())


@pytest.mark.parametrize("seed", range(8))
def test_settings_that_differ_least_are_paired_first(seed: int) -> None:
    generator = random.Random(seed)

    def side(count: int) -> list[Result]:
        unique = {
            (generator.randint(1, 4), generator.choice((16, 40)), generator.choice(("fp32", "fp16")), name)
            for name in generator.choices(("eager", "compile"), k=count)
        }
        return [
            made_up(batch=batch, text_tokens=tokens, precision=precision, backend=backend)
            for batch, tokens, precision, backend in sorted(unique, key=lambda _: generator.random())
        ]

    base, head = side(12), side(9)
    pairs = matched(base, head, force=True).pairs
    positions = sorted((base.index(pair.base), head.index(pair.head)) for pair in pairs)
    assert positions == closest_by_search(base, head)


@pytest.mark.slow
def test_thousands_of_settings_on_one_side_only_are_paired_in_seconds() -> None:
    base = [made_up(batch=1 + index) for index in range(3_000)]
    head = [made_up(batch=1 + index, text_tokens=16) for index in reversed(range(3_000))]
    start = time.process_time()
    pairs = matched(base, head, force=True).pairs
    assert time.process_time() - start < 5
    assert [(pair.base.batch, pair.head.batch) for pair in pairs] == [(1 + index, 1 + index) for index in range(3_000)]
