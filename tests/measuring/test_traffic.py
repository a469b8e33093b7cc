"""Bytes read and written: closed forms, a counter written down once more, and what they cannot fall below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers import counts_of, each_model
from vlbench.architectures.build import build
from vlbench.architectures.count import blank_batch, count
from vlbench.measuring.macs import count_macs
from vlbench.measuring.records import Precision
from vlbench.measuring.traffic import Traffic
from vlbench.runner.workload import DTYPES
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog


def moved(forward: Callable[[], object], element_bytes: int = 4) -> int:
    return count_macs(forward, {}).traffic.bytes(element_bytes)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_linear_layer(device: str) -> None:
    batch, inputs, outputs = 5, 7, 11
    layer, values_BD = nn.Linear(inputs, outputs, device=device), torch.empty(batch, inputs, device=device)
    expected = batch * inputs + inputs * outputs + outputs + batch * outputs
    assert moved(lambda: layer(values_BD)) == 4 * expected
    assert moved(lambda: layer(values_BD), 2) == 2 * expected
    layer, half_BD = layer.bfloat16(), values_BD.bfloat16()
    assert moved(lambda: layer(half_BD)) == 2 * expected


def test_a_convolution() -> None:
    layer, image = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4), torch.empty(2, 8, 9, 9)
    assert moved(lambda: layer(image)) == 4 * (2 * 8 * 9 * 9 + 12 * 2 * 3 * 3 + 12 + 2 * 12 * 5 * 5)


def test_what_is_done_in_place_reads_and_writes_what_it_changes() -> None:
    values, row = torch.ones(10, 3), torch.ones(3)
    assert moved(lambda: F.relu(values, inplace=True)) == 4 * 2 * 30
    assert moved(lambda: F.relu(values)) == 4 * 2 * 30
    assert moved(lambda: values.add_(row)) == 4 * (30 + 3 + 30)
    assert moved(lambda: values[:, 0].mul_(2)) == 4 * 2 * 10


def test_what_overwrites_reads_only_what_it_copies() -> None:
    values, other = torch.ones(10, 3), torch.ones(10, 3, dtype=torch.int64)
    assert moved(values.zero_) == moved(lambda: values.fill_(2.0)) == 4 * 30
    assert moved(lambda: values.copy_(other)) == 8 * 30 + 4 * 30
    assert moved(lambda: torch.add(values, values.clone(), out=values)) == 4 * 60 + 4 * 90


VIEWS: dict[str, Callable[[Tensor], object]] = {
    "transposed": lambda values: values.transpose(0, 1),
    "another shape": lambda values: values.view(3, 10).reshape(30).unflatten(0, (5, 6)),
    "parts": lambda values: [part.unsqueeze(0) for part in values.split(2)],
    "a row": lambda values: values[3].detach(),
    "expanded": lambda values: values[:, None].expand(-1, 100, -1),
    "as it is": lambda values: F.dropout(values.contiguous().float().to("cpu"), training=False),
    "named": lambda values: torch.dropout(values, p=0.1, train=False),
    "in place": lambda values: values[:].detach_(),
    "allocated": lambda values: (torch.empty(7), torch.empty_like(values), values.new_empty(9)),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views_and_allocations_move_nothing(view: Callable[[Tensor], object]) -> None:
    values = torch.ones(10, 3)
    assert count_macs(lambda: view(values), {}).traffic == Traffic()


def test_a_reshape_that_has_to_copy_moves() -> None:
    values = torch.ones(10, 3)
    assert moved(lambda: values.T.reshape(30)) == moved(lambda: values.T.contiguous()) == 4 * 2 * 30


def test_a_tensor_counts_once_and_what_it_touches_alone() -> None:
    row, square = torch.ones(1, 3), torch.ones(4, 4)
    assert moved(lambda: row.expand(10, 3) + 1) == 4 * (3 + 30)
    assert moved(lambda: square * square) == moved(lambda: square * square.T) == 4 * 2 * 16
    assert moved(lambda: square[:2] * square[2:]) == 4 * 3 * 8
    windows = torch.ones(10).unfold(0, 4, 1)
    assert moved(lambda: windows + 1) == 4 * (10 + 7 * 4)
    assert moved(lambda: torch.cat([square, square[:0], square])) == 4 * (16 + 32)


def test_what_looks_up_reads_the_rows_that_it_gives() -> None:
    table, ids = nn.Embedding(1000, 8), torch.zeros(6, dtype=torch.long)
    assert moved(lambda: table(ids)) == 8 * 6 + 4 * 2 * 6 * 8
    assert moved(lambda: table.weight[ids]) == 8 * 6 + 4 * 2 * 6 * 8
    assert moved(lambda: table.weight[:3].index_select(0, ids)) == 8 * 6 + 4 * (3 * 8 + 6 * 8)


def test_what_only_asks_for_a_shape_reads_no_values() -> None:
    values = torch.ones(10, 3)
    assert moved(lambda: torch.zeros_like(values)) == moved(lambda: values.new_ones(10, 3)) == 4 * 30


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_one_operator_wherever_it_is_counted(device: str, masked: bool) -> None:
    """Its scores stay where they are computed; a mask that all heads share is read once."""
    batch, heads, queries, keys, width = 2, 3, 10, 13, 8
    with torch.device(device):
        query, key, value = (torch.zeros(batch, heads, length, width) for length in (queries, keys, keys))
        mask = torch.zeros(batch, 1, 1, keys).expand(-1, heads, queries, -1) if masked else None
    count = count_macs(lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=mask), {})
    expected = batch * heads * width * (queries + keys + keys + queries) + (batch * keys if masked else 0)
    assert count.traffic == Traffic(expected, 0)
    assert count.total == batch * heads * queries * keys * 2 * width


def test_heads_that_were_mixed_are_joined_without_a_copy() -> None:
    """As the kernels of a CPU and of a GPU leave them, so that counts of shapes are those of a pass."""
    for device in ("cpu", "meta"):
        heads = torch.zeros(2, 10, 3, 8, device=device).transpose(1, 2)
        forward = lambda: F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)  # noqa: B023, E731
        assert moved(forward) == 4 * 2 * 2 * 3 * 10 * 8


class Naive(TorchDispatchMode):
    """For models that only multiply, add and normalise: every tensor of every call, but of those that only view."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ not in (
            "t",
            "view",
            "transpose",
            "_unsafe_view",
            "unbind",
            "permute",
            "expand",
        ):
            results = result if isinstance(result, tuple) else (result,)
            self.bytes += sum(one.nbytes for one in (*args, *results) if isinstance(one, Tensor))
        return result


