"""UNITER's checkpoints: heads against a plain reading of the released code, the rest against its own outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoint_examples import (
    CHANNELS,
    HEADS,
    THEIRS,
    WIDTH,
    GivenRegions,
    joint_of,
    loaded,
    small,
    words_of,
    written,
)
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel
from weights import randomise

from vlbench import specs
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints import loading
from vlbench.architectures.checkpoints.loading import load_weights, with_saved_head
from vlbench.architectures.interfaces import join
from vlbench.errors import InputError


class ImageEmbeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.img_linear, self.pos_linear = nn.Linear(CHANNELS, WIDTH), nn.Linear(7, WIDTH)
        self.img_layer_norm, self.pos_layer_norm, self.LayerNorm = (nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(3))
        self.mask_embedding = nn.Embedding(2, CHANNELS)

    def forward(self, regions: GivenRegions, types_ED: Tensor) -> Tensor:
        features = self.img_layer_norm(self.img_linear(regions.features))
        places = self.pos_layer_norm(self.pos_linear(regions.places))
        return self.LayerNorm(features + places + types_ED[:, None])


class Uniter(nn.Module):
    """UNITER as its paper describes it (section 3.1), of transformers' BERT and the released code's names."""

    def __init__(self, types: int) -> None:
        super().__init__()
        bert = BertModel(BertConfig(**THEIRS, type_vocab_size=types))
        self.embeddings, self.encoder, self.pooler = bert.embeddings, bert.encoder, bert.pooler
        self.img_embeddings = ImageEmbeddings()

    def forward(self, ids: Tensor, mask: Tensor, regions: GivenRegions, types: list[int]) -> tuple[Tensor, Tensor]:
        table = self.embeddings.token_type_embeddings.weight
        values = torch.cat((self.embeddings(input_ids=ids), self.img_embeddings(regions, table[types])), dim=1)
        real = torch.cat((mask, regions.mask), dim=1)
        bias = torch.zeros(real.shape).masked_fill(~real, float("-inf"))[:, None, None]
        return self.encoder(values, attention_mask=bias).last_hidden_state, real


class Reference(nn.Module):
    """With one of the heads of the released code."""

    def __init__(self, head: dict[str, nn.Module], types: int = 2) -> None:
        super().__init__()
        self.uniter = Uniter(types)
        for name, part in head.items():
            self.add_module(name, part)


def reference(types: int = 2, **head: nn.Module) -> Reference:
    return randomise(Reference(head, types))


def state_of(model: Reference) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("_ids")}


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def answer_head() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.LayerNorm(2 * WIDTH, eps=1e-12), nn.Linear(2 * WIDTH, 7)
    )


SINGLE = {
    "answers": ("answers", {"vqa_output": answer_head()}, "vqa_output"),
    "statement": ("statement", {"itm_output": nn.Linear(WIDTH, 2), "rank_output": nn.Linear(WIDTH, 1)}, "itm_output"),
    "ranking": ("ranking", {"itm_output": nn.Linear(WIDTH, 2), "rank_output": nn.Linear(WIDTH, 1)}, "rank_output"),
}


@torch.no_grad()
@pytest.mark.parametrize(("task", "parts", "output"), SINGLE.values(), ids=SINGLE)
def test_heads_of_one_image_equal_the_released_code(tmp_path: Path, task: str, parts: dict, output: str) -> None:
    theirs = reference(**parts)
    torch.save(state_of(theirs), tmp_path / "uniter.pt")
    words, regions = words_of(9, 6), GivenRegions(5, 3)
    model = loaded(small("uniter-base", task), str(tmp_path / "uniter.pt"))
    hidden, _ = theirs.uniter(words.ids, words.mask, regions, [1, 1])
    close(model.head(joint_of(model, words, regions)), getattr(theirs, output)(theirs.uniter.pooler(hidden)))


@torch.no_grad()
@pytest.mark.parametrize("types", [2, 3])
def test_a_pair_equals_the_released_code(tmp_path: Path, types: int) -> None:
    theirs = reference(types, nlvr2_output=nn.Linear(2 * WIDTH, 2))
    source = written(tmp_path / "uniter.safetensors", state_of(theirs))
    words, regions = words_of(9, 6), GivenRegions(5, 3, 4, 5)
    model = loaded(small("uniter-base", "pairs", head=PAIR_LINEAR), source)
    hidden, _ = theirs.uniter(*twice(words), regions, [1, types - 1] * 2)
    pooled = theirs.uniter.pooler(hidden).view(2, 2 * WIDTH)
    close(model.head(joint_of(model, words, regions)), theirs.nlvr2_output(pooled))


@torch.no_grad()
def test_both_images_in_one_sequence_equal_the_released_code(tmp_path: Path) -> None:
    theirs = reference(3, nlvr2_output=nn.Linear(WIDTH, 2))
    source = written(tmp_path / "uniter.safetensors", state_of(theirs))
    words, regions = words_of(9, 6), GivenRegions(5, 3, 4, 5)
    spec = small("uniter-base", "pairs", head=TOGETHER)
    model = loaded(spec, source)
    embedded = theirs.uniter.img_embeddings(regions, theirs.uniter.embeddings.token_type_embeddings.weight[[1, 2] * 2])
    values = torch.cat((theirs.uniter.embeddings(input_ids=words.ids), embedded.view(2, -1, WIDTH)), dim=1)
    real = torch.cat((words.mask, regions.mask.view(2, -1)), dim=1)
    bias = torch.zeros(real.shape).masked_fill(~real, float("-inf"))[:, None, None]
    hidden = theirs.uniter.encoder(values, attention_mask=bias).last_hidden_state
    joint = joint_of(model, words, regions, together=True)
    close(model.head(joint), theirs.nlvr2_output(theirs.uniter.pooler(hidden)))


@torch.no_grad()
def test_a_pair_with_attention_equals_the_released_code(tmp_path: Path) -> None:
    attention = {f"attn{n}": nn.MultiheadAttention(WIDTH, HEADS) for n in (1, 2)}
    pool = nn.Module()
    pool.fc = nn.Sequential(nn.Linear(WIDTH, 1), nn.ReLU())
    merge = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(), nn.Dropout(0.1))
    theirs = reference(3, **attention, fc=merge, attn_pool=pool, nlvr2_output=nn.Linear(2 * WIDTH, 2))
    source = written(tmp_path / "uniter.safetensors", state_of(theirs))
    words, regions = words_of(9, 6), GivenRegions(5, 3, 4, 5)
    model = loaded(small("uniter-base", "pairs"), source)
    hidden, real = theirs.uniter(*twice(words), regions, [1, 2] * 2)
    sides = []
    for own, other, attend in ((0, 1, theirs.attn1), (1, 0, theirs.attn2)):
        mine, yours = (hidden[start::2].transpose(0, 1) for start in (own, other))
        attended, _ = attend(mine, yours, yours, key_padding_mask=~real[other::2])
        merged = theirs.fc(torch.cat((attended, mine), dim=2)).transpose(0, 1)
        scores = theirs.attn_pool.fc(merged).squeeze(2) + ~real[own::2] * -1e4
        sides.append((F.softmax(scores, dim=1)[:, None] @ merged)[:, 0])
    close(model.head(joint_of(model, words, regions)), theirs.nlvr2_output(torch.cat(sides, dim=1)))


def twice(words) -> tuple[Tensor, Tensor]:
    return words.ids.repeat_interleave(2, dim=0), words.mask.repeat_interleave(2, dim=0)


PAIR_LINEAR = specs.LinearPairSpec(kind="pair_linear", width=WIDTH)
TOGETHER = specs.TogetherPairSpec(kind="pair_together", width=WIDTH)


def pre_trained() -> dict[str, Tensor]:
    parts = {"cls.predictions.bias": torch.zeros(60)}
    parts |= {"cls.predictions.transform.dense.weight": torch.zeros(WIDTH, WIDTH)}
    parts |= {"feat_regress.bias": torch.zeros(CHANNELS), "region_classifier.net.0.bias": torch.zeros(WIDTH)}
    return state_of(reference(itm_output=nn.Linear(WIDTH, 2))) | parts


@pytest.mark.parametrize(
    ("task", "untouched"),
    [("statement", 0), ("answers", 6), ("pairs", 18), ("ranking", 2)],
)
def test_pre_training_fills_all_but_a_head_of_another_task(tmp_path: Path, task: str, untouched: int) -> None:
    spec = small("uniter-base", task)
    spec = spec.model_copy(update={"weights": written(tmp_path / "uniter.safetensors", pre_trained())})
    names = load_weights(build(spec), spec).untouched
    assert len(names) == untouched
    assert all(name.startswith("head.") for name in names)


def test_the_detector_stays_as_it_was(tmp_path: Path) -> None:
    spec = small("uniter-base", "statement")
    first = build(spec).state_dict()
    after = loaded(spec, written(tmp_path / "uniter.safetensors", pre_trained())).state_dict()
    other = [name.split(".")[:2] for name, tensor in first.items() if not torch.equal(tensor, after[name])]
    assert {part for stage, part in other if stage == "visual"} == {"projection"}


def test_another_kind_of_pair_is_told(tmp_path: Path) -> None:
    source = written(tmp_path / "u.safetensors", state_of(reference(nlvr2_output=nn.Linear(2 * WIDTH, 2))))
    with pytest.raises(InputError, match="UNITER for NLVR2, paired, whose head is pair_linear, not pair_attention as"):
        loaded(small("uniter-base", "pairs"), source)
    with pytest.raises(InputError, match="looks like UNITER for NLVR2, paired, not vilt-b32-tiny"):
        loaded(small("vilt-b32", "pairs"), source)


@torch.no_grad()
def test_hidden_states_do_not_depend_on_what_lies_under_the_padding(tmp_path: Path) -> None:
    source = written(tmp_path / "uniter.safetensors", pre_trained())
    model, words, regions = loaded(small("uniter-base"), source), words_of(9, 6), GivenRegions(5, 3)
    before = join(*(getattr(joint_of(model, words, regions), name) for name in ("text", "image")))
    words.ids[1, 6:], regions.features[1, 3:] = 3, 9
    after = join(*(getattr(joint_of(model, words, regions), name) for name in ("text", "image")))
    close(after.values[after.mask], before.values[before.mask])


def test_a_task_takes_the_head_that_the_checkpoint_holds(tmp_path: Path) -> None:
    source = written(tmp_path / "u.safetensors", state_of(reference(3, nlvr2_output=nn.Linear(2 * WIDTH, 2))))
    spec = with_saved_head(small("uniter-base", "pairs", weights=source))
    assert spec.head == PAIR_LINEAR
    assert build(spec).head.classifier.weight.shape == (2, 2 * WIDTH)
    assert with_saved_head(spec) == spec
    for task in ("answers", "ranking"):
        other = small("uniter-base", task, weights=source)
        assert with_saved_head(other) == other
    assert with_saved_head(small("uniter-base", "pairs")) == small("uniter-base", "pairs")


def test_which_head_a_checkpoint_holds_is_known_without_its_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(tmp_path / "vqa.pt")
    torch.save(state_of(reference(vqa_output=answer_head())), source)
    monkeypatch.setattr(loading, "read_state", lambda _: pytest.fail("the values were read"))
    spec = small("uniter-base", head=specs.LinearAnswersSpec(kind="vqa_linear", width=WIDTH, answers=3), weights=source)
    assert loading.saved_head_kinds(spec) == ("vqa",)
    assert with_saved_head(spec).head.answers == 7


def test_the_head_that_a_checkpoint_holds_has_its_answers_and_order(tmp_path: Path) -> None:
    source = written(tmp_path / "u.safetensors", state_of(reference(vqa_output=answer_head())))
    linear = specs.LinearAnswersSpec(kind="vqa_linear", width=WIDTH, answers=3)
    head = with_saved_head(small("uniter-base", head=linear, weights=source)).head
    assert (head.kind, head.answers, head.norm, head.layer_norm_eps) == ("vqa", 7, "after_gelu", 1e-12)
    matching = reference(itm_output=nn.Linear(WIDTH, 2), rank_output=nn.Linear(WIDTH, 1))
    source = written(tmp_path / "itm.safetensors", state_of(matching))
    for task, kind in (("ranking", "rank"), ("statement", "itm")):
        assert with_saved_head(small("uniter-base", task, weights=source)).head.kind == kind
