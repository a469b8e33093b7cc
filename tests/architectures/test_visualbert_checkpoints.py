"""VisualBERT's checkpoints: transformers' models give the same outputs here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from checkpoint_examples import CHANNELS, THEIRS, GivenRegions, joint_of, loaded, small, words_of
from torch import Tensor
from weights import randomise

from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.loading import load_weights
from vlbench.architectures.interfaces import Text
from vlbench.errors import InputError

CONFIG = transformers.VisualBertConfig(**THEIRS, visual_embedding_dim=CHANNELS, num_labels=7)
PAIR_CONFIG = transformers.VisualBertConfig(**THEIRS, visual_embedding_dim=CHANNELS, num_labels=2)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def of(words: Text, regions: GivenRegions) -> dict[str, Tensor]:
    """Their arguments."""
    return {
        "input_ids": words.ids,
        "attention_mask": words.mask.long(),
        "visual_embeds": regions.features,
        "visual_attention_mask": regions.mask.long(),
        "visual_token_type_ids": torch.ones_like(regions.mask, dtype=torch.long),
    }


@torch.no_grad()
def test_answers_equal_transformers(tmp_path: Path) -> None:
    reference = randomise(transformers.VisualBertForQuestionAnswering(CONFIG))
    reference.save_pretrained(tmp_path)
    words, regions = words_of(9, 6, 2), GivenRegions(5, 3, 5)
    model = loaded(small("visualbert", "answers"), str(tmp_path))
    close(model.head(joint_of(model, words, regions)), reference(**of(words, regions)).logits)


@torch.no_grad()
def test_without_a_mask_the_word_before_the_last_answers_too(tmp_path: Path) -> None:
    reference = randomise(transformers.VisualBertForQuestionAnswering(CONFIG))
    reference.save_pretrained(tmp_path)
    words, regions = words_of(9, 9), GivenRegions(5, 5)
    model = loaded(small("visualbert", "answers"), str(tmp_path))
    unmasked = Text(ids=words.ids, mask=None)
    regions.mask = None
    ours = model.head(joint_of(model, unmasked, regions))
    regions.mask = torch.ones(2, 5, dtype=torch.bool)
    close(ours, reference(**of(words, regions)).logits)


@torch.no_grad()
def test_pairs_equal_transformers(tmp_path: Path) -> None:
    """Of the released code's data: types 0 and 1 tell left from right."""
    reference = randomise(transformers.VisualBertForVisualReasoning(PAIR_CONFIG))
    reference.save_pretrained(tmp_path)
    words, regions = words_of(9, 6), GivenRegions(5, 3, 4, 5)
    model = loaded(small("visualbert", "pairs"), str(tmp_path))
    expected = reference(
        input_ids=words.ids,
        attention_mask=words.mask.long(),
        visual_embeds=regions.features.view(2, 10, CHANNELS),
        visual_attention_mask=regions.mask.view(2, 10).long(),
        visual_token_type_ids=torch.tensor([0] * 5 + [1] * 5).expand(2, -1),
    )
    close(model.head(joint_of(model, words, regions, together=True)), expected.logits)


@torch.no_grad()
@pytest.mark.parametrize("kind", [transformers.VisualBertForPreTraining, transformers.VisualBertModel])
def test_what_has_no_head_of_a_task_fills_all_but_the_head(tmp_path: Path, kind: type) -> None:
    reference = randomise(kind(CONFIG))
    reference.save_pretrained(tmp_path)
    spec = small("visualbert").model_copy(update={"weights": str(tmp_path)})
    assert load_weights(build(spec), spec).untouched == ("head.classifier.weight", "head.classifier.bias")
    words, regions, model = words_of(9, 6), GivenRegions(5, 3), build(spec).eval()
    expected = getattr(reference, "visual_bert", reference)(**of(words, regions))
    joint = joint_of(model, words, regions)
    close(joint.text.values[words.mask], expected.last_hidden_state[:, :9][words.mask])
    close(joint.image.values[regions.mask], expected.last_hidden_state[:, 9:][regions.mask])
    close(model.head.pooler(joint.text), expected.pooler_output)


def test_it_is_told_from_uniter(tmp_path: Path) -> None:
    transformers.VisualBertForQuestionAnswering(CONFIG).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"looks like VisualBERT for VQA .* not uniter-base-tiny"):
        loaded(small("uniter-base", "answers"), str(tmp_path))
