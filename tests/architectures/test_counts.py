"""Counts on the meta device: the same as a real pass, quick and small, and the components of ViLT's Table 6."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.helpers import each_model
from tests.paths import ROOT
from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.architectures.dual_stream import CoAttention, CrossModality
from vlbench.architectures.interfaces import Images, Text, Tokens
from vlbench.measuring.macs import count_macs, count_parameters
from vlbench.specs import CoAttentionSpec, CrossModalitySpec, ModelSpec
from vlbench.specs.catalog import catalog

OWN = [name for name, spec in catalog().items() if isinstance(spec, ModelSpec)]


@pytest.mark.parametrize("name", each_model(OWN))
def test_meta_counts_are_those_of_a_real_pass(name: str) -> None:
    spec, batch = catalog()[name].tiny(), 2
    counts, model = count(spec, batch=batch), build(spec).eval()
    images = Images(pixels=torch.randn(batch, 3, *spec.input.image_size), sizes=(spec.input.image_size,) * batch)
    text = Text(ids=torch.ones(batch, spec.input.text_tokens, dtype=torch.long), mask=None) if spec.text else None
    lengths = []
    model.visual.register_forward_hook(lambda _, __, tokens: lengths.append(tokens.values.shape[1]))
    macs, parameters = count_macs(lambda: model(text, images), model.stages()), count_parameters(model, model.stages())
    assert (counts.macs, counts.macs_by_stage) == (macs.total, macs.by_stage)
    assert (counts.params_total, counts.params_trainable) == (parameters.total, parameters.trainable)
    assert counts.params_by_stage == parameters.by_stage
    assert [counts.image_tokens] == lengths
    assert counts.flops == 2 * macs.total


X152_C4 = {
    "visual.backbone": 225_392_460_800,
    "visual.rpn": 39_958_732_800,
    "visual.roi_head": 732_168_192_000 + 3_287_040_000,
}
X152_FPN = {
    "visual.backbone": 250_497_664_000,
    "visual.fpn": 60_565_094_400,
    "visual.rpn": 52_849_750_272,
    "visual.roi_head": 13_893_632_000 + 8_193_024_000,
}
R101_C4 = {
    "visual.backbone": 146_259_993_600,
    "visual.rpn": 39_958_732_800,
    "visual.roi_head": 732_168_192_000 + 16_386_048_000,
}
DETECTORS = {
    "vilbert-table6": R101_C4,
    "lxmert-table6": R101_C4,
    "uniter-base-table6": R101_C4,
    "oscar-base-table6": R101_C4,
    "vinvl-base-table6": X152_C4,
    "visualbert": X152_FPN,
    "unicoder-vl": X152_FPN,
    "imagebert": X152_FPN,
}


WHOLE_CATALOG = """
import json, resource, time
from vlbench.architectures.count import count
from vlbench.specs.catalog import catalog
start = time.perf_counter()
stages = {name: count(spec).macs_by_stage for name, spec in catalog().items()}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"stages": stages, "seconds": time.perf_counter() - start, "peak_bytes": peak}))
"""


@pytest.mark.slow
def test_the_whole_catalog_is_counted_in_two_minutes_and_four_gibibytes() -> None:
    """On a busy machine it takes a fraction of the time; the weights of all models would take five times the memory.

    Detectors have the MACs of Table 6's components: at 800x1333 and 1,000 proposals, as the printed cells add up.
    """
    command = [sys.executable, "-c", WHOLE_CATALOG]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=300)
    counted = json.loads(result.stdout)
    assert set(counted["stages"]) == set(catalog())
    assert counted["seconds"] < 120
    assert counted["peak_bytes"] < 4 * 2**30
    for name, stages in DETECTORS.items():
        found = counted["stages"][name]
        assert {stage: found[stage] for stage in stages} == pytest.approx(stages, rel=1e-3), name


def lxmert(cross: str) -> CrossModality:
    return CrossModality(
        CrossModalitySpec(
            kind="cross_modality",
            text_layers=9,
            image_layers=5,
            cross_layers=5,
            cross=cross,
            width=768,
            heads=12,
            mlp_width=3072,
            dropout=0.1,
            layer_norm_eps=1e-12,
        )
    )


def vilbert() -> CoAttention:
    return CoAttention(
        CoAttentionSpec(
            kind="co_attention",
            text_layers=12,
            image_layers=6,
            connections=6,
            text_width=768,
            image_width=1024,
            connection_width=1024,
            text_heads=12,
            image_heads=8,
            connection_heads=8,
            text_mlp_width=3072,
            image_mlp_width=1024,
            dropout=0.1,
            layer_norm_eps=1e-12,
        )
    )


ENCODERS = {  # parameters, MACs, text tokens, image tokens and their width
    "ViLBERT": (vilbert, 207_925_248, 7_545_913_344, 36, (36, 1024)),
    "LXMERT": (lambda: lxmert("attention"), 181_928_448, 5_230_018_560, 20, (36, 768)),
    "LXMERT as Table 6 counts it": (lambda: lxmert("joint"), 170_108_928, 4_569_415_680, 20, (36, 768)),
}


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_an_encoder_of_two_streams_has_table_6s_parameters_and_macs(encoder: tuple) -> None:
    make, parameters, macs, words, regions = encoder
    with torch.device("meta"):
        model: nn.Module = make().eval()
        text = Tokens(values=torch.empty(1, words, 768), mask=None)
        image = Tokens(values=torch.empty(1, *regions), mask=None)
    assert count_parameters(model, {}).total == count_parameters(model, {}).trainable == parameters
    assert count_macs(lambda: model(text, image), {}).total == pytest.approx(macs, rel=1e-3)
