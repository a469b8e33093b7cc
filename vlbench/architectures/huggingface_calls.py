"""The forward pass of a transformers model as a model file describes it: its inputs, its options and its output."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import GenerationConfig

from vlbench.errors import LONGEST_REASON, SpecError, device_failure, nearest, shortened
from vlbench.specs import HuggingFaceSpec

EVERYWHERE = {"output_attentions", "output_hidden_states", "return_dict"}  # options of every class
# What a forward pass raises for values that it cannot work with; also where memory runs out, and on the meta device.
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
RUNS_CODE = {"custom_generate"}  # an option that names code to be fetched and run
COLUMNS = {"pairs": 2, "matching": 2, "ranking": 1}


def check_arguments(model: nn.Module, spec: HuggingFaceSpec) -> None:
    """Raises SpecError where an input or option has a name that neither the model nor a part of it takes.

    transformers passes arguments that it does not know from one module to the next, and forgets them in the end.
    """
    called = (spec.call, "get_text_features", "get_image_features") if spec.gives == "similarity" else (spec.call,)
    for method in called:
        if not callable(getattr(model, method, None)):
            raise SpecError(f"{spec.name}: {spec.transformers} has no method {method!r}, as {spec.gives} needs it")
    classes = {type(module) for module in model.modules()}
    known = EVERYWHERE.union(*(_parameters(kind.forward) for kind in classes)) - {"self"}
    if spec.call == "generate":
        known |= {*_parameters(model.generate), *GenerationConfig().to_dict()} - RUNS_CODE
    outermost = _parameters(model.forward)
    inputs = {f"inputs.{key}": name for key, name in spec.inputs if isinstance(name, str)}
    given: dict[str, str] = {}
    for key, name in {**inputs, **{f"options.{option}": option for option in spec.options}}.items():
        if name not in known:
            where = f"{spec.name}: {key}: {spec.transformers} takes no {name!r}"
            raise SpecError(f"{where}; {nearest(name, outermost)}")
        if name in given:
            raise SpecError(f"{spec.name}: {key}: {name} is given as {given[name]}, too; leave one out")
        given[name] = key


def _parameters(function: Any) -> list[str]:
    """The names of its parameters, without `*args` and `**kwargs`."""
    parameters = inspect.signature(function).parameters.items()
    return [name for name, parameter in parameters if parameter.kind.name not in ("VAR_POSITIONAL", "VAR_KEYWORD")]


@contextmanager
def calling(spec: HuggingFaceSpec, *, on_meta: bool) -> Iterator[None]:
    """Turns what a forward pass raises for values of its config or its options into a SpecError of one line.

    Not where the device fails, or where a pass on the meta device needs values, which it lacks.
    """
    try:
        yield
    except FAULTS as error:
        if isinstance(error, RuntimeError) and (on_meta or device_failure(error)):
            raise
        reason = shortened(" ".join(str(error).split()) or type(error).__name__, LONGEST_REASON)
        raise SpecError(
            f"{spec.name}: {spec.transformers}.{spec.call} fails: {reason}; check config and options"
        ) from error


def output_of(result: Any, spec: HuggingFaceSpec, *, texts: int, images: int) -> Tensor:
    """The tensor that counts of what a forward pass gives. Raises SpecError where it is none, or of another shape."""
    values = result if isinstance(result, Tensor) else getattr(result, spec.output, None)
    if not isinstance(values, Tensor):
        named = nearest(spec.output, result) if hasattr(result, "keys") else f"a {type(result).__name__} has no names"
        raise SpecError(f"{spec.name}: output: {spec.transformers} gives no tensor {spec.output!r}; {named}")
    columns = {**COLUMNS, "answers": spec.answers, "similarity": images}.get(spec.gives)
    expected = (texts, columns or values.shape[-1])
    if spec.gives == "words":
        fits = values.dim() == 2 and not values.is_floating_point()
    else:
        fits = tuple(values.shape) == expected and values.is_floating_point()
    if not fits:
        size = "x".join(map(str, values.shape)) or "a number"
        raise SpecError(
            f"{spec.name}: gives: {spec.gives} needs a row for each of {texts} texts"
            f"{f' and {columns} columns' if columns else ''}, but {spec.output} is {size}"
        )
    return values
