"""Counts of any module: formulas, shared and method-called modules, what is skipped, and that nothing changes."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.errors import InputError
from vlbench.measuring.module_counts import COUNTERS, ModuleCounts
from vlbench.measuring.modules import count_module


class Attention(nn.Module):
    """Self-attention of one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projections, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens_BLD: Tensor) -> Tensor:
        query, key, value = self.projections(tokens_BLD).unsqueeze(1).chunk(3, dim=-1)
        return self.out(F.scaled_dot_product_attention(query, key, value).squeeze(1))


class Small(nn.Module):
    """A convolution, attention on its cells and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.blocks = nn.ModuleList([Attention(8), Attention(8)])
        self.head = nn.Linear(8, 5)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        tokens_BLD = self.stem(image_B3HW).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens_BLD = block(tokens_BLD)
        return self.head(tokens_BLD.mean(1))


def macs(counts: ModuleCounts, counter: str = "vlbench") -> dict[str, int | None]:
    return {row.path: row.macs[counter] for row in counts.modules}


def test_each_module_has_the_macs_and_parameters_of_its_formula() -> None:
    counts = count_module(Small(), torch.zeros(2, 3, 16, 16), counters=COUNTERS)
    cells, stem, head = 2 * 16, 2 * 16 * 8 * 3 * 4 * 4, 2 * 8 * 5
    projections, out, products = cells * 8 * 24, cells * 8 * 8, cells * 16 * (8 + 8)
    block = projections + out + products
    expected = {"": stem + 2 * block + head, "stem": stem, "blocks": 2 * block, "head": head}
    for index in (0, 1):
        expected |= {f"blocks.{index}": block, f"blocks.{index}.projections": projections, f"blocks.{index}.out": out}
    assert macs(counts) == macs(counts, "torch") == expected
    unfused = {"": 2 * products, "blocks": 2 * products, "blocks.0": products, "blocks.1": products}
    assert macs(counts, "fvcore") == {path: amount - unfused.get(path, 0) for path, amount in expected.items()}
    assert counts.counters["fvcore"].skipped["aten::scaled_dot_product_attention"] == 2
    params = {row.path: row.params for row in counts.modules}
    assert params["blocks.0"] == 8 * 24 + 24 + 8 * 8 + 8
    assert params[""] == 3 * 4 * 4 * 8 + 8 + 2 * params["blocks.0"] + 8 * 5 + 5
    (head_row,) = (row for row in counts.modules if row.path == "head")
    assert head_row.bytes_moved == 4 * (2 * 8 + 8 * 5 + 5 + 2 * 5)
    assert [report.device for report in counts.counters.values()] == ["meta", "cpu", "meta"]


def test_a_depth_leaves_out_what_is_inside() -> None:
    counts = count_module(Small(), torch.zeros(1, 3, 16, 16))
    assert [row.path for row in counts.to_depth(0)] == [""]
    assert [row.path for row in counts.to_depth(1)] == ["", "stem", "blocks", "head"]
    assert len(counts.to_depth(3)) == len(counts.modules) == 10
    frame = counts.to_frame(1)
    assert list(frame.columns) == ["path", "type", "params", "macs_vlbench", "bytes_moved"]
    assert frame.macs_vlbench[0] == counts.total.macs["vlbench"]


def test_a_shared_module_and_a_shared_parameter_count_once() -> None:
    shared, tied = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    tied.weight = shared.weight
    model = nn.Sequential(shared, nn.Sequential(shared, tied))
    counts = count_module(model, torch.zeros(1, 4), counters=COUNTERS)
    assert counts.total.params == 16
    for counter in COUNTERS:  # the shared module has both of its calls, at its first path
        assert macs(counts, counter) == {"": 48, "0": 32, "1": 16, "1.1": 16}


class ByMethod(nn.Module):
    """Runs a child by another method than its forward pass."""

    class Child(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 6)

        def features(self, values: Tensor) -> Tensor:
            return self.inner(values)

    def __init__(self) -> None:
        super().__init__()
        self.child = self.Child()

    def forward(self, values: Tensor) -> Tensor:
        return self.child.features(values)


def test_a_module_whose_method_is_called_has_what_is_inside_it() -> None:
    counts = count_module(ByMethod(), torch.zeros(1, 4), counters=COUNTERS)
    for counter in COUNTERS:
        assert macs(counts, counter) == {"": 24, "child": 24, "child.inner": 24}


class Unknown(nn.Module):
    """An operator without a formula, next to one that has it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, values: Tensor) -> Tensor:
        return torch.fft.rfft(self.linear(values)).abs()


