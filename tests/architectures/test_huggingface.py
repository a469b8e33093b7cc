"""A class of transformers behind vlbench's interface: what it is given, its stages, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from huggingface_examples import ATOL, images_of, refusal, text_of
from torch import Tensor, nn

from tests.helpers import tiny
from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.architectures.huggingface import HuggingFaceModel, random_images
from vlbench.architectures.huggingface_stages import as_stages, find_parts
from vlbench.architectures.interfaces import RegionFeatures, Text
from vlbench.errors import SpecError
from vlbench.measuring.latency import PassTimer
from vlbench.measuring.macs import count_macs, count_parameters


@torch.no_grad()
def test_vilt_is_given_masks_where_text_and_image_are_padded() -> None:
    spec = tiny("hf-vilt-b32")
    model = build(spec).eval()
    for weights in model.parameters():
        weights.mul_(8)  # so that what attention sees shows in the output
    text, images = text_of(spec, 9, 6), images_of((128, 192), (64, 96))
    pixel_mask = torch.zeros(2, 128, 192, dtype=torch.long)
    pixel_mask[0], pixel_mask[1, :64, :96] = 1, 1
    assert text.mask is not None
    expected = model.model(
        input_ids=text.ids, attention_mask=text.mask.long(), pixel_values=images.pixels, pixel_mask=pixel_mask
    )
    torch.testing.assert_close(model(text, images), expected.logits, atol=ATOL, rtol=0)
    unmasked = model.model(input_ids=text.ids, pixel_values=images.pixels)
    assert (unmasked.logits - expected.logits).abs().max() > ATOL


@torch.no_grad()
def test_lxmert_is_given_boxes_as_shares_of_the_image_and_the_mask_of_its_regions() -> None:
    spec = tiny("hf-lxmert-vqa")
    model, text = build(spec).eval(), text_of(spec, 8)
    boxes = torch.tensor([[[0.0, 0.0, 50.0, 100.0], [10.0, 20.0, 200.0, 80.0]]])
    features, mask = torch.rand(1, 2, 48), torch.tensor([[True, False]])
    found = model(text, RegionFeatures(features=features, boxes=boxes, sizes=((100, 200),), mask=mask))
    shares = torch.tensor([[[0.0, 0.0, 0.25, 1.0], [0.05, 0.2, 1.0, 0.8]]])
    expected = model.model(
        input_ids=text.ids, visual_feats=features, visual_pos=shares, visual_attention_mask=mask.long()
    )
    torch.testing.assert_close(found, expected.question_answering_score, atol=ATOL, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", ["hf-clip-vit-b32", "hf-siglip-b16"])
def test_similarity_is_of_each_pair_and_ranks_as_the_products_of_unit_vectors(name: str) -> None:
    spec = tiny(name)
    model = build(spec).eval()
    height, width = spec.input.image_size
    text = Text(ids=torch.randint(5, 100, (4, 10), generator=torch.Generator().manual_seed(3)), mask=None)
    images = images_of(*[(height, width)] * 4)
    matrix = model.output(text, images)
    assert matrix.shape == (4, 4)
    assert torch.equal(model(text, images)[:, 0], matrix.diagonal())
    vectors = model.encode_text(text), model.encode_images(images)
    torch.testing.assert_close(vectors[0].norm(dim=1), torch.ones(4), atol=ATOL, rtol=0)
    product = vectors[0] @ vectors[1].T
    assert torch.equal(product.argsort(dim=1), matrix.argsort(dim=1))
    scale, bias = model.model.logit_scale.exp(), getattr(model.model, "logit_bias", torch.zeros(1))
    torch.testing.assert_close(product * scale + bias, matrix, atol=1e-4, rtol=0)


def test_a_model_that_joins_text_and_image_has_no_vectors_of_one() -> None:
    spec = tiny("hf-vilt-b32")
    with pytest.raises(ValueError, match="gives ranking: it has no vectors"):
        build(spec).encode_images(images_of((128, 192)))


@torch.no_grad()
def test_a_pair_of_images_is_left_then_right() -> None:
    spec = tiny("hf-vilt-b32").for_task("pairs")
    model = build(spec).eval()
    text, images = text_of(spec, 9, 9), images_of(*[(128, 192)] * 4)
    found = model(text, images)
    pairs = images.pixels.reshape(2, 2, 3, 128, 192)
    expected = model.model(input_ids=text.ids, pixel_values=pairs)
    assert found.shape == (2, 2)
    torch.testing.assert_close(found, expected.logits, atol=ATOL, rtol=0)
    assert (model.model(input_ids=text.ids, pixel_values=pairs.flip(1)).logits - found).abs().max() > ATOL
    assert count(spec).macs > 1.9 * count(tiny("hf-vilt-b32")).macs


@pytest.mark.parametrize("name", ["hf-vilt-b32", "hf-visualbert-vqa", "hf-lxmert-vqa"])
def test_a_head_for_a_task_has_as_many_answers_as_asked_for(name: str) -> None:
    spec = tiny(name).for_task("answers", 13)
    model, text = build(spec).eval(), text_of(spec, 9)
    images = random_images(spec, 1) if spec.features else images_of((128, 192))
    assert model(text, images).shape == (1, 13)
    assert model.labels() is None


@torch.no_grad()
def test_blip_answers_in_words_as_it_generates_them_itself() -> None:
    spec = tiny("hf-blip-vqa")
    model, text, images = build(spec).eval(), text_of(spec, 7), images_of((64, 96))
    expected = model.model.generate(
        input_ids=text.ids,
        pixel_values=images.pixels,
        interpolate_pos_encoding=True,
        min_new_tokens=2,
        max_new_tokens=2,
        num_beams=1,
        do_sample=False,
    )
    assert torch.equal(model(text, images), expected)
    assert spec.for_task("answers", 10) == spec


WRONG_INPUTS = [
    ("hf-clip-vit-b32", images_of((128, 192), (64, 96)), "knows no padding"),
    ("hf-lxmert-vqa", images_of((128, 192)), "reads features of regions, not pixels"),
    ("hf-vilt-b32", random_images(tiny("hf-lxmert-vqa"), 1), "reads pixels, not features"),
]


@pytest.mark.parametrize(("name", "images", "says"), WRONG_INPUTS, ids=[name for name, *_ in WRONG_INPUTS])
def test_images_that_a_model_does_not_read_are_refused(name: str, images: Any, says: str) -> None:
    spec = tiny(name)
    model = build(spec)
    with pytest.raises(ValueError, match=says):
        model(text_of(spec, 9), images)
    with pytest.raises(ValueError, match="text is None"):
        model(None, images)


REFUSED = [
    ("hf-vilt-b32", {"transformers": "ViltForQuestionAnswerin"}, "did you mean ViltForQuestionAnswering?"),
    ("hf-vilt-b32", {"transformers": "AutoTokenizer"}, "has no model class 'AutoTokenizer'"),
    ("hf-vilt-b32", {"config": {"hiden_size": 32}}, "config: ViltConfig has no 'hiden_size'; did you mean hidden_size"),
    ("hf-clip-vit-b32", {"config": {"text_config": {"vocab": 9}}}, "config.text_config: CLIPTextConfig has no 'vocab'"),
    (
        "hf-vilt-b32",
        {"config": {"hidden_size": 30}},
        "config: ViltForImageAndTextRetrieval refuses it: The hidden size",
    ),
    ("hf-vilt-b32", {"config": {"vocab_size": 64}}, "text.vocabulary is 128, but the config has 64; 64 works"),
    ("hf-vilt-b32", {"config": "/no/such/folder"}, "/no/such/folder: no such folder; hub:ID names one on a hub"),
    (
        "hf-vilt-b32",
        {"stages": {"visual": ("vilt.embedings",)}},
        "has no module or method 'vilt.embedings'; did you mean",
    ),
    ("hf-vilt-b32", {"stages": {"visual": ("zzz",)}}, "has no module or method 'zzz'; known: rank_output, vilt"),
    ("hf-vilt-b32", {"stages": {"visual": ("vilt.encoder",), "head": ("vilt.encoder.layer.0",)}}, "is named twice"),
    ("hf-vilt-b32", {"stages": {"visual": ("vilt.encoder", "vilt.encoder")}}, "a ViltEncoder within it is named twice"),
]


@pytest.mark.parametrize(("name", "changes", "says"), REFUSED, ids=[says for *_, says in REFUSED])
def test_what_does_not_fit_is_refused_in_one_line(name: str, changes: dict, says: str) -> None:
    assert says in refusal(tiny(name, **changes))


def test_stages_that_leave_out_much_are_refused_with_what_they_leave_out() -> None:
    stages = {name: paths for name, paths in tiny("hf-lxmert-vqa").stages.items() if name != "interaction"}
    with pytest.raises(
        SpecError, match=r"stages leave 98% of the MACs to none; '[a-z_.0-9]+' is the largest"
    ) as caught:
        count(tiny("hf-lxmert-vqa", stages=stages))
    assert "\n" not in str(caught.value)


class Two(nn.Module):
    """A method that computes, beside a module that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 5)
        self.free = nn.Parameter(torch.ones(4))

    def embed(self, values: Tensor, *, factor: float) -> Tensor:
        return self.first(values) * self.free * factor

    def forward(self, values: Tensor) -> Tensor:
        return self.second(self.embed(values, factor=2.0))


