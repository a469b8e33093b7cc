"""The GRU embedder against one nn.GRU over each sentence alone, without padding."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from weights import randomise

from vlbench.architectures.interfaces import Text
from vlbench.architectures.text import Gru
from vlbench.measuring.macs import FORMULAS, count_macs
from vlbench.specs import GruSpec

WORD_WIDTH, WIDTH, VOCABULARY = 12, 16, 50


def embedder(*, bidirectional: bool, output: str) -> Gru:
    part = Gru(
        GruSpec(
            kind="gru",
            vocabulary=VOCABULARY,
            word_width=WORD_WIDTH,
            width=WIDTH,
            bidirectional=bidirectional,
            output=output,
        )
    ).double()
    return randomise(part)


def reference_of(part: Gru) -> nn.GRU:
    """One network of PyTorch's own, both directions in it."""
    reference = nn.GRU(WORD_WIDTH, WIDTH, batch_first=True, bidirectional=part.backwards is not None).double()
    state = dict(part.forwards.state_dict())
    if part.backwards is not None:
        state |= {f"{name}_reverse": value for name, value in part.backwards.state_dict().items()}
    reference.load_state_dict(state)
    return reference


def texts(*lengths: int) -> Text:
    ids = torch.randint(0, VOCABULARY, (len(lengths), max(lengths)))
    mask = torch.tensor([[index < length for index in range(max(lengths))] for length in lengths])
    return Text(ids=ids, mask=None if mask.all() else mask)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(9, 4, 1, 7), (5, 5)], ids=["padded", "unpadded"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_state_at_each_word_is_that_of_the_sentence_alone(bidirectional: bool, lengths: tuple[int, ...]) -> None:
    part, words = embedder(bidirectional=bidirectional, output="words"), texts(*lengths)
    reference, tokens = reference_of(part), part(words)
    assert tokens.values.shape == (len(lengths), max(lengths), WIDTH)
    for index, length in enumerate(lengths):
        states = reference(part.words(words.ids[index : index + 1, :length]))[0][0]
        if bidirectional:
            states = (states[:, :WIDTH] + states[:, WIDTH:]) / 2
        expected = F.normalize(states, dim=1)
        torch.testing.assert_close(tokens.values[index, :length], expected, atol=1e-10, rtol=0)
    assert (tokens.mask is None) == (words.mask is None)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(9, 4, 1, 7), (5, 5)], ids=["padded", "unpadded"])
def test_the_last_state_is_that_after_the_last_real_word(lengths: tuple[int, ...]) -> None:
    part, words = embedder(bidirectional=False, output="last"), texts(*lengths)
    reference, tokens = reference_of(part), part(words)
    assert tokens.mask is None
    for index, length in enumerate(lengths):
        last = reference(part.words(words.ids[index : index + 1, :length]))[1][0]
        torch.testing.assert_close(tokens.values[index], F.normalize(last, dim=1), atol=1e-10, rtol=0)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_each_step_costs_every_weight_once(bidirectional: bool) -> None:
    """Three gates of D states, each from a word and from the state before."""
    with torch.device("meta"):
        part = Gru(
            GruSpec(
                kind="gru",
                vocabulary=VOCABULARY,
                word_width=WORD_WIDTH,
                width=WIDTH,
                bidirectional=bidirectional,
                output="words",
            )
        )
        words = Text(ids=torch.empty(3, 7, dtype=torch.long), mask=torch.empty(3, 7, dtype=torch.bool))
    directions = 2 if bidirectional else 1
    expected = directions * 3 * 7 * 3 * WIDTH * (WORD_WIDTH + WIDTH)
    assert count_macs(lambda: part(words), {}).total == expected


def test_the_fused_recurrence_of_a_gpu_costs_as_much() -> None:
    network = nn.GRU(WORD_WIDTH, WIDTH, batch_first=True)
    inputs = torch.zeros(3, 7, WORD_WIDTH)
    weights = [parameter.detach() for parameter in network.parameters()]
    assert FORMULAS["aten::_cudnn_rnn"]((inputs, weights), None) == count_macs(lambda: network(inputs), {}).total
