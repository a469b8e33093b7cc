"""The counter against two others, fvcore's and PyTorch's, against formulas, and its refusal to guess."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers import each_model
from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images, Text
from vlbench.architectures.vl_model import VLModel
from vlbench.measuring.macs import UnknownOperatorError, count_macs, count_parameters
from vlbench.specs import ModelSpec, RegionSpec, Spec
from vlbench.specs.catalog import catalog

PROPOSALS = 20  # in place of 300 or 1,000: every count of the RoI head is proportional to it
SMALL = (100, 167)  # pixels, an eighth of 800x1333 on each side
DEPTHS = {"layers", "text_layers", "image_layers", "cross_layers", "connections", "blocks"}


def with_few_proposals(spec: ModelSpec) -> ModelSpec:
    """The whole model, but for the number of regions."""
    if not isinstance(spec.visual, RegionSpec):
        return spec
    if spec.visual.grid_boxes:
        return with_visual(spec, grid_boxes=(4, 5))
    rpn = spec.visual.rpn.model_copy(update={"proposals": PROPOSALS})
    return with_visual(spec, rpn=rpn, nms=spec.visual.nms.model_copy(update={"regions": PROPOSALS}))


def affordable(spec: ModelSpec) -> ModelSpec:
    """The model at its published width, each kind of layer fewer times.

    Counters must agree on any one input, so a CNN reads a small image; patches keep the size that they were made for.
    Suppression has no MACs, and a loop over 1,600 classes takes most of a trace.
    """
    spec = with_few_proposals(spec)
    if spec.family != "patch":
        spec = spec.with_input(image_size=SMALL)
    if isinstance(spec.visual, RegionSpec) and spec.visual.nms:
        spec = with_visual(spec, nms=spec.visual.nms.model_copy(update={"method": "class_agnostic"}))
    return shallow(spec)


def with_visual(spec: ModelSpec, **changes: object) -> ModelSpec:
    return spec.model_copy(update={"visual": spec.visual.model_copy(update=changes)})


def shallow(part: Spec) -> Spec:
    """The same widths with the depths of the tiny part."""
    smaller = part.tiny()
    changes = {name: getattr(smaller, name) for name in DEPTHS & set(type(part).model_fields)}
    changes |= {name: shallow(value) for name, value in part if isinstance(value, Spec)}
    return part.model_copy(update=changes)


def example_of(spec: ModelSpec, *, device: str = "cpu") -> tuple[Text | None, Images]:
    size = spec.input.image_size
    images = Images(pixels=torch.zeros(1, 3, *size, device=device), sizes=(size,))
    if spec.text is None:
        return None, images
    return Text(ids=torch.zeros(1, spec.input.text_tokens, dtype=torch.long, device=device), mask=None), images


class FromTensors(nn.Module):
    """fvcore traces tensors alone, and drops what no output depends on.

    So what a head leaves unread is an output too: a detector's deltas, and the image tokens of two streams.
    """

    def __init__(self, model: VLModel, spec: ModelSpec) -> None:
        super().__init__()
        self.model, self.sizes = model, (spec.input.image_size,)
        self.unread: list[torch.Tensor] = []
        if model.head is not None:
            model.interaction.register_forward_hook(lambda _, __, joint: self.unread.append(joint.image.values))
        if isinstance(spec.visual, RegionSpec):
            model.visual.roi_head.register_forward_hook(lambda _, __, classified: self.unread.extend(classified.deltas))

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        text = None if ids is None else Text(ids=ids, mask=None)
        self.unread.clear()
        return self.model(text, Images(pixels=pixels, sizes=self.sizes)), *self.unread


def attention_macs(inputs: list, outputs: list) -> int:
    """fvcore knows no fused attention: queries x keys x width, twice, over heads and batch."""
    batch, heads, queries, width = inputs[0].type().sizes()
    keys = inputs[1].type().sizes()[2]
    return 2 * batch * heads * queries * keys * width


def recurrent_macs(inputs: list, outputs: list) -> int:
    """Nor a fused recurrence: every weight matrix once for each word."""
    words = math.prod(inputs[0].type().sizes()[:-1])
    shapes = [weight.type().sizes() for weight in inputs[2].node().inputs()]
    return words * sum(math.prod(shape) for shape in shapes if len(shape) == 2)


def fvcore_macs(model: VLModel, spec: ModelSpec) -> float:
    text, images = example_of(spec)
    tensors = (images.pixels,) if text is None else (images.pixels, text.ids)
    analysis = FlopCountAnalysis(FromTensors(model, spec), tensors)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.set_op_handle("aten::scaled_dot_product_attention", attention_macs)
    analysis.set_op_handle("aten::gru", recurrent_macs)
    for elementwise in ("batch_norm", "layer_norm", "upsample_bilinear2d", "upsample_nearest2d", "adaptive_avg_pool2d"):
        analysis.set_op_handle(f"aten::{elementwise}", lambda *_: 0)
    return analysis.total()


def torch_macs(model: VLModel, spec: ModelSpec) -> float:
    text, images = example_of(spec)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(text, images)
    return counter.get_total_flops() / 2


OWN = [name for name, spec in catalog().items() if isinstance(spec, ModelSpec)]


@pytest.mark.parametrize("name", each_model(OWN))
def test_three_counters_agree_on_every_model(name: str) -> None:
    spec = affordable(catalog()[name])
    model = build(spec).eval()
    if isinstance(spec.visual, RegionSpec) and spec.visual.rpn:
        model.visual.rpn.inject_load = False  # its own proposals, so that the trace keeps what makes them
    agree_on(model, spec)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vilt-b32"])
def test_three_counters_agree_at_full_depth(name: str) -> None:
    spec = catalog()[name]
    agree_on(build(spec).eval(), spec)


def agree_on(model: VLModel, spec: ModelSpec) -> None:
    text, images = example_of(spec)
    ours = count_macs(lambda: model(text, images), model.stages()).total
    assert ours > 1e8
    assert torch_macs(model, spec) == ours
    assert fvcore_macs(model, spec) == ours


def test_a_linear_layer_a_convolution_and_attention_by_formula() -> None:
    linear, grouped = nn.Linear(7, 11), nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4)
    up = nn.ConvTranspose2d(8, 6, 2, stride=2)
    image, heads = torch.zeros(2, 8, 9, 9), torch.zeros(2, 3, 10, 5)
    stages = {"linear": linear, "grouped": grouped, "up": up}

    def forward() -> None:
        linear(torch.zeros(4, 7))
        grouped(image)
        up(image)
        F.scaled_dot_product_attention(heads, torch.zeros(2, 3, 13, 5), torch.zeros(2, 3, 13, 5))

    count = count_macs(forward, stages)
    assert count.by_stage == {
        "linear": 4 * 7 * 11,
        "grouped": 2 * 5 * 5 * 12 * (8 // 4) * 3 * 3,
        "up": 2 * 9 * 9 * 8 * 6 * 2 * 2,
    }
    assert count.total - sum(count.by_stage.values()) == 2 * 3 * 10 * 13 * (5 + 5)


def test_the_transformer_of_table_6_by_its_formula() -> None:
    """A layer of width h, MLP i, S tokens: 4hh + 2hi for each token, and 2hS for its attention (ViLT, Table 6)."""
    spec = catalog()["vilt-b32"]
    with torch.device("meta"):
        model = build(spec).eval()
    text, images = example_of(spec, device="meta")
    stages = count_macs(lambda: model(text, images), model.stages()).by_stage
    width, mlp, tokens = 768, 3072, 40 + 1 + 240
    assert stages["interaction"] == 12 * tokens * (4 * width**2 + 2 * width * mlp + 2 * width * tokens)
    assert stages["visual.patch"] == 240 * (3 * 32 * 32) * 768


@pytest.mark.slow
def test_the_detector_of_table_6_by_its_components_in_a_real_pass() -> None:
    """Counted on 20 proposals; the RoI head is proportional to them. From 800x1333 to 50x84 cells."""
    spec = with_few_proposals(catalog()["uniter-base-table6"])
    model = build(spec).eval()
    text, images = example_of(spec)
    by_stage = count_macs(lambda: model(text, images), model.stages()).by_stage
    assert by_stage["visual.backbone"] == pytest.approx(146_259_993_600, rel=0.001)
    assert by_stage["visual.rpn"] == pytest.approx(39_958_732_800, rel=0.001)
    assert by_stage["visual.roi_head"] * 1000 / PROPOSALS == pytest.approx(732_168_192_000 + 16_386_048_000, rel=0.001)


def test_the_fused_encoder_layer_is_counted_in_full() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    tokens = torch.zeros(1, 10, 16)
    assert count_macs(lambda: layer(tokens), {}).total == 10 * (4 * 16**2 + 2 * 16 * 32 + 2 * 16 * 10)


def test_every_operator_dispatched_is_counted_cheap_or_not() -> None:
    first, second = torch.ones(3, 4), torch.ones(4, 5)
    assert count_macs(lambda: (first @ second).relu() + 1, {}).operators == 3
    boxes, scores = torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1)
    assert count_macs(lambda: torchvision.ops.nms(boxes, scores, 0.5), {}).operators == 1
    layer = nn.Linear(4, 8)
    assert count_macs(lambda: layer(first), {}).operators == 2  # the transposed weight, the product


def test_an_operator_that_is_not_known_is_an_error() -> None:
    square = torch.eye(3) * 2
    with pytest.raises(UnknownOperatorError, match="linalg_cholesky"):
        count_macs(lambda: torch.linalg.cholesky(square), {})


def test_counting_restores_the_fused_fast_path() -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    count_macs(lambda: None, {})
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_a_shared_parameter_counts_once_and_a_frozen_one_is_not_trainable() -> None:
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    frozen = nn.Linear(2, 2).requires_grad_(False)
    model = nn.ModuleDict({"first": first, "second": second, "frozen": frozen})
    count = count_parameters(model, {"frozen": frozen})
    assert (count.total, count.trainable, count.by_stage) == (9 + 6, 9, {"frozen": 6})
