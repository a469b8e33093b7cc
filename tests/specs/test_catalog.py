"""Models by name, alias, glob and path."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.helpers import write_yaml
from vlbench.errors import InputError, SpecError, nearest
from vlbench.files import yaml_files
from vlbench.files.yaml_files import models_folder
from vlbench.specs.catalog import catalog, read_spec, resolve


def names(words: str) -> list[str]:
    return [spec.name for spec in resolve(words)]


def refusal(words: str) -> str:
    with pytest.raises(InputError) as caught:
        resolve(words)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write_model(folder: Path, file: str, **changes: object) -> Path:
    content = yaml.safe_load((models_folder() / "vilt-b32.yaml").read_text(encoding="utf-8"))
    return write_yaml(folder / file, content | {"aliases": []} | changes)


def catalog_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setattr(yaml_files, "models_folder", lambda: folder)
    return catalog.__wrapped__()


def test_every_file_of_models_is_listed_by_its_own_name_in_order() -> None:
    assert list(catalog()) == sorted(path.stem for path in models_folder().glob("*.yaml"))
    assert list(catalog()) == [spec.name for spec in catalog().values()]


def test_every_name_and_alias_means_one_model() -> None:
    for spec in catalog().values():
        for word in (spec.name, *spec.aliases):
            assert names(word) == [spec.name]


def test_a_list_keeps_its_order_and_names_each_model_once() -> None:
    assert names("vit-b16, vilt,vilt-b32 ,uniter") == ["vit-b16", "vilt-b32", "uniter-base"]


def test_a_glob_means_all_models_that_it_matches() -> None:
    assert names("vit-?16") == ["vit-b16", "vit-l16"]
    assert names("*") == list(catalog())
    assert names("vit-[hl]*,vilt") == ["vit-h14", "vit-l16", "vit-l32", "vilt-b32"]


def test_a_path_means_the_file(tmp_path: Path) -> None:
    path = write_model(tmp_path, "mine.yaml", name="mine")
    assert names(f"{path},vilt") == ["mine", "vilt-b32"]


def test_the_shipped_file_by_path_is_the_model_by_name() -> None:
    assert resolve(str(models_folder() / "vilt-b32.yaml")) == resolve("vilt")


@pytest.mark.parametrize(("word", "near"), [("vlt", "vilt"), ("unitter", "uniter"), ("pixel-bert", "pixelbert")])
def test_an_unknown_name_is_refused_with_the_nearest(word: str, near: str) -> None:
    message = refusal(f"vilt,{word}")
    assert f"no model {word!r}" in message
    assert f"did you mean {near}?" in message


def test_a_name_near_to_none_is_refused_with_some_that_exist() -> None:
    message = refusal("qqq")
    assert "known: clip, clip-convnext, clip-rn50, " in message
    assert message.endswith(", ... (vlbench list shows all; timm:NAME works, too)")
    assert len(message) <= 300


@pytest.mark.parametrize("words", ["", " ", ",", " , "])
def test_no_name_at_all_is_refused(words: str) -> None:
    assert "no model named" in refusal(words)


def test_a_glob_without_a_match_is_refused() -> None:
    assert "no model matches 'zzz*'" in refusal("zzz*")


def test_an_absent_path_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(str(tmp_path / "absent.yaml"))


def test_two_different_models_of_one_name_are_refused_in_one_list(tmp_path: Path) -> None:
    path = write_model(tmp_path, "mine.yaml", seed=5)
    assert "two different models are called vilt-b32" in refusal(f"vilt,{path}")


def test_two_files_with_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path, "a.yaml", name="same")
    write_model(tmp_path, "b.yaml", name="same", seed=1)
    with pytest.raises(SpecError, match="more than one model is called same") as caught:
        catalog_of(tmp_path, monkeypatch)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("first", "second"), [({}, {"aliases": ["a"]}), ({"aliases": ["x"]}, {"aliases": ["x"]})])
def test_a_name_and_an_alias_or_two_aliases_alike_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict, second: dict
) -> None:
    write_model(tmp_path, "a.yaml", name="a", **first)
    write_model(tmp_path, "b.yaml", name="b", **second)
    with pytest.raises(SpecError, match="more than one model is called"):
        catalog_of(tmp_path, monkeypatch)


def test_a_new_file_in_models_is_in_the_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path, "z.yaml", name="a-new-one")
    assert list(catalog_of(tmp_path, monkeypatch)) == ["a-new-one"]


def test_a_wrong_file_in_models_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path, "z.yaml", interactoin=1)
    with pytest.raises(SpecError, match="did you mean interaction") as caught:
        catalog_of(tmp_path, monkeypatch)
    assert str(caught.value).startswith(str(path))


def test_nearest_says_what_would_work() -> None:
    assert nearest("laers", ["layers", "heads"]) == "did you mean layers?"
    assert nearest("zzz", ["layers", "heads"]) == "known: heads, layers"


def test_published_values_of_the_shipped_models() -> None:
    """ViLT, 4.1: 384x640 makes 240 patches of 32 pixels; UNITER, 3.1: 12 and 24 layers; ViT, Table 1; DeiT, Table 1."""
    vilt = catalog()["vilt-b32"]
    height, width = vilt.input.image_size
    assert (height // 32) * (width // 32) == 240
    parts = {name: spec.interaction for name, spec in catalog().items() if spec.interaction}
    sizes = {name: part for name, part in parts.items() if part.kind == "single_stream"}
    shape = {name: (part.layers, part.width, part.heads, part.mlp_width) for name, part in sizes.items()}
    base, large, huge = (12, 768, 12, 3072), (24, 1024, 16, 4096), (32, 1280, 16, 5120)
    assert {name for name, one in shape.items() if one == large} == {"uniter-large", "vit-l16", "vit-l32"}
    assert {name for name, one in shape.items() if one == huge} == {"vit-h14"}
    assert {name for name, one in shape.items() if one == (12, 192, 3, 768)} == {"vilt-vit-tiny"}
    assert set(shape.values()) == {base, large, huge, shape["vilt-vit-tiny"]}


def test_published_depths_of_two_streams() -> None:
    """LXMERT, 3.2: 9, 5 and 5 layers of 768; ViLBERT, 3.1: BERT-base beside 6 layers of 1,024 with 8 heads."""
    streams = {name: spec.interaction for name, spec in catalog().items()}
    for name in ("lxmert", "lxmert-table6", "xlxmert"):
        part = streams[name]
        assert (part.text_layers, part.image_layers, part.cross_layers, part.width) == (9, 5, 5, 768)
    for name in ("vilbert", "vilbert-table6"):
        part = streams[name]
        assert (part.text_layers, part.text_width, part.text_heads, part.text_mlp_width) == (12, 768, 12, 3072)
        assert (part.image_layers, part.image_width, part.image_heads, part.connections) == (6, 1024, 8, 6)


def test_a_read_spec_equals_the_catalogs() -> None:
    assert read_spec(models_folder() / "vit-h14.yaml") == catalog()["vit-h14"]
