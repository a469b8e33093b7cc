"""LXMERT's checkpoints: transformers' random models through our mapping, and the published names at full size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_region_parity import CHANNELS, HEADS, MLP, POSITIONS, SIZES, VOCABULARY, WIDTH, Batch, assert_close_where_real
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LxmertConfig, LxmertForPreTraining, LxmertForQuestionAnswering, LxmertModel
from weights import Weights, published_tensors, randomise

from vlbench import specs
from vlbench.architectures import heads, region
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.lxmert import LXMERT_FAMILIES
from vlbench.architectures.checkpoints.reading import read_state
from vlbench.architectures.checkpoints.rules import Family, mapped, recognised
from vlbench.architectures.dual_stream import CrossModality
from vlbench.architectures.interfaces import Images, Joint, Tokens, VisualEmbedder
from vlbench.architectures.text import BertEmbeddings
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.specs import (
    BertEmbeddingsSpec,
    CrossModalitySpec,
    ImageTextMatchingSpec,
    VisualQuestionAnsweringSpec,
)
from vlbench.specs.catalog import catalog

MATCHING, PRETRAINED_ANSWERS, ANSWERS, BARE = LXMERT_FAMILIES
DEPTH = {"text_layers": 3, "image_layers": 2, "cross_layers": 2}
DETECTOR = ("visual.backbone.", "visual.rpn.", "visual.roi_head.")


class GivenRegions(VisualEmbedder):
    """Regions that something else found, projected."""

    steps = ("projection",)

    def __init__(self, projection: region.RegionProjection) -> None:
        super().__init__()
        self.projection = projection
        self.regions: region.Regions

    def forward(self, images: Images) -> Tokens:
        return self.projection(self.regions, images)


class AnswersOfLxmert(heads.VisualQuestionAnswering):
    """LXMERT's classifier: the activation before the norm."""

    def forward(self, joint: Joint) -> Tensor:
        assert joint.text is not None
        return self.classifier(self.norm(F.gelu(self.expand(self.pooler(joint.text)))))


def ours_with(head: nn.Module) -> VLModel:
    projection = specs.RegionProjectionSpec(width=WIDTH, geometry=4, combine="mean_of_norms", segment=False, norm=False)
    stream = {"width": WIDTH, "heads": HEADS, "mlp_width": MLP, "dropout": 0.1, "layer_norm_eps": 1e-12}
    return VLModel(
        text=BertEmbeddings(
            BertEmbeddingsSpec(
                kind="bert_embeddings",
                vocabulary=VOCABULARY,
                positions=POSITIONS,
                segments=2,
                width=WIDTH,
                dropout=0.1,
                layer_norm_eps=1e-12,
            )
        ),
        visual=GivenRegions(region.RegionProjection(projection, inputs=CHANNELS)),
        interaction=CrossModality(CrossModalitySpec(kind="cross_modality", **DEPTH, cross="attention", **stream)),
        head=head,
    ).eval()


def answer_head(answers: int) -> AnswersOfLxmert:
    return AnswersOfLxmert(VisualQuestionAnsweringSpec(kind="vqa", width=WIDTH, answers=answers, layer_norm_eps=1e-12))


@torch.no_grad()
def reference(kind: type[nn.Module]) -> nn.Module:
    """With streams of a small scale, so that another epsilon of a LayerNorm shows."""
    depth = {"l_layers": 3, "r_layers": 2, "x_layers": 2}
    few = {"num_qa_labels": 7, "num_object_labels": 5, "num_attr_labels": 4}
    model = randomise(kind(LxmertConfig(**SIZES, **depth, **few, visual_feat_dim=CHANNELS)))
    seen = model.lxmert.encoder.visn_fc
    norms = [module for module in model.lxmert.modules() if isinstance(module, nn.LayerNorm)]
    for parameter in (*(norm.weight for norm in norms), *seen.visn_fc.parameters(), *seen.box_fc.parameters()):
        parameter.mul_(0.1)
    return model


def saved_by_transformers(model: nn.Module, folder: Path) -> Weights:
    """What transformers writes, read as any checkpoint is."""
    model.save_pretrained(folder)
    return read_state(str(folder))


