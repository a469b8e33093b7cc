"""Every cell of ViLT's Table 6, and the components that its cells were found to be the sums of.

Printed cells: ViLT (ICML 2021), Table 6. Components: each network counted by two other counters
(shared/papers/vilt_table6_recipe.json).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.helpers import TYPICAL, counts_of, each_model
from vlbench import specs
from vlbench.architectures.build import build
from vlbench.architectures.count import blank_batch, count
from vlbench.architectures.table6 import Charge, record_charges, transformer_charge
from vlbench.architectures.vl_model import VLModel
from vlbench.specs.catalog import catalog

# name: row, parameters in millions with their tolerance, FLOPs in billions with theirs
PRINTED = {
    "vilbert-table6": ("ViLBERT", 274.3, 0.016, 958.1, 0.002),
    "visualbert": ("VisualBERT", 170.3, 0.001, 425.0, 0.002),
    "lxmert-table6": ("LXMERT", 239.8, 0.001, 952.0, 0.002),
    "uniter-base-table6": ("UNITER-Base", 154.7, 0.001, 949.9, 0.01),
    "oscar-base-table6": ("OSCAR-Base", 154.7, 0.001, 956.4, 0.002),
    "vinvl-base-table6": ("VinVL-Base", 157.3, 0.001, 1023.3, 0.002),
    "unicoder-vl": ("Unicoder-VL", 170.3, 0.001, 419.7, 0.002),
    "imagebert": ("ImageBERT", 170.3, 0.001, 420.6, 0.002),
    "pixelbert-x152": ("Pixel-BERT-X152", 144.3, 0.001, 185.8, 0.002),
    "pixelbert-r50-table6": ("Pixel-BERT-R50", 94.9, 0.001, 136.8, 0.002),
    "vilt-b32": ("ViLT-B/32", 87.4, 0.001, 55.9, 0.002),
}
PROJECTION = 2 * 2048 * 768

# row of the recipe and its plain MACs
MACS = {
    "vilbert-table6": 942_394_377_216,
    "visualbert": 400_480_818_432,
    "lxmert-table6": 939_399_005_184,
    "uniter-base-table6": 943_153_185_792,
    "vinvl-base-table6": 1_008_237_685_760 + 50 * 6 * 768,  # and the place of each region, projected with its feature
    "unicoder-vl": 398_408_570_112,
    "imagebert": 398_769_247_488,
    "pixelbert-x152": 158_969_674_752,
    "pixelbert-r50-table6": 94_008_960_000,
    "vilt-b32": 22_012_231_680,
}

# FLOPs of the visual steps, as the table charges them
VISION = {
    "uniter-base-table6": {"backbone": 147_218_099_200, "rpn": 39_963_348_600, "roi_head": 750_210_048_000},
    "vinvl-base-table6": {"backbone": 227_167_872_000, "rpn": 39_963_348_600, "roi_head": 737_111_040_000},
    "visualbert": {
        "backbone": 252_383_436_800,
        "fpn": 60_610_534_400,
        "rpn": 52_873_875_505,
        "roi_head": 13_895_680_000 + 8_193_024_000,
    },
    "pixelbert-x152": {"backbone": 143_444_399_360},
    "pixelbert-r50-table6": {"backbone": 67_341_491_200},
}


@cache
def on_meta(name: str) -> VLModel:
    with torch.device("meta"):
        return build(catalog()[name]).eval()


@pytest.mark.parametrize(("name", "row"), each_model(PRINTED.items()))
def test_trainable_parameters_are_the_printed_ones(name: str, row: tuple) -> None:
    _, millions, tolerance, _, _ = row
    assert counts_of(name).params_table6 / 1e6 == pytest.approx(millions, rel=tolerance)


@pytest.mark.parametrize(("name", "row"), each_model(PRINTED.items()))
def test_flops_are_the_printed_ones(name: str, row: tuple) -> None:
    _, _, _, billions, tolerance = row
    assert counts_of(name).flops_table6 / 1e9 == pytest.approx(billions, rel=tolerance)


def test_the_printed_cells_are_the_papers(reference_data: Path) -> None:
    tables = json.loads((reference_data.parent / "papers" / "vilt.json").read_text(encoding="utf-8"))["tables"]
    (rows,) = [table["rows"] for table in tables if table["id"] == "Table 6"]
    assert {row["model"]: (row["params_M"], row["flops_G"]) for row in rows} == {
        label: (millions, billions) for label, millions, _, billions, _ in PRINTED.values()
    }


@pytest.mark.parametrize(("name", "macs"), each_model(MACS.items()))
def test_plain_macs_of_the_same_parts_and_tokens(name: str, macs: int) -> None:
    assert counts_of(name).macs_table6 == macs


def test_uniter_costs_17_times_vilt_in_the_tables_flops_but_43_times_in_plain_macs() -> None:
    uniter, vilt = counts_of("uniter-base-table6"), counts_of("vilt-b32")
    assert uniter.flops_table6 / vilt.flops_table6 == pytest.approx(949.9 / 55.9, rel=0.011)
    assert round(uniter.macs_table6 / vilt.macs_table6) == 43


@pytest.mark.parametrize(
    ("name", "step", "flops"),
    [
        pytest.param(name, step, flops, marks=() if name in TYPICAL else pytest.mark.slow)
        for name, steps in VISION.items()
        for step, flops in steps.items()
    ],
)
def test_a_visual_step_is_charged_as_the_table_does(name: str, step: str, flops: int) -> None:
    model = on_meta(name)
    with torch.device("meta"):
        batch = blank_batch(catalog()[name], 1)
    with record_charges([getattr(model.visual, step)]) as charged:
        model(*batch)
    assert sum(charged, start=Charge()).flops == flops


def test_uniters_tokens_are_those_of_its_cell_only_at_36_and_20() -> None:
    """ViLT states 36 + 60 tokens; the printed FLOPs are those of 36 + 20."""
    spec = catalog()["uniter-base-table6"]
    stated, fitting = (
        transformer_charge(spec.interaction, specs.Table6(text_tokens=text, image_tokens=36)) for text in (60, 20)
    )
    flops = counts_of("uniter-base-table6").flops_table6 - stated.flops + fitting.flops
    assert flops / 1e9 == pytest.approx(949.9, abs=0.05)


TRANSFORMERS = {
    "96 tokens": ("uniter-base-table6", 60, 36, 1, 21_339_985_536),
    "164 tokens": ("visualbert", 128, 36, 1, 36_900_104_304),
    "240 tokens": ("vilt-b32", 40, 200, 1, 54_726_834_240),
    "300 tokens": ("pixelbert-r50-table6", 40, 260, 1, 69_125_662_800),
    "LXMERT of plain layers": ("lxmert-table6", 20, 36, 2, 14_495_457_152),
}


@pytest.mark.parametrize("case", TRANSFORMERS.values(), ids=TRANSFORMERS.keys())
def test_a_transformer_is_charged_as_the_table_does(case: tuple) -> None:
    name, text, image, charged, flops = case
    tokens = specs.Table6(text_tokens=text, image_tokens=image, embeddings_charged=charged)
    assert transformer_charge(catalog()[name].interaction, tokens).flops == flops


@pytest.mark.slow
def test_a_token_costs_what_the_printed_differences_of_rows_with_one_detector_say() -> None:
    """Their rounding leaves 0.200 to 0.250 G a token, and 0.2251 to 0.2334 G."""
    imagebert, unicoder = counts_of("imagebert").flops_table6, counts_of("unicoder-vl").flops_table6
    assert 0.200 <= (imagebert - unicoder) / 4 / 1e9 <= 0.250
    fewer_projected = (100 - 36) * PROJECTION
    slope = (counts_of("visualbert").flops_table6 - unicoder + fewer_projected) / 24 / 1e9
    assert 0.2251 <= slope <= 0.2334


def test_without_its_table_6_part_a_model_is_charged_for_the_tokens_that_it_runs_on() -> None:
    spec = catalog()["vilt-b32"]
    charged = count(spec.with_input(image_size=(384, 384)))
    tokens = specs.Table6(text_tokens=40, image_tokens=145)
    patches = 145 * 32 * 32 * 3 * 768
    expected = transformer_charge(spec.interaction, tokens) + Charge(macs=patches, flops=2 * patches)
    assert (charged.macs_table6, charged.flops_table6) == (expected.macs, expected.flops)