def test_an_operator_without_a_formula_is_listed_and_the_rest_is_counted() -> None:
    counts = count_module(Unknown(), torch.zeros(3, 3), counters=COUNTERS)
    assert set(counts.total.macs.values()) == {27}
    assert counts.counters["vlbench"].skipped == {"aten::_fft_r2c": 1}
    assert counts.counters["torch"].skipped == {"aten::_fft_r2c": 1}
    assert "aten::fft_rfft" in counts.counters["fvcore"].skipped


@dataclass
class Pair:
    left: Tensor
    right: Tensor | None = None


class NeedsValues(nn.Module):
    """Takes a dataclass, keeps a lock, which does not copy, and looks at a value, which the meta device lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.lock = nn.Linear(4, 4), Lock()

    def forward(self, pair: Pair, *, scale: float = 1.0) -> Pair:
        if pair.left.sum().item() > 0:
            return Pair(pair.left)
        return Pair(self.linear(pair.left) * scale)


def test_a_module_that_needs_values_runs_on_them_as_it_is() -> None:
    model = NeedsValues()
    counts = count_module(model, {"pair": Pair(torch.zeros(2, 4)), "scale": 2.0}, counters=COUNTERS)
    assert set(counts.total.macs.values()) == {32}
    assert counts.counters["vlbench"].device == "cpu"
    assert model.training
    assert count_module(model, (Pair(torch.ones(2, 4)),)).total.macs == {"vlbench": 0}


def test_the_module_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    model[0].eval()
    model[0].weight.requires_grad_(False)
    calls: list[str] = []
    model[1].register_forward_hook(lambda *_: calls.append("called"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_module(model, torch.ones(2, 4), counters=COUNTERS)
    assert [part.training for part in model.modules()] == [True, False, True, True]
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, True, True, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()] == [0, 0, 1, 0]


def test_a_tracer_that_fails_leaves_a_gap_with_its_reason() -> None:
    counts = count_module(TextOnly(), (torch.zeros(2, 4), "text"), counters=COUNTERS)
    assert counts.total.macs == {"vlbench": 32, "fvcore": None, "torch": 32}
    assert counts.counters["fvcore"].error == "RuntimeError: no trace, please"
    assert counts.counters["fvcore"].device is None


class TextOnly(nn.Module):
    """Refuses to be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, values: Tensor, text: str) -> Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("no trace, please\nnot even once")
        assert text == "text"
        return self.linear(values)


def test_an_unknown_counter_and_a_lazy_module_are_refused() -> None:
    with pytest.raises(InputError, match=r"no counter 'fvcor'; did you mean fvcore\?"):
        count_module(nn.Linear(2, 2), torch.zeros(1, 2), counters=("fvcor",))
    with pytest.raises(InputError, match="no counter named; known: vlbench, fvcore, torch"):
        count_module(nn.Linear(2, 2), torch.zeros(1, 2), counters=())
    with pytest.raises(InputError, match="LazyLinear: has parameters without shapes; run it once"):
        count_module(nn.LazyLinear(2), torch.zeros(1, 2))


def test_a_module_that_cannot_run_on_its_inputs_raises_its_own_error() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        count_module(nn.Linear(2, 2), torch.zeros(1, 3))
