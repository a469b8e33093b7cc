"""Whole models explained: where their image tokens lie, and what words are aligned with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.optimize import linear_sum_assignment

from tests.helpers import each_model, tiny
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.native import save_model
from vlbench.architectures.interfaces import Joint, Tokens
from vlbench.errors import InputError
from vlbench.evaluation.images import padded_images, preprocessed
from vlbench.explain.explainable import explainable_model, why_not
from vlbench.explain.explanation import Explanation, Word
from vlbench.explain.look import ExplainSettings, align, look
from vlbench.inputs import read_example
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog
from vlbench.tasks.region_features import ImageRegions

TEXT = "a red cat on a mat"
EXPLAINED = sorted(name for name, spec in catalog().items() if not why_not(spec))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    noise = np.random.default_rng(0).integers(0, 255, (90, 150, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def explained(spec: ModelSpec, photo: Path, **settings: object) -> Explanation:
    return look(spec, read_example(photo, TEXT), ExplainSettings(**settings))


@pytest.mark.parametrize("name", each_model(EXPLAINED))
def test_every_model_with_token_sequences_is_explained(name: str, photo: Path) -> None:
    explanation = explained(tiny(name), photo)
    assert [word.text for word in explanation.words] == TEXT.split()
    assert explanation.labels == ("[CLS]", *TEXT.split(), "[SEP]")
    image_tokens = explanation.layout.special + len(explanation.layout.boxes)
    sizes = {
        "text": len(explanation.labels),
        "image": image_tokens,
        "text+image": len(explanation.labels) + image_tokens,
    }
    for attention in explanation.maps:
        assert attention.weights.shape[1:] == (sizes[attention.queries], sizes[attention.keys])
        np.testing.assert_allclose(attention.weights.sum(2), 1, atol=1e-5)
        one_sequence = attention.queries == attention.keys == "text+image"
        assert (explanation.pattern_scores(attention) is not None) == one_sequence
    boxes = explanation.layout.boxes
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    if explanation.alignment is None:
        assert "different widths" in explanation.no_alignment
    else:
        assert explanation.alignment.shares.shape == (len(explanation.words), len(boxes))
        np.testing.assert_allclose(explanation.alignment.shares.sum(1), 1, atol=1e-5)


def test_patches_lie_where_they_were_cut(photo: Path) -> None:
    # 128x192 pixels in patches of 32; the shorter side of 150x90 becomes 128, then 192 at most
    spec = tiny("vilt-b32")
    layout = explained(spec, photo).layout
    rows, columns = layout.grid or (0, 0)
    assert (rows, columns, layout.special) == (3, 6, 1)
    np.testing.assert_allclose(layout.boxes[0], (0, 0, 1 / 6, 1 / 3), atol=1e-6)
    np.testing.assert_allclose(layout.boxes[7], (1 / 6, 1 / 3, 2 / 6, 2 / 3), atol=1e-6)


def test_cells_of_a_feature_map_cover_the_pixels_they_were_computed_from(photo: Path) -> None:
    spec = tiny("pixelbert-r50")
    layout = explained(spec, photo).layout
    step = spec.visual.backbone.stride * spec.visual.pool_size
    assert layout.grid is not None
    assert len(layout.boxes) == layout.grid[0] * layout.grid[1]
    wide, high = layout.boxes[0, 2:]
    height, width = (step / high, step / wide) if min(wide, high) < 1 else (step, step)
    assert height / width == pytest.approx(90 / 150, rel=0.05)


@pytest.mark.parametrize("name", ["vilt-b32", "pixelbert-r50", "pixelbert-x152"])
def test_a_token_lies_where_a_change_of_the_image_changes_it_most(name: str, tmp_path: Path) -> None:
    spec = tiny(name).with_input(image_size=(256, 384))
    visual = build(spec).eval().visual
    picture = Image.new("RGB", (384, 256), (90, 90, 90))
    values = []
    for centre in (None, (210, 70)):
        if centre:
            picture.paste((255, 40, 0), (centre[0] - 14, centre[1] - 14, centre[0] + 14, centre[1] + 14))
        picture.save(tmp_path / "picture.png")
        images = padded_images([preprocessed(tmp_path / "picture.png", spec.input)])
        with torch.inference_mode(), visual.record_boxes() as recorded:
            values.append(visual(images).values[0])
    most = int((values[1] - values[0]).norm(dim=1)[visual.special_tokens :].argmax())
    left, top, right, bottom = recorded[0].boxes[most].numpy() * (384, 256, 384, 256)
    assert left <= 210 <= right
    assert top <= 70 <= bottom


def test_precomputed_regions_keep_their_boxes(photo: Path) -> None:
    spec = tiny("uniter-base")
    boxes = np.array([[0, 0, 75, 45], [75, 45, 150, 90], [15, 9, 30, 18]], np.float32)

    class Source:
        path = Path("regions.tsv")

        def __contains__(self, name: object) -> bool:
            return name == "photo"

        def __len__(self) -> int:
            return 1

        def read(self, name: str) -> ImageRegions:
            features = np.random.default_rng(0).normal(size=(3, spec.visual.roi_head.channels)).astype(np.float32)
            return ImageRegions(features=features, boxes=boxes, height=90, width=150)

    layout = explained(spec, photo, features=Source()).layout
    np.testing.assert_allclose(layout.boxes, boxes / (150, 90, 150, 90), atol=1e-6)
    assert (layout.special, layout.grid) == (0, None)


def test_a_whole_image_token_is_special(photo: Path) -> None:
    assert explained(tiny("vilbert"), photo).layout.special == 1


def test_words_are_aligned_with_the_tokens_closest_to_them() -> None:
    """With as many image tokens as word pieces the exact plan is a matching, which scipy finds; word b has two."""
    torch.manual_seed(0)
    text, image = torch.randn(1, 6, 8), torch.randn(1, 5, 8)
    words = (Word(text="a", tokens=(1,)), Word(text="b", tokens=(2, 3)), Word(text="c", tokens=(4,)))
    joint = Joint(text=Tokens(values=text, mask=None), image=Tokens(values=image, mask=None))
    shares = align(joint, words, torch.tensor([1, 2, 3, 4])).shares
    unit_text, unit_image = (torch.nn.functional.normalize(side[0], dim=1) for side in (text[:, 1:5], image[:, 1:]))
    pieces, tokens = linear_sum_assignment(1 - unit_text @ unit_image.T)
    exact = np.zeros((3, 4))
    for piece, token in zip(pieces, tokens, strict=True):
        exact[(0, 1, 1, 2)[piece], token] += 1 / len(words[(0, 1, 1, 2)[piece]].tokens)
    np.testing.assert_allclose(shares, exact, atol=0.01)


def test_weights_with_another_head_and_a_pair_of_images_are_read(photo: Path, tmp_path: Path) -> None:
    measured = tiny("vilt-b32")
    for kind in ("answers", "pairs"):
        spec = measured.for_task(kind, 7 if kind == "answers" else None)
        save_model(tmp_path / f"{kind}.safetensors", build(spec), spec)
        (tmp_path / "vocab.txt").write_text("\n".join("[PAD] [UNK] [CLS] [SEP] a red cat on mat".split()))
        filled = measured.model_copy(update={"weights": str(tmp_path / f"{kind}.safetensors")})
        explanation = explained(filled, photo)
        assert explanation.weights.endswith(f"{kind}.safetensors")
        assert explanation.random_parts == ()


def test_random_weights_are_those_of_eval(photo: Path) -> None:
    """The first layer's attention is the same for a model that is built again."""
    spec = tiny("visualbert")
    again = build(spec).eval()
    first, second = (explained(spec, photo).maps[0].weights for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape[0] == again.interaction.blocks[0].attention.heads


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("vsepp", r"meet in a score \(dot_product\)"),
        ("clip-vit-b32", "meet in a score"),
        ("scan", r"score \(stacked_cross_attention\)"),
        ("vit-b32", "reads no text"),
        ("hf-vilt-b32", "do not expose their attention"),
        ("vilt,uniter", "2 models, vilt-b32 and uniter-base among them"),
        ("vilr", "--model: no model 'vilr'; did you mean vilt"),
    ],
)
def test_what_cannot_be_explained_says_why_in_one_line(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        explainable_model(name)
    assert "\n" not in str(error.value)
    if "2 models" not in says and "no model" not in says:
        assert "these can be explained" in str(error.value)
        assert "uniter-base" in str(error.value)
        assert len(str(error.value)) <= 300


def test_pixels_are_not_sampled(tmp_path: Path) -> None:
    content = tiny("pixelbert-r50").model_dump(mode="json", exclude_none=True)
    content["visual"]["sample"] = "always"
    (tmp_path / "sampled.yaml").write_text(yaml.safe_dump(content))
    assert explainable_model(str(tmp_path / "sampled.yaml")).visual.sample == "training"
