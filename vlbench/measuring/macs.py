"""Counts parameters, multiply-accumulates (MACs) and memory traffic by stage.

One MAC is one multiplication and one addition; `flops` = 2 x MACs everywhere in vlbench. Matrix products, convolutions
and attention are counted. Elementwise operators, data movement and reductions are not, nor are RoI pooling and
non-maximum suppression, which have no agreed MACs. Any other operator is an error, so that no heavy one is missed.
`vlbench.measuring.traffic` computes what each operator reads and writes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vlbench.measuring.attribution import Attribution
from vlbench.measuring.traffic import ATTENTION, NOTHING, Traffic, traffic


class UnknownOperatorError(Exception):
    """The model ran an operator that has no formula and is not listed as cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCount:
    """Elements of all parameters. The affine parameters of frozen BatchNorm count; running statistics do not."""

    total: int
    trainable: int
    by_stage: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MacCount:
    """MACs and memory traffic of one forward pass of the whole batch; `operators` counts the cheap ones, too, and
    `unknown` says how often each operator ran whose MACs are not known."""

    total: int
    by_stage: dict[str, int]
    operators: int
    unknown: dict[str, int]
    traffic: Traffic
    traffic_by_stage: dict[str, Traffic]


def count_parameters(model: nn.Module, stages: dict[str, nn.Module]) -> ParameterCount:
    """Counts each parameter once, even if two modules share it."""
    parameters = list(model.parameters())
    return ParameterCount(
        total=sum(parameter.numel() for parameter in parameters),
        trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        by_stage={name: sum(parameter.numel() for parameter in stage.parameters()) for name, stage in stages.items()},
    )


def count_macs(forward: Callable[[], object], stages: dict[str, nn.Module], *, lenient: bool = False) -> MacCount:
    """Runs `forward` once and counts its MACs, in total and within each stage.

    Raises UnknownOperatorError for an operator that has no formula and is not listed as cheap; `lenient` lists it.
    """
    mode = CountingMode(lenient=lenient)
    attribution = Attribution(mode.amounts)
    with attribution.to({name: (stage, {name}) for name, stage in stages.items()}), unfused_forward(), mode:
        forward()
    return MacCount(
        total=mode.total,
        by_stage={name: attribution.of(name)[0] for name in stages},
        operators=mode.operators,
        unknown=dict(mode.unknown),
        traffic=mode.traffic,
        traffic_by_stage={name: Traffic(*attribution.of(name)[1:]) for name in stages},
    )


