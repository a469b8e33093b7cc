"""What vlbench finds out about any module: what it reads, its stages, and why it cannot be measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.architectures.modules_of_others import save_folder
from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.architectures.module_inspect import inspect_module
from vlbench.errors import InputError
from vlbench.specs import ModuleSpec
from vlbench.specs.module import Overrides

HERE = "tests.architectures.modules_of_others"
SHAPES = {"pixels": [3, 32, 32], "ids": {"shape": [6], "dtype": "int64", "below": 50}}


def inspected(word: str, **overrides: Any) -> ModuleSpec:
    return inspect_module(word, Overrides.model_validate(overrides))


def test_a_vit_of_timm_is_a_patch_model() -> None:
    spec = inspected("timm:vit_tiny_patch16_224")
    assert (spec.name, spec.family, spec.input.image_size) == ("vit_tiny_patch16_224", "patch", (224, 224))
    assert spec.inputs == {"x": "image"}
    assert {name: paths[-1] for name, paths in spec.stages.items()} == {
        "visual": "norm_pre",
        "interaction": "norm",
        "head": "head",
    }


def test_a_cnn_of_timm_is_a_backbone_step_by_step_and_a_head() -> None:
    spec = inspected("timm:resnet18")
    assert spec.family == "grid"
    assert spec.stages["visual.stem"] == ("conv1", "bn1", "act1", "maxpool")
    layers = [name for name in spec.stages if name.startswith("visual.layer")]
    assert layers == [f"visual.layer{number}" for number in range(1, 5)]
    assert spec.stages["head"] == ("global_pool", "fc")
    assert inspected("timm:resnet18", image_size=(64, 96)).input.image_size == (64, 96)


def test_the_image_size_reaches_a_vit_of_timm() -> None:
    spec = inspected("timm:vit_tiny_patch16_224", image_size=(64, 64))
    patches = build(spec).model.pos_embed.shape[1] - 1
    assert patches == (64 // 16) ** 2
    assert inspected('timm:vit_tiny_patch16_224?{"img_size": 64}').input.image_size == (64, 64)


def test_two_towers_of_open_clip() -> None:
    spec = inspected("open_clip:ViT-B-32")
    assert (spec.name, spec.input.text_tokens, spec.text and spec.text.end) == ("vit-b-32", 77, 49407)
    assert spec.stages["text"] == ("encode_text",)
    assert spec.stages["visual.patch"] == ("visual.conv1",)
    counts = count(spec)
    assert counts.params_total == 151_277_313
    assert sum(counts.macs_by_stage[name] for name in ("text", "visual")) == counts.macs


@pytest.mark.parametrize(
    ("kind", "inputs", "stages"),
    [
        ("vit", {"pixel_values"}, {"visual", "interaction", "head"}),
        ("bert", {"input_ids"}, {"text", "interaction", "head"}),
        ("clip", {"input_ids", "pixel_values"}, {"text", "visual"}),
        ("vilt", {"input_ids", "pixel_values"}, {"embeddings", "interaction", "head"}),
        ("t5", {"input_ids", "decoder_input_ids"}, {"encoder", "decoder", "head"}),
    ],
)
def test_a_folder_of_transformers_says_what_it_reads(
    kind: str, inputs: set[str], stages: set[str], tmp_path: Path
) -> None:
    folder = save_folder(kind, tmp_path)
    spec = inspected(str(folder))
    assert (set(spec.inputs), set(spec.stages), spec.weights) == (inputs, stages, str(folder))
    counts = count(spec)
    assert sum(counts.macs_by_stage.values()) >= 0.98 * counts.macs
    state = build(spec).model.state_dict()
    expected = type(build(spec).model).from_pretrained(folder).state_dict()
    assert all(torch.equal(state[name], values) for name, values in expected.items())


def test_a_factory_with_arguments_and_inputs_by_option() -> None:
    spec = inspected(f'{HERE}:make?{{"width": 24}}', inputs=SHAPES)
    assert spec.model_args == {"width": 24}
    assert spec.name.endswith("others.make-width-24")
    assert set(spec.stages) == {"encoder", "words", "fusion", "head"}  # and not `unused`
    convolution, fusion, head = 3 * 8 * 8 * 24 * 16, 2 * 24 * 24 * (6 + 16), 24 * 5
    counts = count(spec)
    assert (counts.macs_by_stage["encoder"], counts.macs_by_stage["fusion"]) == (convolution, fusion)
    assert counts.macs == convolution + fusion + head
    assert count(spec, batch=3).macs == 3 * counts.macs


def test_a_factory_may_give_the_inputs_beside_the_module() -> None:
    spec = inspected(f"{HERE}:make_with_inputs")
    assert (spec.inputs, spec.input.image_size) == ({}, (0, 0))
    assert count(spec).macs == count(inspected(f"{HERE}:make", inputs=SHAPES)).macs


def test_stages_can_be_given() -> None:
    spec = inspected(f"{HERE}:make_with_inputs", stages={"visual": "encoder", "fusion": ["fusion.*", "head"]})
    assert list(spec.stages) == ["visual", "fusion"]
    assert len(build(spec).parts["fusion"]) == 3


def test_what_timm_says_of_a_model_is_not_overridden() -> None:
    assert inspected("timm:resnet18", inputs={"x": [3, 8, 8]}).inputs == {"x": "image"}


def test_an_input_without_a_name_is_the_first_argument() -> None:
    assert set(inspected(f"{HERE}:Pair", inputs={"": [4, 3]}).inputs) == {"x"}


REFUSED = [
    ("timm:convnext_tinny", {}, "did you mean convnext_tiny"),
    ("open_clip:ViT-B-33", {}, "did you mean ViT-B-32"),
    ("no.such.module:make", {}, "No module named 'no'"),
    (f"{HERE}:mak", {}, "did you mean make?"),
    (f"{HERE}:NOT_A_FUNCTION", {}, "is a int, and no function"),
    (f"{HERE}:raises", {}, "raises FileNotFoundError: no checkpoint"),
    (f"{HERE}:leaves", {}, "raises SystemExit: 3"),
    (f"{HERE}:needs", {}, "missing a required argument: 'width'"),
    (f'{HERE}:make?{{"depth": 3}}', {}, "unexpected keyword argument 'depth'"),
    (f"{HERE}:make?width=3", {}, "is no JSON"),
    (f"{HERE}:make?[3]", {}, "must be a mapping"),
    (f"{HERE}:gives_nothing", {}, "returns nothing; a torch.nn.Module"),
    (f"{HERE}:make", {}, "what it reads is unknown; --input pixels=3x224x224,ids=3x224x224"),
    (f"{HERE}:make", {"inputs": {"pixels": [3, 32, 32]}}, "missing 1 required positional argument: 'ids'"),
    (f"{HERE}:make", {"inputs": {**SHAPES, "pixles": [3]}}, "takes no 'pixles'; did you mean pixels?"),
    (f"{HERE}:make", {"inputs": {**SHAPES, "pixels": [4, 32, 32]}}, "to have 3 channels, but got 4 channels"),
    (f"{HERE}:make_with_inputs", {"stages": {"visual": "encodr"}}, "did you mean encoder?"),
    (f"{HERE}:make_with_inputs", {"stages": {"rest": "encoder"}}, "'rest' is what vlbench adds itself"),
    (f"{HERE}:Words", {"inputs": {"": [3]}}, "gives a str without a tensor"),
    ("timm:resnet18", {"image_size": (5000, 5000)}, "image_size"),
]


@pytest.mark.parametrize(("word", "overrides", "reason"), REFUSED)
def test_what_cannot_be_measured_is_one_line(word: str, overrides: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        inspected(word, **overrides)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none_of_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder with a config\.json"):
        inspected(str(tmp_path))
    with pytest.raises(InputError, match=r"what it reads \(input_values\) is neither text nor image; --input"):
        inspected(str(save_folder("wav2vec", tmp_path)))
    (tmp_path / "config.json").write_text('{"model_type": "no-such-type"}')
    with pytest.raises(InputError, match="no-such-type"):
        inspected(str(tmp_path))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = save_folder("vit", tmp_path)
    spec = inspected("timm:resnet18").model_copy(update={"weights": str(folder)})
    with pytest.raises(InputError, match=r"is of another model: lacks conv1\.weight"):
        build(spec)


def test_an_absent_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InputError, match=r"open_clip is absent .+ pip install 'vlbench\[open-clip\]'"):
        inspected("open_clip:ViT-B-32")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    spec = inspected(f"{HERE}:Pair", inputs={"x": [3]})
    for value, reason in ((torch.tensor([1, 2, 3]), "no float"), (torch.tensor([1, 2, torch.nan]), "NaN or infinity")):
        torch.save({"scale": value}, tmp_path / "weights.pt")
        with pytest.raises(InputError, match=reason):
            build(spec.model_copy(update={"weights": str(tmp_path / "weights.pt")}))
    torch.save({"scale": torch.ones(4)}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="scale is 4 there and 3 here"):
        build(spec.model_copy(update={"weights": str(tmp_path / "weights.pt")}))
