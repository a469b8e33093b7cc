"""What a model file may say: the error a wrong one gets, and what its hash is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.specs.changes import ABSENT, error_after, error_of
from vlbench.errors import InputError, SpecError
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog

UNKNOWN_KEYS = {
    "imput": "input",
    "interaction.layer": "layers",
    "interaction.mlp_widht": "mlp_width",
    "text.vocabluary": "vocabulary",
    "visual.rgn": "rpn",
    "visual.rpn.chanels": "channels",
    "visual.backbone.block": "blocks",
    "visual.roi_head.class": "classes",
    "visual.nms.region": "regions",
    "visual.projection.geometri": "geometry",
    "visual.grid_boxs": "grid_boxes",
    "head.widht": "width",
}


@pytest.mark.parametrize(("key", "nearest"), UNKNOWN_KEYS.items())
def test_an_unknown_key_is_named_with_the_nearest_valid_one(tmp_path: Path, key: str, nearest: str) -> None:
    message = error_after(tmp_path, "uniter-base", {key: 3})
    assert message == f"unknown key {key!r}; did you mean {nearest}?"


def test_an_unknown_key_near_to_none_gets_the_list_of_its_own_part(tmp_path: Path) -> None:
    message = error_after(tmp_path, "uniter-base", {"visual.nms.zzz": 3})
    assert message == "unknown key 'visual.nms.zzz'; known: iou, method, regions"


def test_a_head_without_a_width_takes_none(tmp_path: Path) -> None:
    assert error_after(tmp_path, "vit-b16", {"head.width": 768}) == "unknown key 'head.width'; known: kind, pooling"


MISSING = [
    "name",
    "source",
    "visual",
    "input.image_size",
    "visual.rpn.proposals",
    "visual.kind",
    "text.kind",
]


@pytest.mark.parametrize("key", MISSING)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    assert error_after(tmp_path, "uniter-base", {key: ABSENT}) == f"the key {key!r} is missing"


WRONG_VALUES = [
    ("interaction.layers", "twelve", "'twelve'"),
    ("interaction.layers", 0, "0"),
    ("interaction.layers", 2.5, "2.5"),
    ("interaction.norm", "mid", "'pre' or 'post'"),
    ("interaction.dropout", 1.5, "1.5"),
    ("interaction.layer_norm_eps", -1.0, "-1.0"),
    ("input.image_size", 384, "384"),
    ("input.image_size.0", [0, 384], "0"),
    ("input.image_size.1", [384, "wide"], "'wide'"),
    ("input.text_tokens", -1, "-1"),
    ("input.mean.2", [0.5, 0.5, "blue"], "'blue'"),
    ("input.std.0", [0, 1, 1], "0"),
    ("input.evaluation.kind", "short_side", "did you mean shorter_side?"),
    ("input.evaluation.resampling", "nearest", "'bilinear' or 'bicubic'"),
    ("input.evaluation.longer", 0, "0"),
    ("visual.kind", "regoin", "did you mean region?"),
    ("visual.backbone.blocks", [3], "at least 2"),
    ("visual.backbone.blocks.1", [3, "four", 23], "'four'"),
    ("visual.rpn", 3, "3"),
    ("visual.rpn.anchor_sizes", [], "at least 1"),
    ("visual.rpn.anchor_sizes.0", ["big"], "'big'"),
    ("visual.rpn.aspect_ratios.0", [0, 1], "0"),
    ("visual.nms.method", "loop", "'per_class_loop', 'per_class_batched' or 'class_agnostic'"),
    ("visual.nms.iou", 2, "2"),
    ("visual.roi_head.kind", "mlp", "known: c4, fpn"),
    ("visual.roi_head.stride", 3, "1 or 2"),
    ("visual.roi_head.groups", 0, "0"),
    ("visual.grid_boxes", 64, "64"),
    ("visual.projection.geometry", 3, "0, 4, 5, 6 or 7"),
    ("visual.projection.combine", "concat", "'sum_of_norms', 'mean_of_norms', 'sum' or 'concatenation'"),
    ("interaction.kind", "fused", "known: co_attention, cross_modality, dot_product, single_stream"),
    ("head.kind", "mlm", "known: itm, itm_product, pair,"),
    ("aliases", "uniter", "'uniter'"),
    ("aliases.0", [1], "1"),
    ("name", "Bad Name", "'Bad Name'"),
    ("archetype", "e", "'e'"),
]


@pytest.mark.parametrize(("key", "value", "says"), WRONG_VALUES)
def test_a_wrong_value_is_named_with_its_key(tmp_path: Path, key: str, value: Any, says: str) -> None:
    into = key.rsplit(".", 1)[0] if key[-1].isdigit() else key
    message = error_after(tmp_path, "uniter-base", {into: value})
    assert message.startswith(f"{key}: ")
    assert says in message


MISFITS = [
    ("uniter-base", {"visual.projection.width": 512}, "interaction 768, visual 512, text 768, head 768"),
    ("vilt-b32", {"head.width": 512}, "head 512"),
    ("vilt-b32", {"text.width": 512}, "text 512"),
    ("vilt-b32", {"interaction.heads": 7}, "interaction: width 768 is no multiple of heads 7"),
    ("vilt-b32", {"family": "grid"}, "family is 'grid' but visual.kind is 'patch'"),
    ("vilt-b32", {"input.image_size": [380, 640]}, "380x640 is no multiple of the 32-pixel patch; 384x640 works"),
    ("vilt-b32", {"input.image_size": [3200, 6400]}, "input should be less than or equal to 4096, not 6400"),
    ("vit-b16", {"input.image_size": [16, 16]}, "from 32 to 4096"),
    ("pixelbert-r50", {"input.image_size": [32, 600]}, "each side needs 33 at least"),
    ("vilt-b32", {"input.text_tokens": 41}, "41 text tokens, but the model has 40 positions"),
    ("vilt-b32", {"input.evaluation.multiple": 16}, "evaluation.multiple is 16, no multiple of the 32-pixel patch"),
    ("vsepp", {"input.evaluation.shorter": 200}, "evaluation.shorter is 200, less than a side of image_size 224x224"),
    ("vilt-b32", {"text": ABSENT}, "text_tokens needs a text part"),
    ("vit-b16", {"input.text_tokens": 4}, "text_tokens needs a text part"),
    ("uniter-base", {"visual.nms.regions": 301}, "nms.regions is 301, more than rpn.proposals, 300"),
    ("uniter-base", {"visual.backbone.blocks": [3, 4, 23, 3]}, "backbone.blocks has 4 stages"),
    ("pixelbert-r50", {"visual.projection_inputs": 1024}, "projection_inputs is 1024, but the backbone has 2048"),
    ("uniter-base", {"visual.rpn": ABSENT}, "the key 'rpn' is missing; only grid_boxes do without"),
    ("uniter-base", {"visual.nms": ABSENT}, "the key 'nms' is missing; only grid_boxes do without"),
    ("uniter-base", {"visual.roi_head.classes": None}, "roi_head.classes is missing; nms needs class scores"),
    ("uniter-base", {"visual.grid_boxes": [8, 8]}, "grid_boxes stand in place of rpn, nms and fpn"),
    ("uniter-base", {"visual.fpn": {}, "visual.backbone.blocks": [3, 4, 23, 3]}, "an fpn needs roi_head.kind fpn"),
    ("uniter-base", {"visual.roi_head": {"kind": "fpn"}}, "an fpn needs roi_head.kind fpn, and that head needs an fpn"),
    (
        "uniter-base",
        {"visual.projection.inputs": 1024},
        "projection.inputs is 1024, but the RoI head has 2048 channels",
    ),
    ("visualbert", {"visual.fpn": ABSENT}, "backbone.blocks has 4 stages; a C4 head needs res2 to res4, 3"),
    ("visualbert", {"visual.backbone.blocks": [3, 8, 36]}, "rpn.anchor_sizes has 5; an fpn needs one a level, 4"),
    ("visualbert", {"visual.roi_head": {"kind": "c4"}}, "an fpn needs roi_head.kind fpn"),
    ("visualbert", {"visual.rpn.anchor_sizes": [64, 128]}, "anchor_sizes has 2; an fpn needs one a level, 5"),
    ("visualbert", {"visual.grid_boxes": [8, 8]}, "grid_boxes stand in place of rpn, nms and fpn"),
    ("xlxmert", {"visual.nms": {}}, "grid_boxes stand in place of rpn, nms and fpn"),
    ("xlxmert", {"visual.grid_boxes": ABSENT}, "the key 'rpn' is missing; only grid_boxes do without"),
    ("vilbert", {"interaction.text_heads": 7}, "text_width 768 is no multiple of text_heads 7"),
    ("vilbert", {"interaction.image_heads": 7}, "image_width 1024 is no multiple of image_heads 7"),
    ("vilbert", {"interaction.connection_heads": 7}, "connection_width 1024 is no multiple of connection_heads 7"),
    ("vilbert", {"interaction.connections": 7}, "connections is 7, but a stream has only 6 layers"),
    ("vilbert", {"visual.projection.width": 768}, "interaction text 768 and image 1024, visual 768"),
    ("vilbert", {"head.image_width": 768}, "head.image 768"),
    ("vilbert", {"head": {"kind": "itm", "width": 1024}}, "head 1024"),
    ("lxmert", {"text": ABSENT}, "the key 'text' is missing; interaction cross_modality needs a text"),
    ("vilbert", {"text": ABSENT}, "the key 'text' is missing; interaction co_attention needs a text"),
    ("lxmert", {"interaction.heads": 7}, "width 768 is no multiple of heads 7"),
    (
        "lxmert",
        {"head": {"kind": "itm_product"}},
        "interaction 768, visual 768, text 768, head.text 768, head.image 1024",
    ),
]


@pytest.mark.parametrize(("name", "changes", "says"), MISFITS)
def test_parts_that_do_not_fit_are_named(tmp_path: Path, name: str, changes: dict[str, Any], says: str) -> None:
    assert says in error_after(tmp_path, name, changes)


def test_several_errors_are_counted_and_an_unknown_key_comes_first(tmp_path: Path) -> None:
    message = error_after(tmp_path, "vilt-b32", {"name": ABSENT, "interaction.norm": "mid", "head.knid": 1})
    assert message == "unknown key 'head.knid'; did you mean kind? (and 2 more)"


NOT_MODELS = {
    "empty": (b"", "must be a mapping"),
    "a list": (b"- name: x\n", "must be a mapping"),
    "plain text": (b"hello", "must be a mapping"),
    "open bracket": (b"name: x\ninput: [1\n", "not valid YAML"),
    "tab": (b"input:\n\timage_size: 3\n", "line 2 not valid YAML"),
    "a key twice": (b"name: x\nseed: 1\nname: y\n", "line 3 not valid YAML: the key 'name' a second time"),
    "a key twice, deeper": (b"name: x\ninput:\n  text_tokens: 4\n  text_tokens: 4\n", "line 4 not valid YAML: the key"),
    "unknown anchor": (b"name: *x\n", "line 1 not valid YAML"),
    "a Python object": (b"name: !!python/object:os.system x\n", "has the tag"),
    "no such date": (b"note: 2024-13-45\n", "not valid YAML"),
    "no such number": (b"seed: !!int abc\n", "has the tag"),
    "control character": (b"name: a\x00b\n", "not valid YAML"),
    "binary": (bytes(range(256)), "not text in UTF-8"),
    "PNG": (b"\x89PNG\r\n\x1a\n\x00", "not text in UTF-8"),
    "a newline in a key": (b'"a\\nb": 2\n', "unknown key 'a\\nb'"),
}


@pytest.mark.parametrize(("raw", "says"), NOT_MODELS.values(), ids=NOT_MODELS.keys())
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, raw: bytes, says: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(raw)
    assert says in error_of(path)


def test_a_directory_and_an_absent_file_cannot_be_read(tmp_path: Path) -> None:
    assert error_of(tmp_path) == "is a folder, not a file"
    assert error_of(tmp_path / "absent.yaml") == "no such file"


def test_a_spec_error_is_an_input_error() -> None:
    assert issubclass(SpecError, InputError)


def test_a_spec_is_frozen() -> None:
    spec = catalog()["vilt-b32"]
    with pytest.raises(ValidationError, match="frozen"):
        spec.interaction.layers = 3


def test_another_input_is_checked_as_the_files_own() -> None:
    spec = catalog()["vilt-b32"]
    assert spec.with_input(image_size=(64, 96)).input.image_size == (64, 96)
    assert spec.with_input(text_tokens=7).input.text_tokens == 7
    assert spec.with_input(text_tokens=7).input.image_size == spec.input.image_size
    with pytest.raises(ValueError, match="96x96 works"):
        spec.with_input(image_size=(100, 100))
    with pytest.raises(ValueError, match="40 positions"):
        spec.with_input(text_tokens=41)


@pytest.mark.parametrize("name", [name for name, spec in catalog().items() if isinstance(spec, ModelSpec)])
def test_a_tiny_spec_is_itself_valid_and_keeps_the_kinds_of_its_parts(name: str) -> None:
    spec = catalog()[name]
    tiny = spec.tiny()
    assert ModelSpec.model_validate(tiny.model_dump()) == tiny
    for part in ("text", "visual", "interaction", "head"):
        assert getattr(getattr(tiny, part), "kind", None) == getattr(getattr(spec, part), "kind", None)
    choices = {key: value for key, value in spec.interaction.model_dump().items() if isinstance(value, str | bool)}
    assert choices.items() <= tiny.interaction.model_dump().items()


def test_lengths_that_suit_one_image_size_are_left_out_for_another() -> None:
    vilt, vsepp = catalog()["vilt-b32"], catalog()["vsepp"]
    assert vilt.with_input(image_size=(384, 640)).input.evaluation == vilt.input.evaluation
    for spec in (vilt.with_input(image_size=(192, 320)), vilt.tiny(), vsepp.tiny()):
        kept = catalog()["vilt-b32" if "vilt" in spec.name else "vsepp"].input.evaluation
        assert spec.input.evaluation == kept.model_copy(
            update={"longer": None} if "vilt" in spec.name else {"shorter": None}
        )