@contextmanager
def unfused_forward() -> Iterator[None]:
    """Without gradients, and without the fused encoder layer, which hides all of its products from counters."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


class CountingMode(TorchDispatchMode):
    """Counts every operator that is dispatched within it.

    Attributes:
        lenient: runs an operator that is not known and counts it in `unknown`, rather than raise an error.
        calls, by_operator: how often each operator with a formula or without agreed MACs was called, and its MACs.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        super().__init__()
        self.lenient = lenient
        self.total = 0
        self.operators = 0
        self.traffic = NOTHING
        self.by_operator: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.within_fused = 0

    def amounts(self) -> tuple[int, int, int]:
        """MACs, and both parts of `Traffic`, so far."""
        return self.total, self.traffic.floats, self.traffic.other_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name == "aten::dropout" and not dict(zip(("input", "p", "train"), args, strict=False), **kwargs)["train"]:
            return args[0] if args else kwargs["input"]  # PyTorch 2.11 would copy it
        if name not in FORMULAS and name not in UNCOUNTED and not is_cheap(func):
            return self._decomposed(func, args, kwargs)
        result = self._run(func, args, kwargs)
        if name in FORMULAS or name in UNCOUNTED:
            macs = FORMULAS[name](args, result) if name in FORMULAS else 0
            self.total += macs
            self.by_operator[name] += macs
            self.calls[name] += 1
        return result

    def _run(self, func: Any, args: tuple, kwargs: dict) -> Any:
        self.operators += 1
        result = func(*args, **kwargs)
        self._move(func, args, kwargs, result)
        return result

    def _decomposed(self, func: Any, args: tuple, kwargs: dict) -> Any:
        fused = func._schema.name == ATTENTION
        self.within_fused += fused
        with self:
            result = func.decompose(*args, **kwargs)
        self.within_fused -= fused
        if result is NotImplemented:
            if self.lenient:
                self.unknown[func._schema.name] += 1
                return self._run(func, args, kwargs)
            raise UnknownOperatorError(
                f"{func._schema.name} is not known to the counter; give it a formula or list it as cheap in {__name__}"
            )
        if fused:
            result = _laid_out_as_fused(result)
            self._move(func, args, kwargs, result)
        return result

    def _move(self, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
        """Adds the operator's traffic, except within attention: devices fuse it, but the meta device does not."""
        if not self.within_fused:
            self.traffic += traffic(func, args, kwargs, result)


def _laid_out_as_fused(mixed_BHLD: Tensor) -> Tensor:
    """In the memory layout of the fused kernels, heads next to each other, so that joining them needs no copy."""
    return mixed_BHLD.transpose(1, 2).contiguous().transpose(1, 2) if mixed_BHLD.is_meta else mixed_BHLD


def _product(first: int, second: int) -> Callable[[tuple, Any], int]:
    """MACs of a (batched) matrix product, whose two factors are the arguments `first` and `second`."""

    def macs(args: tuple, _: Any) -> int:
        return args[first].numel() * args[second].shape[-1]

    return macs


def _convolution(args: tuple, result: Tensor) -> int:
    inputs, weight, transposed = args[0], args[1], args[6]
    positions = inputs if transposed else result
    return positions.numel() * math.prod(weight.shape[1:])


def _attention(args: tuple, _: Any) -> int:
    """Scores and weighted sum: queries x keys x (width of a key + width of a value), over all heads."""
    query, key, value = args[:3]
    return math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _recurrent(args: tuple, _: Any) -> int:
    """Every matrix of every layer and direction once per step; `args` begin with the inputs and all weights."""
    inputs, weights = args[:2]
    return math.prod(inputs.shape[:-1]) * sum(weight.numel() for weight in weights if weight.dim() == 2)


FORMULAS: dict[str, Callable[[tuple, Any], int]] = {
    "aten::mm": _product(0, 1),
    "aten::bmm": _product(0, 1),
    "aten::addmm": _product(1, 2),
    "aten::baddbmm": _product(1, 2),
    "aten::convolution": _convolution,
    "aten::_cudnn_rnn": _recurrent,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_flash_attention": _attention,
    "aten::_scaled_dot_product_efficient_attention": _attention,
    "aten::_scaled_dot_product_cudnn_attention": _attention,
    "aten::_scaled_dot_product_fused_attention_overrideable": _attention,
}

# Their work depends on the image and has no agreed MACs; the papers' tables omit them, too.
UNCOUNTED = frozenset({"torchvision::roi_align", "torchvision::roi_pool", "torchvision::nms"})

# Data movement, reductions, normalisation, pooling, sorting, resizing, activations without the tag `pointwise`: a few
# operations per element.
CHEAP = frozenset(
    """
    _adaptive_avg_pool2d _assert_async _batch_norm_no_update _fused_rms_norm _local_scalar_dense _log_softmax
    _native_batch_norm_legit _native_batch_norm_legit_no_training _safe_softmax _softmax _thnn_fused_gru_cell _to_copy
    _unique2 _unsafe_index _unsafe_view _upsample_bicubic2d_aa _upsample_bilinear2d_aa adaptive_avg_pool2d
    adaptive_max_pool2d all amax amin any arange argmax argsort as_strided_ avg_pool2d bucketize cat clone col2im
    constant_pad_nd copy_ cudnn_batch_norm cummax cumsum detach_ embedding empty empty_like empty_strided equal fill
    fill_ flip full full_like gather grid_sampler_2d hardswish hardswish_ im2col index index_copy index_copy_ index_fill
    index_fill_ index_put_ index_select is_nonzero isin item lift_fresh lift_fresh_copy linalg_vector_norm linspace
    logsumexp masked_fill masked_fill_ max max_pool2d_with_indices mean min miopen_batch_norm multinomial
    native_batch_norm native_group_norm native_layer_norm new_empty new_full new_ones new_zeros nonzero norm ones
    ones_like pow prod rand randn reflection_pad1d reflection_pad2d repeat replication_pad1d replication_pad2d resize_
    roll rsub scalar_tensor scatter scatter_ searchsorted select_scatter set_ slice_scatter sort split_with_sizes_copy
    stack sum topk tril triu unbind_copy upsample_bicubic2d upsample_bilinear2d upsample_nearest2d var var_mean zero_
    zeros zeros_like
    """.split()
)


def is_cheap(func: Any) -> bool:
    """Whether an operator is a view, elementwise, or listed as cheap."""
    if func.is_view or torch.Tag.pointwise in func.tags:
        return True
    namespace, _, name = func._schema.name.partition("::")
    return namespace in ("aten", "prim", "prims") and (name in CHEAP or namespace != "aten")
