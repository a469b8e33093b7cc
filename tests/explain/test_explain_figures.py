"""Figures of explanations: what is drawn where, and that long texts and many heads fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from vlbench.errors import InputError
from vlbench.explain.attention_figure import COLOURS, draw_attention, overview, resampled
from vlbench.explain.explanation import BOTH, IMAGE, TEXT, Alignment, AttentionMap, Explanation, ImageLayout, Word
from vlbench.explain.patterns import Pattern
from vlbench.explain.plan_figure import draw_plan, plan_figure

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex


def grid(rows: int, columns: int) -> ImageLayout:
    boxes = [
        (left / columns, top / rows, (left + 1) / columns, (top + 1) / rows)
        for top in range(rows)
        for left in range(columns)
    ]
    return ImageLayout(boxes=np.array(boxes, np.float32), special=1, grid=(rows, columns))


def explanation_of(words: str = "red cat $a_b$", layout: ImageLayout | None = None) -> Explanation:
    """Word i sends 90% of its mass to image token i, the rest to the last; one block and one reversed-block head."""
    layout = layout or grid(2, 3)
    texts = words.split()
    count = len(layout.boxes)
    shares = np.zeros((len(texts), count), np.float32)
    shares[np.arange(len(texts)), np.arange(len(texts)) % (count - 1)] = 0.9
    shares[:, -1] = 0.1
    labels = ("[CLS]", *texts, "[SEP]")
    length = len(labels) + layout.special + count
    of_text = np.arange(length) < len(labels)
    same = of_text[:, None] == of_text
    heads = np.stack([same / same.sum(1, keepdims=True), ~same / (~same).sum(1, keepdims=True)]).astype(np.float32)
    maps = tuple(AttentionMap(layer=str(layer), queries=BOTH, keys=BOTH, weights=heads) for layer in (1, 2, 3))
    return Explanation(
        model="made",
        weights="random",
        random_parts=(),
        image=Path("made.png"),
        text=words,
        photo=Image.new("RGB", (300, 100), "white"),
        words=tuple(Word(text=text, tokens=(index + 1,)) for index, text in enumerate(texts)),
        unread=(),
        labels=labels,
        layout=layout,
        maps=maps,
        alignment=Alignment(shares=shares, beta=0.5, iterations=1000),
    )


def test_one_panel_per_word_over_the_photo_in_its_proportions() -> None:
    explanation = explanation_of()
    figure = plan_figure(explanation, [0, 2], plt)
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["photo", "red", "$a_b$"]
    for axes in panels:
        box = axes.get_window_extent()
        assert box.width / box.height == pytest.approx(3, rel=0.02)
    for axes, word in zip(panels[1:], (0, 2), strict=True):
        *_, heat = axes.images
        np.testing.assert_allclose(heat.get_array(), explanation.alignment.shares[word].reshape(2, 3))
        assert heat.get_extent() == pytest.approx((0, 1, 1, 0))
        assert heat.norm.vmax == pytest.approx(0.9)
    (bar,) = (axes for axes in figure.axes if "share of the word's mass" in axes.get_ylabel())
    assert any("%" in label.get_text() for label in bar.get_yticklabels())
    plt.close(figure)


def test_regions_are_boxes_whose_opacity_is_their_mass() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0.2, 0.2, 0.4, 0.9]], np.float32)
    figure = plan_figure(explanation_of("red cat", ImageLayout(boxes=boxes, special=0, grid=None)), [1], plt)
    (panel,) = (axes for axes in figure.axes if axes.get_title() == "cat")
    drawn = {
        (round(float(patch.get_x()), 3), round(float(patch.get_y()), 3)): patch.get_facecolor()[3]
        for patch in panel.patches
    }
    assert set(drawn) == {(0, 0), (0.5, 0.5), (0.2, 0.2)}
    assert drawn[0.5, 0.5] > drawn[0.2, 0.2] > drawn[0, 0] == 0
    plt.close(figure)


def test_one_map_per_head_with_its_pattern_and_a_line_where_text_ends() -> None:
    explanation = explanation_of()
    figure = overview(explanation, plt)
    axes = figure.axes[0]
    assert len(axes.images) == 6
    names = [text.get_text() for text in axes.texts]
    assert names.count("block") == names.count("reversed block") == 3
    assert {"layer 1", "layer 3", "head 1", "head 2"} <= set(names)
    assert len(axes.lines) == 12
    frames = [to_hex(frame.get_edgecolor()).upper() for frame in axes.patches]
    assert frames == [COLOURS[Pattern.block], COLOURS[Pattern.reversed_block]] * 3
    assert axes.images[0].get_array()[:45, 45:].max() == 0  # in a block, text does not attend to the image
    assert axes.images[1].get_array()[:45, :45].max() == 0
    plt.close(figure)


def test_separate_streams_have_no_pattern() -> None:
    cross = AttentionMap(layer="cross-1", queries=TEXT, keys=IMAGE, weights=np.full((2, 5, 7), 1 / 7, np.float32))
    figure = overview(replace(explanation_of(), maps=(cross,)), plt)
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names.count("") == 2
    assert "cross-1\ntext queries\nimage keys" in names
    assert not figure.axes[0].lines
    assert any("No patterns" in text.get_text() for text in figure.texts)
    plt.close(figure)


@pytest.mark.parametrize(("rows", "columns"), [([5, 7], [5, 7]), ([3, 200], [3, 200]), ([4], [9]), ([90], [2, 300])])
def test_a_resampled_map_keeps_the_mean_of_what_it_holds(rows: list[int], columns: list[int]) -> None:
    weights = np.random.default_rng(0).random((sum(rows), sum(columns))).astype(np.float32)
    pixels = resampled(weights, rows, columns, 60)
    assert pixels.shape == (60, 60)
    halves = [np.array_split(np.arange(60), len(parts)) for parts in (rows, columns)]
    first_row = 0
    for count, up in zip(rows, halves[0], strict=True):
        first_column = 0
        for wide, across in zip(columns, halves[1], strict=True):
            expected = weights[first_row : first_row + count, first_column : first_column + wide].mean()
            assert pixels[np.ix_(up, across)].mean() == pytest.approx(expected, rel=1e-5)
            first_column += wide
        first_row += count


def test_a_resampled_map_of_as_many_pixels_is_the_map() -> None:
    weights = np.random.default_rng(0).random((6, 6)).astype(np.float32)
    np.testing.assert_allclose(resampled(weights, [3, 3], [3, 3], 6), weights, rtol=1e-6)


def test_files(tmp_path: Path) -> None:
    explanation = explanation_of(" ".join(f"word{number}" for number in range(30)), grid(5, 8))
    written = [
        *draw_plan(explanation, list(range(30)), tmp_path / "new"),
        *draw_attention(explanation, tmp_path / "new"),
        *draw_attention(explanation, tmp_path / "new", "2"),
    ]
    names = ["plan.png", "plan.svg", "attention.png", "attention.svg"]
    assert [path.name for path in written] == [*names, "attention-layer-2.png", "attention-layer-2.svg"]
    for path in written:
        if path.suffix == ".png":
            Image.open(path).verify()
        else:
            assert path.read_text().startswith("<?xml")
    before = {path: path.read_bytes() for path in written}
    draw_attention(explanation, tmp_path / "new")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--layer 4: made has no such layer; it has 1 to 3"):
        draw_attention(explanation_of(), tmp_path, "4")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        draw_attention(explanation_of(), tmp_path / "file")
