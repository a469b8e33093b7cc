"""Any module behind the interface of `VLModel`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vlbench.architectures.huggingface_stages import Stage, as_stages, find_parts
from vlbench.architectures.interfaces import Images, Text
from vlbench.architectures.module_sources import make_module
from vlbench.errors import InputError
from vlbench.measuring.counters import arguments_of, map_tensors, tensors_of
from vlbench.specs import ModuleSpec
from vlbench.specs.module import TensorInput


class ModuleModel(nn.Module):
    """Any module with the interface of a `VLModel`.

    Args:
        spec: what makes the module, what its forward pass reads, and its stages.
        made: the module and its inputs, if they exist already.

    Attributes:
        batch: examples in a pass, for inputs that are neither image nor text.

    Raises InputError where the module cannot be made, or has no such stages.
    """

    detector: None = None
    is_dual_encoder = False
    like_inputs: Tensor

    def __init__(self, spec: ModuleSpec, made: tuple[nn.Module, Any] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.model, self.example = made or make_module(spec)
        self.batch = 1
        # It has no values, and lies where the inputs are made, in their precision.
        self.register_buffer("like_inputs", torch.empty(0, dtype=self.dtype), persistent=False)
        self.parts = find_parts(self.model, spec.stages, spec.name)
        self.load: dict[str, int] = {}

    def forward(self, text: Text | None, images: Images | None) -> Any:
        """Whatever the module gives for a batch."""
        return self.bound(text, images)()

    def bound(self, text: Text | None, images: Images | None) -> partial[Any]:
        """One forward pass of the module itself, without this class around it."""
        positional, named = self.arguments(text, images)
        return partial(self.model, *positional, **named)

    def arguments(self, text: Text | None, images: Images | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and the named arguments of a pass."""
        if not self.spec.inputs and self.example is None:
            raise InputError(f"{self.spec.name}: the key 'inputs' is missing, which says what its forward pass reads")
        if not self.spec.inputs:
            return arguments_of(self.example if self.batch == 1 else self._repeated(self.example))
        named = dict(self.spec.options)
        for name, read in self.spec.inputs.items():
            if isinstance(read, TensorInput):
                named[name] = random_tensor(read, self.batch, self.like_inputs)
            elif read == "image":
                assert images
                named[name] = images.pixels
            else:
                assert text
                named[name] = text.ids if read == "text" else text_mask(text)
        positional = tuple(named.pop(name) for name in sorted(filter(str.isdigit, self.spec.inputs), key=int))
        return positional, named

    def _repeated(self, values: Any) -> Any:
        """Inputs of one example as a batch. Raises InputError for inputs that are of several already."""
        if isinstance(values, Tensor):
            if values.dim() and values.shape[0] == 1:
                return values.repeat(self.batch, *[1] * (values.dim() - 1))
            raise InputError(f"--batch {self.batch}: the inputs of {self.spec.name} are a batch already; leave it out")
        if isinstance(values, Mapping):
            return {name: self._repeated(value) for name, value in values.items()}
        return tuple(map(self._repeated, values)) if isinstance(values, list | tuple) else values

    @property
    def dtype(self) -> torch.dtype:
        """Of its first floating-point parameter, or else of its inputs."""
        dtypes = (tensor.dtype for tensor in (*self.model.parameters(), *tensors_of(self.example)))
        return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.float32)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ModuleModel:
        """Moves and casts its inputs with its weights."""
        super()._apply(fn, recurse)
        self.example = map_tensors(self.example, fn)
        return self

    def for_batch(self, batch: int) -> ModuleModel:
        """The same, with this many examples in a pass; the inputs of a saved module are the whole batch."""
        self.batch = 1 if self.spec.kind == "saved" else batch
        return self

    def stages(self) -> dict[str, nn.Module]:
        """Stages, in the order of the spec, and as `STAGE.NAME` steps within them."""
        stages: dict[str, Stage] = as_stages(self.parts)
        return dict(stages)

    def declared_load(self, images: Images | None) -> dict[str, int]:
        """Empty: vlbench knows of no detector in it."""
        return {}


def text_mask(text: Text) -> Tensor:
    """1 for words, 0 for padding, (B, L) int64."""
    return torch.ones_like(text.ids) if text.mask is None else text.mask.long()


def random_tensor(described: TensorInput, batch: int, like: Tensor) -> Tensor:
    """A batch of one random example, the same at each call, on the device of `like`; floats have its type."""
    shape = (1, *described.shape)
    generator = torch.Generator(device="cpu").manual_seed(0)
    if described.dtype == "float32":
        example = torch.randn(shape, generator=generator, device="cpu").to(like.dtype)
    elif described.dtype == "int64":
        example = torch.randint(described.below, shape, generator=generator, device="cpu")
    else:
        example = torch.ones(shape, dtype=torch.bool, device="cpu")
    return example.to(like.device).expand(batch, *described.shape).contiguous()
