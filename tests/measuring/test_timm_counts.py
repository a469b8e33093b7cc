"""Models of timm of 41 families against fvcore and against timm's published counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import timm
import torch
from timm.layers import set_fused_attn, use_fused_attn
from timm.utils.model import reparameterize_model

from tests.helpers import others_slow
from vlbench.measuring.macs import count_macs, count_parameters
from vlbench.measuring.module_counts import ModuleCounts
from vlbench.measuring.modules import copy_of, count_module

# Image size, millions of parameters and GMACs: infer_img_size, param_count and infer_gmacs of
# results/benchmark-infer-amp-nchw-pt291-cu130-5090.csv in huggingface/pytorch-image-models.
PUBLISHED = {
    "resnet50": (160, 25.56, 2.1),
    "resnext50_32x4d": (160, 25.03, 2.17),
    "convnext_tiny": (224, 28.59, 4.47),
    "regnety_016": (224, 11.2, 1.63),
    "efficientnet_b0": (224, 5.29, 0.4),
    "mobilenetv3_large_100": (224, 5.48, 0.23),
    "densenet121": (224, 7.98, 2.87),
    "vit_small_patch16_224": (224, 22.05, 4.61),
    "deit3_small_patch16_224": (224, 22.06, 4.61),
    "swin_tiny_patch4_window7_224": (224, 28.29, 4.51),
    "swinv2_tiny_window8_256": (256, 28.35, 5.96),
    "beit_base_patch16_224": (224, 86.53, 17.58),
    "eva02_tiny_patch14_224": (224, 5.5, 1.7),
    "maxvit_tiny_tf_224": (224, 30.92, 5.6),
    "coatnet_0_rw_224": (224, 27.44, 4.43),
    "mixer_s16_224": (224, 18.53, 3.79),
    "resmlp_12_224": (224, 15.35, 3.01),
    "poolformer_s12": (224, 11.92, 1.82),
    "pvt_v2_b0": (224, 3.67, 0.57),
    "twins_pcpvt_small": (224, 24.11, 3.83),
    "levit_128s": (224, 7.76, 0.3),
    "xcit_nano_12_p16_224": (224, 3.05, 0.56),
    "edgenext_xx_small": (256, 1.33, 0.26),
    "mobilevit_xxs": (256, 1.27, 0.42),
    "fastvit_t8": (256, 4.0, 0.69),
    "hiera_tiny_224": (224, 27.91, 4.91),
    "nfnet_l0": (224, 35.07, 4.36),
    "repvgg_a0": (224, 8.31, 1.36),
    "ghostnet_100": (224, 5.18, 0.15),
    "hrnet_w18_small": (224, 13.19, 1.61),
    "dla34": (224, 15.74, 3.07),
    "vgg11": (224, 132.86, 7.61),
    "inception_v3": (299, 23.83, 5.73),
    "nest_tiny": (224, 17.06, 5.83),
    "volo_d1_224": (224, 26.63, 6.94),
    "visformer_tiny": (224, 10.32, 1.27),
    "crossvit_tiny_240": (240, 7.01, 1.57),
    "convit_tiny": (224, 5.71, 1.26),
    "sequencer2d_s": (224, 27.65, 4.96),
    "cait_xxs24_224": (224, 11.96, 2.53),
    "tnt_s_patch16_224": (224, 23.77, 5.25),
}
REPARAMETERISED = {"fastvit_t8", "levit_128s", "repvgg_a0"}  # timm published them with their branches and norms fused
PRODUCTS = {"conv", "linear", "matmul", "bmm", "addmm", "mm", "einsum"}  # fvcore's other operators are by element
# What vlbench counts and fvcore does not.
MORE_THAN_FVCORE = {
    # fvcore has no formula for an LSTM: weights of all layers and directions, for each step.
    "sequencer2d_s": 3_397_386_240,
    # Position biases are interpolated by `einsum`, for which fvcore takes the estimate of NumPy's `einsum_path`.
    "maxvit_tiny_tf_224": -48,
}


@pytest.fixture(autouse=True)
def products_of_attention() -> Iterator[None]:
    """fvcore has no formula for fused attention."""
    before = use_fused_attn()
    set_fused_attn(False)
    yield
    set_fused_attn(bool(before), experimental=before == 2)


def model_of(name: str) -> torch.nn.Module:
    model = timm.create_model(name, pretrained=False).eval()
    return reparameterize_model(model) if name in REPARAMETERISED else model


def image(name: str, device: str = "cpu") -> torch.Tensor:
    side = PUBLISHED[name][0]
    return torch.zeros(1, 3, side, side, device=device)


@pytest.mark.parametrize("name", others_slow(PUBLISHED, first=2))
def test_the_strict_counter_knows_every_operator_and_the_published_parameters(name: str) -> None:
    model = copy_of(model_of(name), on_meta=True)
    millions = PUBLISHED[name][1]
    assert count_macs(lambda: model(image(name, "meta")), {}).total > 1e8
    assert round(count_parameters(model, {}).total / 1e6, 2) == millions


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_three_counters_and_the_published_figure_agree(name: str) -> None:
    counts = count_module(model_of(name), image(name), counters=("vlbench", "fvcore", "torch"))
    macs, by_operator = counts.total.macs, counts.counters["fvcore"].macs_by_operator
    products = sum(amount for operator, amount in by_operator.items() if operator in PRODUCTS)
    more = MORE_THAN_FVCORE.get(name, 0)
    assert macs["vlbench"] == macs["torch"] == products + more
    assert counts.counters["vlbench"].skipped == counts.counters["torch"].skipped == {}
    by_element = macs["fvcore"] - products
    assert round((macs["vlbench"] - more + by_element) / 1e9, 2) == PUBLISHED[name][2]
    assert_adds_up(counts)


def assert_adds_up(counts: ModuleCounts) -> None:
    """Without shared modules, no child counts more than its parent does, and no two more than both."""
    by_path = {row.path: row for row in counts.modules}
    for path, row in by_path.items():
        children = [by_path[other] for other in by_path if other and other.rpartition(".")[0] == path]
        assert sum(child.macs["vlbench"] for child in children) <= row.macs["vlbench"]
