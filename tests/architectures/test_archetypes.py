"""The four archetypes of ViLT's Figure 2: what each model file claims, against its counted MACs.

The figure orders the compute of visual embedding (VE), text embedding (TE) and modality interaction (MI): (a) VE > TE
> MI, (b) VE = TE > MI, (c) VE > MI > TE, (d) MI > VE = TE. It gives no numbers, so what it draws as equal or as shallow
gets a bound here. Section 2.1 calls CLIP's two transformers equally expensive; they are of one order of magnitude.
A model that reads features of regions is counted without the embedder that makes them, so that it claims none.
"""

from __future__ import annotations

import pytest

from tests.helpers import counts_of, each_model
from vlbench.specs import AnySpec, HuggingFaceSpec
from vlbench.specs.catalog import catalog

EQUAL = 4  # embedders are equally expensive when neither costs more than 4 times the other
SHALLOW = 0.1  # a stage is shallow beside another when it costs less than a tenth of it

NONE_OF_THEM = {"hf-bridgetower-base"}  # two deep towers, and a deep interaction of their layers

PLACED = {  # by ViLT, section 2.1
    "vsepp": "a",
    "scan": "a",
    "clip-vit-b32": "b",
    "clip-rn50": "b",
    "vilbert": "c",
    "uniter-base": "c",
    "pixelbert-r50": "c",
    "pixelbert-x152": "c",
    "vilt-b32": "d",
}


def reads_features(spec: AnySpec) -> bool:
    return isinstance(spec, HuggingFaceSpec) and spec.features is not None


def measured_archetypes(name: str) -> set[str]:
    """Those of which a model's MACs fulfil every inequality."""
    macs = counts_of(name).macs_by_stage
    text, visual, interaction = (macs.get(stage, 0) for stage in ("text", "visual", "interaction"))
    embedders_equal = max(text, visual) <= EQUAL * min(text, visual)
    shallow_interaction = interaction < SHALLOW * min(text, visual)
    fulfilled = {
        "a": visual > EQUAL * text and shallow_interaction,
        "b": embedders_equal and shallow_interaction,
        "c": visual > interaction and text < SHALLOW * interaction,
        "d": max(text, visual) < SHALLOW * interaction,
    }
    return {letter for letter, holds in fulfilled.items() if holds}


SEEN_WHOLE = [name for name, spec in catalog().items() if spec.text and not reads_features(spec)]


@pytest.mark.parametrize("name", each_model(SEEN_WHOLE))
def test_a_model_is_of_the_archetype_that_its_file_claims_and_of_no_other(name: str) -> None:
    spec = catalog()[name]
    assert measured_archetypes(name) == ({spec.archetype} if name not in NONE_OF_THEM else set())
    assert bool(spec.archetype) == (name not in NONE_OF_THEM)


def test_a_model_of_images_or_of_features_alone_claims_none() -> None:
    assert {spec.archetype for spec in catalog().values() if not spec.text or reads_features(spec)} == {None}


def test_the_files_claim_what_vilt_says_of_them() -> None:
    assert {name: catalog()[name].archetype for name in PLACED} == PLACED
