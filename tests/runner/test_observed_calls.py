"""Calls of modules in an eager pass are recorded as they were, whatever changes them afterwards."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from vlbench.runner.parts import observe_calls

WIDTH = 4


def test_what_a_module_gave_is_kept_as_it_was() -> None:
    """CLIP of transformers puts the projection into the output of its text model; other code adds in place."""
    layer = nn.Linear(WIDTH, WIDTH)

    def run() -> dict[str, Tensor]:
        given = {"values": layer(torch.ones(1, WIDTH))}
        given["values"] += 1
        return given

    calls, outputs = observe_calls([layer], [partial(run)])
    (call,) = calls[layer]
    assert torch.allclose(call.output + 1, outputs[0]["values"])


def test_a_call_that_changes_its_arguments_is_known() -> None:
    class InPlace(nn.Module):
        def forward(self, values: torch.Tensor, *, add: float) -> torch.Tensor:
            return values.add_(add) if add else values * 2

    module = InPlace()
    for add, changed in ((1.0, True), (0.0, False)):
        calls, _ = observe_calls([module], [partial(module, torch.ones(2, 3), add=add)])
        assert [call.in_place for call in calls[module]] == [changed]
        with torch.inference_mode():
            calls, _ = observe_calls([module], [partial(module, torch.ones(2, 3), add=add)])
        assert not calls[module][0].in_place, "unknown"


def test_an_object_is_recorded_as_it_was_before_the_call() -> None:
    """A cache of a text model grows in each call."""

    class Cache:
        tokens = 0

    class Decoder(nn.Module):
        def forward(self, values: Tensor, cache: Cache) -> Tensor:
            cache.tokens += len(values)
            return values * cache.tokens

    module, cache = Decoder(), Cache()
    run = partial(module, torch.ones(2), cache)
    calls, _ = observe_calls([module], [run, run])
    assert [call.inputs.positional[1].tokens for call in calls[module]] == [0, 2]
    assert [float(call.output[0]) for call in calls[module]] == [2, 4]
    assert cache.tokens == 4
