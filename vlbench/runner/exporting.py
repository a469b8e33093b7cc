"""Parts of a model as functions of tensors alone, exported for one layout of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import is_concrete_int

from vlbench.architectures.interfaces import Images
from vlbench.errors import InputError
from vlbench.measuring.counters import map_tensors, tensors_of
from vlbench.runner.conversion import NotConvertibleError, Part, StageInputs, owner_of
from vlbench.runner.leaves import argument_leaves, distinct_names, leaves
from vlbench.runner.signature import Shapes, Signature

CONSTANTS = (bool, int, float, str, torch.dtype, torch.device, type(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A part as a program of PyTorch.

    Attributes:
        program: takes tensors and gives tensors.
        signature: names and shapes of its tensors.
        calibration: tensors of other calls.
    """

    program: torch.export.ExportedProgram
    signature: Signature
    calibration: Sequence[Sequence[Tensor]]


def is_recurrent(module: nn.Module) -> bool:
    """Whether it has recurrent layers: PyTorch unrolls them over the length that it exports, and no other."""
    return any(isinstance(part, nn.RNNBase) for part in module.modules())


def reads_sizes(module: nn.Module) -> bool:
    """Whether it reads more of images without padding than their pixels."""
    return any(getattr(part, "reads_sizes", False) for part in module.modules())


def flattened(value: Any, *, sized: bool = False) -> tuple[list[Tensor], Hashable]:
    """The tensors of a value, in the order of `tensors_of`, and what else is in it: their places, types and constants.

    Raises NotConvertibleError for what is neither a tensor, nor a constant, nor holds some.

    Args:
        sized: whether the sizes of images without padding count.
    """
    tensors: list[Tensor] = []
    return tensors, _flatten(value, tensors, sized)


def _flatten(value: Any, tensors: list[Tensor], sized: bool) -> Hashable:
    if isinstance(value, Tensor):
        tensors.append(value)
        return (value.dtype, value.dim())
    if isinstance(value, CONSTANTS):
        return value
    if isinstance(value, Mapping):
        return (type(value), *((key, _flatten(item, tensors, sized)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return (type(value), *(_flatten(item, tensors, sized) for item in value))
    if isinstance(value, Images) and not sized and not value.padded:
        return (Images, _flatten(value.pixels, tensors, sized))
    if is_dataclass(value) and not isinstance(value, type):
        return (type(value), *(_flatten(getattr(value, item.name), tensors, sized) for item in fields(value)))
    raise NotConvertibleError(f"it reads a {type(value).__name__}, which is no tensor")


def shapes_of(tensors: Sequence[Tensor]) -> Shapes:
    return tuple(tuple(tensor.shape) for tensor in tensors)


class TensorModule(nn.Module):
    """The module of a part with tensors as its only arguments and results.

    Args:
        part: what is computed.
        call: its arguments, whose tensors are replaced.
        record: takes what each call gave, with `TENSOR` in place of its tensors.
    """

    def __init__(self, part: Part, call: StageInputs, record: Callable[[Any], None]) -> None:
        super().__init__()
        self.owner = owner_of(part.module)
        self.eager = part.eager
        self.call = call if reads_sizes(self.owner) else _without_sizes(call)
        self.record = record

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        positional, named = map_tensors(tuple(self.call), lambda _: next(given))
        output = self.eager(*positional, **named)
        self.record(map_tensors(output, lambda _: TENSOR))
        return tuple(tensors_of(output))


TENSOR = torch.empty(0)  # stands for any tensor in the structure of an output


def _without_sizes(value: Any) -> Any:
    """Images without padding lose their sizes, of which there are as many as images: a batch may have any number."""
    if isinstance(value, Images):
        return value if value.padded else Images(pixels=value.pixels, sizes=())
    if isinstance(value, StageInputs):
        return StageInputs(_without_sizes(value.positional), _without_sizes(value.named))
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(_without_sizes, value))
    if type(value) is dict:
        return {key: _without_sizes(item) for key, item in value.items()}
    return value


def export_part(part: Part, calls: Sequence[StageInputs]) -> Exported:
    """A program for calls of one layout. Dimensions whose sizes differ between them, or in those that calibrate
    it, become dynamic, where the module allows it."""
    owner = owner_of(part.module)
    first, *others = (flattened(call, sized=reads_sizes(owner)) for call in (*calls, *part.calibration()))
    tensors = [first[0], *(some for some, layout in others if layout == first[1])]
    sizes = tensors[: len(calls)] if is_recurrent(owner) else tensors
    largest = max(sizes, key=lambda some: sum(tensor.numel() for tensor in some))
    differing = [
        {index for index in range(mine.dim()) if len({some[position].shape[index] for some in sizes}) > 1}
        for position, mine in enumerate(largest)
    ]
    dynamic_shapes = tuple(dict.fromkeys(some, torch.export.Dim.AUTO) or None for some in differing)
    outputs: list[Any] = []
    module = TensorModule(part, calls[0], outputs.append).eval()
    try:
        program = torch.export.export(
            module,
            tuple(tensor.detach().clone().contiguous() for tensor in largest),
            dynamic_shapes=(dynamic_shapes,) if any(dynamic_shapes) else None,
        )
    except InputError as error:  # of a model that makes one of each error of its library
        raise NotConvertibleError(str(error)) from error
    names_in, names_out = _names(part, calls[0], outputs[-1])
    inputs = [node for node in program.graph.nodes if node.name in set(program.graph_signature.user_inputs)]
    dynamic = tuple(
        frozenset(index for index, size in enumerate(node.meta["val"].shape) if not is_concrete_int(size))
        for node in inputs
    )
    signature = Signature(
        inputs=names_in, outputs=names_out, dynamic=dynamic, shapes=shapes_of(largest), output=outputs[-1]
    )

    def accepted(several: Sequence[Sequence[Tensor]]) -> list[Sequence[Tensor]]:
        return [some for some in several if signature.accepts(shapes_of(some))]

    calibration = accepted(tensors[len(calls) :]) or accepted(tensors)
    return Exported(program=program, signature=signature, calibration=calibration)


def _names(part: Part, call: StageInputs, output: Any) -> tuple[list[str], list[str]]:
    """Of the tensors of a call and of its output. Raises NotConvertibleError for an output that holds anything else."""
    results = list(leaves(output, (getattr(part.module, "output_name", "output"),)))
    for _, item in results:
        if item is not TENSOR and not isinstance(item, CONSTANTS):
            symbolic = isinstance(item, torch.SymInt | torch.SymBool | torch.SymFloat)
            reason = "what it gives depends on values" if symbolic else f"it gives a {type(item).__name__}"
            raise NotConvertibleError(reason)
    arguments = list(argument_leaves(getattr(part.module, "method", part.eager), *call))
    paths_in, paths_out = ([path for path, item in each if isinstance(item, Tensor)] for each in (arguments, results))
    names = distinct_names([*paths_in, *paths_out])
    return names[: len(paths_in)], names[len(paths_in) :]
