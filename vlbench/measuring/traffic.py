"""The bytes that an operator reads and writes, as if it ran alone: no cache, no fusion.

Each distinct tensor counts once if it is read and once if it is written, with the elements that are accessed: an
expanded tensor has the elements in memory, not those of its shape, and a lookup reads its rows, not the whole table.
Views, allocations and changes of shape move nothing; a reshape that must copy reads and writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

ATTENTION = "aten::scaled_dot_product_attention"  # one operator, however a device decomposes it

# They read at most the shape of their arguments.
_SHAPE_READERS = frozenset(
    f"aten::{name}"
    for name in "zeros_like ones_like full_like rand_like randn_like new_zeros new_ones new_full".split()
)
_TOUCH_NOTHING = frozenset(
    f"aten::{name}" for name in "empty empty_like empty_strided new_empty resize_ set_ detach_ as_strided_".split()
)
_OVERWRITE = frozenset({"aten::fill_", "aten::zero_", "aten::copy_"})  # they do not read their target
# Their other results are statistics of the batch, which inference does not compute.
_FIRST_RESULT = frozenset(
    f"aten::{name}"
    for name in """_native_batch_norm_legit_no_training _batch_norm_no_update native_batch_norm cudnn_batch_norm
    miopen_batch_norm""".split()
)
# The table comes first.
_LOOK_UP = frozenset(f"aten::{name}" for name in "embedding index_select index _unsafe_index gather".split())

_MemoryKey = tuple[int, int, torch.dtype, tuple[tuple[int, int], ...]]
_Tensors = dict[_MemoryKey, Tensor]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Reads and writes together; `floats` counts the fp32 elements, whose size depends on the measured precision."""

    floats: int = 0
    other_bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.floats + other.floats, self.other_bytes + other.other_bytes)

    def bytes(self, element_bytes: int) -> int:
        """The bytes if fp32 elements have this size; integers, booleans and other floats keep theirs."""
        return self.floats * element_bytes + self.other_bytes


NOTHING = Traffic()


def traffic(func: Any, args: tuple, kwargs: dict[str, Any], result: Any) -> Traffic:
    """The traffic of one call of a PyTorch operator, from its arguments and its result."""
    name = func._schema.name
    if name in _TOUCH_NOTHING or name.startswith("prim::") or torch.Tag.inplace_view in func.tags:
        return NOTHING
    read, written = _arguments(func, args, kwargs)
    storages = {key[0] for key in read}
    given = list(_tensors(result[0] if name in _FIRST_RESULT else result))
    fresh = [tensor for tensor in given if _memory_key(tensor)[0] not in storages]
    if given and not fresh and not written:
        return NOTHING  # a view, or the input itself
    written |= {_memory_key(tensor): tensor for tensor in fresh}
    if name in _SHAPE_READERS:
        read = {}
    if name in _LOOK_UP:
        table, most = _memory_key(args[0]), sum(tensor.numel() for tensor in fresh)
        return sum((_of(tensor, most if key == table else None) for key, tensor in read.items()), _all(written))
    return _all(read) + _all(written)


def _arguments(func: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[_Tensors, _Tensors]:
    """The distinct tensors that are read, and those that are written."""
    read: _Tensors = {}
    written: _Tensors = {}
    positional, named = _roles(func)
    roles = [*zip(positional, args, strict=False), *((named.get(name, (True, False)), kwargs[name]) for name in kwargs)]
    for (reads, writes), value in roles:
        for tensor in _tensors(value):
            if reads:
                read[_memory_key(tensor)] = tensor
            if writes:
                written[_memory_key(tensor)] = tensor
    return read, written


@cache
def _roles(func: Any) -> tuple[list[tuple[bool, bool]], dict[str, tuple[bool, bool]]]:
    """Whether an operator reads and whether it writes each of its arguments, by position and by name."""
    named = {}
    for argument in func._schema.arguments:
        writes = argument.alias_info is not None and argument.alias_info.is_write
        named[argument.name] = not (writes and (argument.is_out or func._schema.name in _OVERWRITE)), writes
    return list(named.values()), named


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _memory_key(tensor: Tensor) -> _MemoryKey:
    """Equal for two tensors that access the same elements, in any order."""
    return tensor.untyped_storage()._cdata, int(tensor.storage_offset()), tensor.dtype, _steps(tensor)


def _steps(tensor: Tensor) -> tuple[tuple[int, int], ...]:
    """Stride and size of each dimension with more than one element in memory."""
    steps = zip(tensor.stride(), tensor.shape, strict=True)
    return tuple(sorted((stride, size) for stride, size in steps if stride and size != 1))


def _elements(tensor: Tensor) -> int:
    """How many distinct elements in memory; overlapping windows have at most those that they span."""
    if not tensor.numel():
        return 0
    count, span = 1, 1
    for stride, size in _steps(tensor):
        count, span = count * size, span + stride * (size - 1)
    return min(count, span)


def _of(tensor: Tensor, most: int | None = None) -> Traffic:
    elements = _elements(tensor) if most is None else min(most, _elements(tensor))
    if tensor.dtype == torch.float32:
        return Traffic(elements, 0)
    return Traffic(0, elements * tensor.element_size())


def _all(tensors: _Tensors) -> Traffic:
    return sum(map(_of, tensors.values()), NOTHING)