def test_a_transformer_layer_against_a_counter_that_takes_all_at_its_word() -> None:
    """Without inference mode, so that PyTorch itself takes composite operators apart."""
    layer = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16), nn.LayerNorm(16), nn.Softmax(-1)).eval()
    tokens_BLD = torch.ones(2, 10, 16)
    with torch.no_grad(), Naive() as naive:
        layer(tokens_BLD)
    statistics = 2 * 4 * 20  # LayerNorm's means and deviations are results as well
    assert naive.bytes == moved(lambda: layer(tokens_BLD))
    assert (
        naive.bytes
        == 4 * ((320 + 1024 + 64 + 1280) + (1280 + 1280) + (1280 + 1024 + 16 + 320) + (320 + 32 + 320) + 640)
        + statistics
    )


@pytest.mark.parametrize("name", ["vilt-b32", "vit-b16", "clip-vit-b32", "pixelbert-r50", "vsepp", "uniter-base"])
def test_a_model_reads_each_parameter_that_it_uses(name: str) -> None:
    """All but embedding tables, of which it reads rows."""
    spec = catalog()[name].tiny()
    with torch.device("meta"):
        model = build(spec).eval()
        text, images = blank_batch(spec, 2)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    used = sum(one.nbytes for one in model.parameters() if id(one) not in tables)
    counts = count_macs(lambda: model(text, images), model.stages())
    assert counts.traffic.bytes(4) > used > 0
    for stage, module in model.stages().items():
        weights = sum(one.nbytes for one in module.parameters() if id(one) not in tables)
        assert counts.traffic_by_stage[stage].bytes(4) >= weights, stage


@pytest.mark.parametrize("name", ["vilt-b32", "clip-rn50", "uniter-base"])
def test_stages_sum_to_the_whole_but_for_what_lies_between(name: str) -> None:
    counts = counts_of(name)
    assert counts.bytes_moved
    assert counts.bytes_moved_by_stage
    assert set(counts.bytes_moved_by_stage) == set(counts.macs_by_stage)
    parts = sum(moved for stage, moved in counts.bytes_moved_by_stage.items() if "." not in stage)
    assert 0.98 * counts.bytes_moved < parts <= counts.bytes_moved
    steps = sum(moved for stage, moved in counts.bytes_moved_by_stage.items() if stage.startswith("visual."))
    assert steps <= counts.bytes_moved_by_stage["visual"]


@pytest.mark.parametrize(
    "name", each_model([name for name, spec in catalog().items() if isinstance(spec, ModelSpec)][::4])
)
def test_a_precision_halves_what_is_floating_point_and_nothing_else(name: str) -> None:
    full, half, other_half = (count(catalog()[name].tiny(), precision=one) for one in ("fp32", "bf16", "fp16"))
    assert half == other_half
    assert full.bytes_moved
    assert half.bytes_moved
    integers = 2 * half.bytes_moved - full.bytes_moved
    assert 0 <= integers < 0.05 * full.bytes_moved
    changed = {"bytes_moved": half.bytes_moved, "bytes_moved_by_stage": half.bytes_moved_by_stage}
    assert full.model_copy(update=changed) == half


@pytest.mark.parametrize("name", ["vilt-b32", "clip-vit-b32", "clip-rn50", "vsepp"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_counts_of_shapes_are_those_of_a_real_pass(name: str, precision: Precision) -> None:
    spec = catalog()[name].tiny()
    counts, dtype = count(spec, batch=2, precision=precision), DTYPES[precision]
    model, (text, images) = build(spec).eval().to(dtype), blank_batch(spec, 2)
    if text is not None:
        text = replace(text, ids=torch.zeros_like(text.ids))
    images = replace(images, pixels=torch.zeros_like(images.pixels, dtype=dtype))
    found = count_macs(lambda: model(text, images), model.stages())
    assert counts.bytes_moved == found.traffic.bytes(4)
    assert counts.bytes_moved_by_stage == {stage: one.bytes(4) for stage, one in found.traffic_by_stage.items()}
