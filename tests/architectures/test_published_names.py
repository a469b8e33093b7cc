"""Names and shapes of the published checkpoints at full size, on the meta device: nothing is left over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from weights import published_tensors

from vlbench import specs
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.loading import DETECTOR, family_of
from vlbench.architectures.checkpoints.rules import mapped
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog

PAIR = {"heads": specs.TaskHeads(pairs=specs.LinearPairSpec(kind="pair_linear"))}
TOGETHER = {"heads": specs.TaskHeads(pairs=specs.TogetherPairSpec(kind="pair_together"))}
PUBLISHED = {
    "hf_vilt_b32_vqa": ("vilt-b32", "answers", {}),
    "hf_vilt_b32_nlvr2": ("vilt-b32", "pairs", {}),
    "hf_vilt_b32_irtr": ("vilt-b32", "ranking", {}),
    "original_vilt_b32_vqa": ("vilt-b32", "answers", {}),
    "uniter_base_vqa": ("uniter-base", "answers", {}),
    "uniter_base_nlvr2_paired": ("uniter-base", "pairs", PAIR),
    "uniter_base_nlvr2_paired_attn": ("uniter-base", "pairs", {}),
    "uniter_base_nlvr2_triplet": ("uniter-base", "pairs", TOGETHER),
    "uniter_base_itm": ("uniter-base", "ranking", {}),
    "hf_visualbert_vqa": ("visualbert", "answers", {}),
}


def ours(spec: ModelSpec) -> dict[str, Tensor]:
    with torch.device("meta"):
        model = build(spec)
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(DETECTOR)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_name_has_its_place(reference_data: Path, name: str) -> None:
    model, task, changes = PUBLISHED[name]
    spec = catalog()[model].model_copy(update=changes).for_task(task)
    state, wanted = published_tensors(reference_data, name), ours(spec)
    family = family_of(state, wanted, spec, source=name)
    found = mapped(family, state, wanted, source=name)
    assert {key: tensor.shape for key, tensor in found.items()} == {key: one.shape for key, one in wanted.items()}


def test_uniters_matching_fills_the_measured_head(reference_data: Path) -> None:
    state, spec = published_tensors(reference_data, "uniter_base_itm"), catalog()["uniter-base"]
    family = family_of(state, ours(spec), spec, source="uniter")
    assert set(mapped(family, state, ours(spec), source="uniter")) == set(ours(spec))


def test_uniter_large_is_base_with_other_sizes(reference_data: Path) -> None:
    """Its 24 layers of 1,024 and 16 heads (section 3.1), under the names of base."""
    state = published_tensors(reference_data, "uniter_base_vqa")
    wide = {768: 1024, 1536: 2048, 3072: 4096}
    for name in list(state):
        if "encoder.layer.0." in name:
            state |= {name.replace("layer.0.", f"layer.{n}."): state[name] for n in range(12, 24)}
    kept = {"uniter.img_embeddings.mask_embedding.weight"}
    state = {
        name: tensor if name in kept else torch.empty([wide.get(side, side) for side in tensor.shape], device="meta")
        for name, tensor in state.items()
    }
    spec = catalog()["uniter-large"].for_task("answers")
    family = family_of(state, ours(spec), spec, source="large")
    assert set(mapped(family, state, ours(spec), source="large")) == set(ours(spec))