def logits(model: VLModel, batch: Batch) -> Tensor:
    sizes = torch.tensor([[width, height] * 2 for height, width in batch.images.sizes])
    model.visual.regions = region.Regions(
        features=batch.features,
        boxes=batch.boxes * sizes[:, None],
        confidence=torch.ones(batch.boxes.shape[:2]),
        mask=batch.mask,
    )
    return model(batch.words, batch.images)


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_answers_equal_transformers(tmp_path: Path, padded: bool) -> None:
    theirs, batch = reference(LxmertForQuestionAnswering), Batch.random(padded=padded)
    state, ours = saved_by_transformers(theirs, tmp_path), ours_with(answer_head(7))
    (family,) = recognised(LXMERT_FAMILIES, state)
    assert family is ANSWERS
    ours.load_state_dict(mapped(family, state, ours.state_dict(), source="it"))
    expected = theirs(**batch.theirs, visual_feats=batch.features, visual_pos=batch.boxes).question_answering_score
    assert expected.std() > 0.1
    torch.testing.assert_close(logits(ours, batch), expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_both_streams_equal_transformers(tmp_path: Path, padded: bool) -> None:
    theirs, batch = reference(LxmertForQuestionAnswering), Batch.random(padded=padded)
    ours = ours_with(answer_head(7))
    ours.load_state_dict(mapped(ANSWERS, saved_by_transformers(theirs, tmp_path), ours.state_dict(), source="it"))
    expected = theirs.lxmert(**batch.theirs, visual_feats=batch.features, visual_pos=batch.boxes)
    joint = batch.joint(ours.text, ours.visual.projection, ours.interaction)
    assert_close_where_real(joint.text.values, expected.language_output, batch.words.mask)
    assert_close_where_real(joint.image.values, expected.vision_output, batch.mask)
    torch.testing.assert_close(ours.head.pooler(joint.text), expected.pooled_output, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "output"), [(MATCHING, "cross_relationship_score"), (PRETRAINED_ANSWERS, "question_answering_score")]
)
def test_both_heads_of_pre_training_equal_transformers(tmp_path: Path, family: Family, output: str) -> None:
    theirs, batch = reference(LxmertForPreTraining), Batch.random(padded=True)
    state = saved_by_transformers(theirs, tmp_path)
    assert family in recognised(LXMERT_FAMILIES, state)
    ours = ours_with(
        heads.ImageTextMatching(ImageTextMatchingSpec(kind="itm", width=WIDTH))
        if family is MATCHING
        else answer_head(7)
    )
    ours.load_state_dict(mapped(family, state, ours.state_dict(), source="it"))
    expected = theirs(**batch.theirs, visual_feats=batch.features, visual_pos=batch.boxes)[output]
    assert expected.std() > 0.1
    torch.testing.assert_close(logits(ours, batch), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_bare_model_fills_all_but_the_head(tmp_path: Path) -> None:
    body = reference(LxmertForQuestionAnswering).lxmert
    bare = LxmertModel(body.config)
    bare.load_state_dict(body.state_dict())
    state, ours, batch = saved_by_transformers(bare, tmp_path), ours_with(answer_head(7)), Batch.random(padded=True)
    assert list(recognised(LXMERT_FAMILIES, state)) == [BARE]
    tensors = mapped(BARE, state, ours.state_dict(), source="it")
    untouched = {f"head.{name}.{part}" for name in ("expand", "norm", "classifier") for part in ("weight", "bias")}
    assert set(ours.state_dict()) - set(tensors) == untouched
    ours.load_state_dict(tensors, strict=False)
    expected = body(**batch.theirs, visual_feats=batch.features, visual_pos=batch.boxes)
    joint = batch.joint(ours.text, ours.visual.projection, ours.interaction)
    assert_close_where_real(joint.image.values, expected.vision_output, batch.mask)
    torch.testing.assert_close(ours.head.pooler(joint.text), expected.pooled_output, atol=1e-5, rtol=0)


def test_pre_training_is_taken_for_matching_first(tmp_path: Path) -> None:
    state = saved_by_transformers(reference(LxmertForPreTraining), tmp_path)
    assert next(recognised(LXMERT_FAMILIES, state)) is MATCHING


def full_size(head: specs.Spec) -> Weights:
    """What the published checkpoint fills of the whole model: all but the detector."""
    spec = catalog()["lxmert"].model_copy(update={"head": head})
    with torch.device("meta"):
        state = build(spec).state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith(DETECTOR)}


def test_every_published_name_has_its_place_at_full_size(reference_data: Path) -> None:
    state = published_tensors(reference_data, "hf_lxmert_vqa")
    wanted = full_size(specs.VisualQuestionAnsweringSpec(kind="vqa"))
    (family,) = recognised(LXMERT_FAMILIES, state)
    assert mapped(family, state, wanted, source="it").keys() == wanted.keys()
    assert family.dropped == ()


def test_every_name_of_pre_training_has_its_place_at_full_size() -> None:
    with torch.device("meta"):
        state = LxmertForPreTraining(LxmertConfig()).state_dict()
    for family, head in (
        (MATCHING, specs.ImageTextMatchingSpec(kind="itm")),
        (PRETRAINED_ANSWERS, specs.VisualQuestionAnsweringSpec(kind="vqa", answers=9500)),
    ):
        wanted = full_size(head)
        assert mapped(family, state, wanted, source="it").keys() == wanted.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lacks", "has nothing for visual.projection.geometry.bias"),
        ("holds", "holds lxmert.encoder.v_layers.0.dense.weight, which this model has no place for"),
        ("differs", "text.words.weight is 3x32 there and 60x32 here; another size of model"),
    ],
)
def test_a_gap_on_either_side_is_named(change: str, message: str) -> None:
    state = dict(reference(LxmertForQuestionAnswering).state_dict())
    if change == "lacks":
        del state["lxmert.encoder.visn_fc.box_fc.bias"]
    elif change == "holds":
        state["lxmert.encoder.v_layers.0.dense.weight"] = torch.zeros(1)
    else:
        state["lxmert.embeddings.word_embeddings.weight"] = torch.zeros(3, WIDTH)
    with pytest.raises(InputError, match=f"weights it: .*{message}"):
        mapped(ANSWERS, state, ours_with(answer_head(7)).state_dict(), source="it")