def test_a_method_is_a_stage_with_what_its_owner_has_left() -> None:
    model, values = Two(), torch.randn(2, 3)
    expected, names = model(values), list(model.state_dict())
    stages = as_stages(find_parts(model, {"visual": ("embed",), "head": ("second",)}, "two"))
    assert torch.equal(model(values), expected)
    assert list(model.state_dict()) == names
    assert count_macs(lambda: model(values), stages).by_stage == {"visual": 2 * 3 * 4, "head": 2 * 4 * 5}
    assert count_parameters(model, stages).by_stage == {"visual": 3 * 4 + 4 + 4, "head": 4 * 5 + 5}
    spent = PassTimer(lambda: model(values), stages, torch.device("cpu")).by_stage(0, least=3)
    assert {name: len(samples) for name, samples in spent.items()} == dict.fromkeys(("total", *stages, "rest"), 3)
    assert all(value > 0 for name in stages for value in spent[name])
    assert [hook for module in model.modules() for hook in module._forward_hooks] == []


def test_a_model_is_an_nn_module_that_trains() -> None:
    spec = tiny("hf-vilt-b32")
    model: HuggingFaceModel = build(spec).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    before = {name: value.clone() for name, value in model.named_parameters()}
    model(text_of(spec, 9, 9), images_of((128, 192), (128, 192))).square().sum().backward()
    optimizer.step()
    assert not torch.equal(before["model.rank_output.weight"], model.model.rank_output.weight)
