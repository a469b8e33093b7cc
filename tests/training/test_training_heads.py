"""The heads of the objectives against BERT's own, their ties, and whom their gradients reach."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLMPredictionHead

from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.interfaces import Joint, RegionFeatures, Tokens
from vlbench.architectures.region import RegionProjection
from vlbench.specs import RegionProjectionSpec
from vlbench.training.losses import masked_words_loss
from vlbench.training.objective_heads import (
    MaskedPatchLevels,
    MaskedRegionClasses,
    MaskedRegionFeatures,
    MaskedWords,
    RegionMask,
    image_at,
)

WIDTH, EPS = 8, 1e-12


def joint(*, text: int = 5, image: int = 4, requires_grad: bool = False) -> Joint:
    generator = torch.Generator().manual_seed(0)

    def tokens(length: int) -> Tokens:
        values = torch.randn(2, length, WIDTH, generator=generator).requires_grad_(requires_grad)
        return Tokens(values=values, mask=None)

    return Joint(text=tokens(text), image=tokens(image))


def chosen_at(length: int, *chosen: tuple[int, int]) -> Tensor:
    mask = torch.zeros(2, length, dtype=torch.bool)
    for row, column in chosen:
        mask[row, column] = True
    return mask


def region_projection(combine: str = "sum_of_norms") -> RegionProjection:
    return RegionProjection(
        RegionProjectionSpec(
            width=WIDTH,
            geometry=7,
            combine=combine,
            segment=True,
            norm=True,
            whole_image=False,
            unit_length=False,
            dropout=0.0,
            layer_norm_eps=EPS,
        ),
        inputs=12,
    )


@torch.no_grad()
def test_words_are_predicted_as_bert_does() -> None:
    config = BertConfig(vocab_size=20, hidden_size=WIDTH, num_attention_heads=2, hidden_act="gelu", layer_norm_eps=EPS)
    reference, words = BertLMPredictionHead(config), nn.Embedding(20, WIDTH)
    head = MaskedWords(width=WIDTH, words=words, layer_norm_eps=EPS)
    reference.decoder.weight.copy_(words.weight)
    reference.decoder.bias.copy_(nn.init.normal_(head.bias))
    reference.transform.dense.load_state_dict(head.transform.dense.state_dict())
    nn.init.normal_(head.transform.norm.weight), nn.init.normal_(head.transform.norm.bias)
    reference.transform.LayerNorm.load_state_dict(head.transform.norm.state_dict())
    tokens, chosen = joint(), chosen_at(5, (0, 1), (0, 3), (1, 2))
    assert tokens.text is not None
    expected = reference(tokens.text.values)[chosen]
    torch.testing.assert_close(head(tokens, chosen), expected, atol=1e-5, rtol=0)


def test_the_decoder_is_the_embedding_and_trains_it() -> None:
    words = nn.Embedding(20, WIDTH)
    head = MaskedWords(width=WIDTH, words=words, layer_norm_eps=EPS)
    assert head.words is words.weight
    tokens, chosen = joint(requires_grad=True), chosen_at(5, (0, 1), (1, 2))
    masked_words_loss(head(tokens, chosen), torch.tensor([3, 4])).backward()
    assert words.weight.grad is not None
    assert words.weight.grad.count_nonzero() > 0
    assert tokens.text is not None
    assert tokens.text.values.grad is not None
    assert torch.equal(tokens.text.values.grad.abs().sum(dim=2) > 0, chosen)
    assert tokens.image.values.grad is None


def test_random_weights_for_a_head_leave_what_it_shares() -> None:
    words, projection = nn.Embedding(20, WIDTH), region_projection()
    before = words.weight.clone(), projection.feature.weight.clone()
    heads = nn.ModuleList(
        [
            MaskedWords(width=WIDTH, words=words, layer_norm_eps=EPS),
            MaskedRegionFeatures(width=WIDTH, features=12, projection=projection, layer_norm_eps=EPS),
            RegionMask(features=12),
        ]
    )
    initialise_random(heads, 3)
    assert torch.equal(words.weight, before[0])
    assert torch.equal(projection.feature.weight, before[1])
    assert heads[2].embedding.count_nonzero() == 12


def test_words_need_text() -> None:
    head = MaskedWords(width=WIDTH, words=nn.Embedding(20, WIDTH), layer_norm_eps=EPS)
    with pytest.raises(ValueError, match="text"):
        head(Joint(text=None, image=joint().image), chosen_at(5))


@torch.no_grad()
@pytest.mark.parametrize(("combine", "features"), [("sum_of_norms", 12), ("sum_of_norms", 10), ("concatenation", 12)])
def test_features_are_predicted_through_the_projection_transposed(combine: str, features: int) -> None:
    projection = region_projection(combine)
    head = MaskedRegionFeatures(width=WIDTH, features=features, projection=projection, layer_norm_eps=EPS)
    tokens, chosen = joint(), chosen_at(4, (0, 0), (1, 3))
    dense = head.transform.dense
    hidden = F.layer_norm(F.gelu(tokens.image.values[chosen] @ dense.weight.t() + dense.bias), (WIDTH,), eps=EPS)
    torch.testing.assert_close(head(tokens, chosen), hidden @ projection.feature.weight[:, :features])
    assert head(tokens, chosen).shape == (2, features)


def test_features_train_the_projection_or_a_layer_of_their_own() -> None:
    projection = region_projection()
    tied = MaskedRegionFeatures(width=WIDTH, features=12, projection=projection, layer_norm_eps=EPS)
    own = MaskedRegionFeatures(width=WIDTH, features=12, projection=None, layer_norm_eps=EPS)
    assert projection.feature.weight in set(tied.parameters())
    assert len(list(own.parameters())) == len(list(tied.parameters()))
    for head in (tied, own):
        head(joint(), chosen_at(4, (0, 0))).square().sum().backward()
        assert all(parameter.grad is not None for parameter in head.parameters())
    assert projection.feature.weight.grad is not None
    assert projection.feature.weight.grad.count_nonzero() > 0
    assert projection.feature.bias.grad is None


@pytest.mark.parametrize("chosen", [(), ((0, 0), (1, 1), (1, 3))])
def test_one_row_a_hidden_place(chosen: tuple[tuple[int, int], ...]) -> None:
    classes = MaskedRegionClasses(width=WIDTH, classes=25, layer_norm_eps=EPS)
    levels = MaskedPatchLevels(width=WIDTH, layer_norm_eps=EPS)
    assert classes(joint(), chosen_at(4, *chosen)).shape == (len(chosen), 25)
    assert levels(joint(), chosen_at(4, *chosen)).shape == (len(chosen), 3, 256)


def test_heads_without_a_hidden_place_have_gradients_of_zero() -> None:
    heads = [
        MaskedWords(width=WIDTH, words=nn.Embedding(20, WIDTH), layer_norm_eps=EPS),
        MaskedRegionFeatures(width=WIDTH, features=12, projection=region_projection(), layer_norm_eps=EPS),
        MaskedRegionClasses(width=WIDTH, classes=25, layer_norm_eps=EPS),
        MaskedPatchLevels(width=WIDTH, layer_norm_eps=EPS),
    ]
    for head in heads:
        head(joint(), chosen_at(5 if isinstance(head, MaskedWords) else 4)).sum().backward()
        for parameter in head.parameters():
            assert parameter.grad is not None
            assert parameter.grad.count_nonzero() == 0


def test_tokens_of_the_whole_image_come_before_the_chosen_at() -> None:
    tokens = joint(image=5)
    picked = image_at(tokens, chosen_at(4, (0, 0), (1, 3)))
    assert torch.equal(picked, torch.stack((tokens.image.values[0, 1], tokens.image.values[1, 4])))


def test_a_learned_mask_stands_for_hidden_regions() -> None:
    part = RegionMask(features=12)
    initialise_random(part, 0)
    regions = RegionFeatures(
        features=torch.ones(2, 4, 12), boxes=torch.zeros(2, 4, 4), sizes=((1, 1), (1, 1)), mask=None
    )
    after = part(regions, chosen_at(4, (0, 2))).features
    assert torch.equal(after[0, 2], part.embedding)
    assert (after == 1).all(dim=2).sum() == 7
