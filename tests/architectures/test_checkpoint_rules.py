"""A mapping of names is strict: each tensor once, and all that is left over told by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vlbench.architectures.checkpoints.loading import FAMILIES
from vlbench.architectures.checkpoints.rules import Dropped, Family, Rule, Untouched, mapped
from vlbench.errors import InputError

TWO = {f"layers.{n}.{part}": torch.full((2,), float(n)) for n in range(2) for part in ("weight", "bias")}
OURS = {f"blocks.{n}.{part}": torch.empty(2, device="meta") for n in range(2) for part in ("weight", "bias")}
LAYERS = Rule("blocks.{n}.{p}", "layers.{n}.{p}")


def family(*rules: Rule, dropped: tuple[Dropped, ...] = (), untouched: tuple[Untouched, ...] = ()) -> Family:
    return Family(title="Toy", signature=("layers.0.weight",), rules=rules, dropped=dropped, untouched=untouched)


def refusal(of: Family, state: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    with pytest.raises(InputError) as caught:
        mapped(of, state, wanted, source="toy.pt")
    return str(caught.value)


def test_numbers_and_last_words_carry_over() -> None:
    found = mapped(family(LAYERS), TWO, OURS, source="toy.pt")
    assert {name: tensor[0].item() for name, tensor in found.items()} == {
        "blocks.0.weight": 0,
        "blocks.0.bias": 0,
        "blocks.1.weight": 1,
        "blocks.1.bias": 1,
    }


def test_several_are_put_together_and_a_function_makes_something_else() -> None:
    state = {"a.weight": torch.ones(1, 2), "b.weight": torch.zeros(2, 2), "c": torch.arange(2.0)}
    rules = (Rule("both.{p}", ("a.{p}", "b.{p}")), Rule("c", "c", lambda one: one.flip(0)))
    wanted = {"both.weight": torch.empty(3, 2), "c": torch.empty(2)}
    found = mapped(family(*rules), state, wanted, source="toy.pt")
    assert found["both.weight"].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert found["c"].tolist() == [1, 0]


def test_every_gap_on_either_side_is_told_with_its_numbers_put_together() -> None:
    state = TWO | {f"more.{n}.weight": torch.ones(2) for n in (0, 1, 2, 5)} | {"z": torch.ones(1)}
    wanted = OURS | {"head.weight": torch.empty(2), "head.bias": torch.empty(2), "x": torch.empty(1)}
    assert refusal(family(LAYERS), state, wanted) == (
        "weights toy.pt: Toy, but it has nothing for head.(weight|bias), x and holds more.0-2,5.weight, z, "
        "which this model has no place for"
    )


def test_deliberate_gaps_are_no_gaps() -> None:
    whole = family(LAYERS, dropped=(Dropped("decoder.*", "not needed"),), untouched=(Untouched("head.*", "not there"),))
    state = TWO | {"decoder.deep.weight": torch.ones(1)}
    found = mapped(whole, state, OURS | {"head.weight": torch.empty(3)}, source="toy.pt")
    assert set(found) == set(OURS)


def test_another_shape_is_told_with_both() -> None:
    wanted = OURS | {"blocks.1.weight": torch.empty(3, 2), "blocks.1.bias": torch.empty(3)}
    assert refusal(family(LAYERS), TWO, wanted) == (
        "weights toy.pt: Toy, but blocks.1.weight is 2 there and 3x2 here (and 1 more); another size of model?"
    )


def test_what_cannot_be_made_of_a_shape_is_told() -> None:
    rules = (LAYERS, Rule("row", "table", lambda table: table[4]))
    message = refusal(family(*rules), TWO | {"table": torch.ones(2, 3)}, OURS | {"row": torch.empty(3)})
    assert message == "weights toy.pt: Toy, but row cannot be made of table of 2x3"


def test_a_tensor_is_used_twice_only_where_a_rule_says_so() -> None:
    wanted = OURS | {"copy": torch.empty(2)}
    with pytest.raises(ValueError, match=r"layers\.0\.weight is used a second time, for copy"):
        mapped(family(LAYERS, Rule("copy", "layers.0.weight")), TWO, wanted, source="toy.pt")
    said = family(LAYERS, Rule("copy", "layers.0.weight", again=True))
    assert set(mapped(said, TWO, wanted, source="toy.pt")) == set(wanted)


def test_batches_that_a_norm_counted_are_wanted_of_nobody() -> None:
    wanted = OURS | {"bn.num_batches_tracked": torch.empty((), dtype=torch.long)}
    assert set(mapped(family(LAYERS), TWO, wanted, source="toy.pt")) == set(OURS)


def test_every_deliberate_gap_of_the_published_families_has_a_reason() -> None:
    gaps = [gap for one in FAMILIES for gap in (*one.dropped, *one.untouched)]
    assert gaps
    assert all(len(gap.reason.split()) > 3 for gap in gaps)
