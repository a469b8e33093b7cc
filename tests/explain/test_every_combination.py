"""Every valid combination of text, visual embedder and interaction is explained, or one line says why it is not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tests.command_line import vlbench
from tests.helpers import write_yaml
from vlbench.errors import InputError
from vlbench.explain.explainable import explainable_model
from vlbench.explain.look import ExplainSettings, look
from vlbench.explain.tables import explanation_json, heads_table
from vlbench.inputs import read_example
from vlbench.specs import ModelSpec
from vlbench.specs.base import specs_by_kind
from vlbench.specs.catalog import read_spec
from vlbench.specs.interaction import InteractionPart
from vlbench.specs.text import TextPart
from vlbench.specs.visual import VisualPart

WIDTH = 16
LAYERS = {"heads": 2, "mlp_width": WIDTH}
TRANSFORMER = LAYERS | {"layers": 1, "inner_width": WIDTH}
TRUNK = {"blocks": [1, 1, 1], "base_width": 16}
C4 = {"kind": "region", "backbone": TRUNK, "roi_head": {"kind": "c4", "pool_size": 4, "blocks": 1, "base_width": 16}}
CONVNEXT = {"model": "convnext_atto", "model_args": {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 8]}}
VIT = {"model": "vit_tiny_patch16_224", "model_args": {"depth": 1, "embed_dim": 8, "num_heads": 2, "patch_size": 32}}
PROPOSALS = {
    "rpn": {"channels": 16, "anchor_sizes": [32], "candidates": 60, "proposals": 12},
    "nms": {"regions": 5},
    "projection": {"width": WIDTH},
}
TEXTS: list[dict[str, Any]] = [
    {"kind": "bert_embeddings"},
    {"kind": "gru", "output": "last", "word_width": 8},
    {"kind": "gru", "output": "words", "word_width": 8, "bidirectional": True},
    {"kind": "text_transformer", **TRANSFORMER},
]
VISUALS: list[dict[str, Any]] = [
    {"kind": "patch", "patch_size": 32, "position_grid": [2, 2]},
    {"kind": "vision_transformer", "patch_size": 32, "position_grid": [2, 2], **TRANSFORMER},
    {"kind": "grid", "backbone": TRUNK, "sample": "always", "sampled_pixels": 3},
    {"kind": "mean_feature", "backbone": TRUNK},
    {"kind": "clip_resnet", "blocks": [1, 1, 1, 1]},
    C4 | PROPOSALS,
    C4 | PROPOSALS | {"projection": {"width": WIDTH, "whole_image": True}},
    C4 | {"grid_boxes": [2, 3], "projection": {"width": WIDTH}},
    {"kind": "timm", **CONVNEXT, "stage": 2, "sample": "always", "sampled_pixels": 3},
    {"kind": "timm", **CONVNEXT, "features": "pooled"},
    {"kind": "timm", **VIT, "features": "tokens", "patch_size": 32},
]
INTERACTIONS: list[dict[str, Any]] = [
    {"kind": "single_stream", "norm": "pre", "layers": 1, "modal_types": True, **LAYERS},
    {"kind": "single_stream", "norm": "post", "layers": 1, **LAYERS},
    {"kind": "cross_modality", "cross": "attention", "text_layers": 1, "image_layers": 1, "cross_layers": 1, **LAYERS},
    {"kind": "cross_modality", "cross": "joint", "text_layers": 1, "image_layers": 1, "cross_layers": 1, **LAYERS},
    {
        **{"kind": "co_attention", "text_layers": 1, "image_layers": 1, "connections": 1, "connection_width": 8},
        **{f"{stream}_heads": 2 for stream in ("text", "image", "connection")},
        **{f"{stream}_{size}": WIDTH for stream in ("text", "image") for size in ("width", "mlp_width")},
    },
    {"kind": "dot_product"},
    {"kind": "stacked_cross_attention"},
]
HEADS: list[dict[str, Any] | None] = [{"kind": "itm", "width": WIDTH}, {"kind": "pair", "width": WIDTH}, None]


def of_width(part: dict[str, Any]) -> dict[str, Any]:
    has_width = part["kind"] not in ("region", "co_attention", "dot_product", "stacked_cross_attention")
    return part | {"width": WIDTH} if has_width else part


def contents(texts: Any = TEXTS, visuals: Any = VISUALS, interactions: Any = INTERACTIONS) -> Iterator[dict[str, Any]]:
    """The contents of all model files of these parts, valid or not."""
    families = [specs_by_kind(VisualPart)[part["kind"]].model_validate(of_width(part)).family for part in visuals]
    sights = zip(visuals, families, strict=True)
    for text, (visual, family), interaction, head in product([*texts, None], sights, interactions, HEADS):
        parts = {"text": text, "visual": visual, "interaction": interaction}
        yield {
            "name": "made",
            "family": family,
            "source": "a test",
            "input": {"image_size": [64, 96], "text_tokens": 20 if text else 0},
            **{name: of_width(part) for name, part in parts.items() if part},
            **({"head": head} if head else {}),
        }


def is_valid(content: dict[str, Any]) -> bool:
    try:
        return bool(ModelSpec.model_validate(content))
    except ValidationError:  # of parts that do not fit each other
        return False


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)).save(path)
    return path


def test_the_combinations_have_every_kind() -> None:
    for parts, made in ((TextPart, TEXTS), (VisualPart, VISUALS), (InteractionPart, INTERACTIONS)):
        assert {part["kind"] for part in made} == set(specs_by_kind(parts))


def check_refused_or_explained(model: Path, photo: Path) -> None:
    """Its attention is explained with whatever else its tokens allow, or the reason is one line."""
    described = read_spec(model)
    assert isinstance(described, ModelSpec)
    if described.interaction.scores or described.text is None:
        with pytest.raises(InputError, match=r"\A.+; these can be explained: .+\Z"):
            explainable_model(str(model))
        return
    spec = explainable_model(str(model))
    assert spec.text is not None
    explanation = look(spec, read_example(photo, "a red cat on a mat"), ExplainSettings())
    assert explanation.maps
    lengths = {"text": len(explanation.labels), "image": explanation.layout.special + len(explanation.layout.boxes)}
    lengths["text+image"] = lengths["text"] + lengths["image"]
    for attention in explanation.maps:
        np.testing.assert_allclose(attention.weights.sum(2), 1, atol=1e-5)
        assert attention.weights.shape[1:] == (lengths[attention.queries], lengths[attention.keys])
    is_whole = spec.text.one_token or spec.visual.one_token
    assert (explanation.alignment is None) == is_whole == bool(explanation.no_alignment)
    has_patterns = spec.interaction.kind == "single_stream" and not is_whole
    assert (heads_table(explanation) is not None) == has_patterns
    assert explanation_json(explanation, range(len(explanation.words)), [])


@pytest.mark.slow
@pytest.mark.parametrize("interaction", INTERACTIONS, ids=lambda part: part["kind"])
def test_every_combination_is_explained(interaction: dict[str, Any], photo: Path, tmp_path: Path) -> None:
    valid = list(filter(is_valid, contents(interactions=[interaction])))
    assert valid
    for content in valid:
        check_refused_or_explained(write_yaml(tmp_path / "made.yaml", content), photo)


@pytest.mark.parametrize(
    ("text", "visual", "says"),
    [
        (0, 1, "no token of its image (vision_transformer) stands for a part of the photo"),
        (0, 3, "no token of its image (mean_feature) stands for a part of the photo"),
        (1, 0, "one token is its whole text (gru), so that no word can be told from another"),
        (3, 4, "one token is its whole text (text_transformer), so that no word can be told from another"),
    ],
)
def test_the_attention_of_a_whole_image_or_text_is_drawn(
    text: int, visual: int, says: str, photo: Path, tmp_path: Path
) -> None:
    (content, *_) = contents([TEXTS[text]], [VISUALS[visual]], INTERACTIONS[:1])
    model = write_yaml(tmp_path / "made.yaml", content)
    run = ("--image", photo, "--device", "cpu", "--threads", 1, "--out", tmp_path / "out", "--layer", 1)
    result = vlbench("explain", "--model", model, "--text", "a red cat on a mat", *run)
    assert result.returncode == 0, result.stderr
    assert f"made: no transport plan; {says}" in result.stderr
    assert "no patterns; UNITER's need a token for each word and for each part of the image" in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["attention-layer-1.png", "attention.png"]
