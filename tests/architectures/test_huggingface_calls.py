"""A model file that its class of transformers does not fit is refused in one line, when it is built or first run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_examples import images_of, refusal, text_of
from safetensors.torch import load_file, save_file

from tests.helpers import tiny
from vlbench.architectures import huggingface_weights
from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.errors import InputError, SpecError
from vlbench.specs import HuggingFaceSpec
from vlbench.specs.weights import find_weights

VILT = tiny("hf-vilt-b32")


def other(
    spec: HuggingFaceSpec = VILT, *, inputs: dict | None = None, config: dict | None = None, **changes: Any
) -> Any:
    """The same with other inputs, keys of its config, or fields."""
    changes["inputs"] = spec.inputs.model_copy(update=inputs or {})
    changes["config"] = {**spec.config, **(config or {})}
    return spec.model_copy(update=changes)


UNBUILT = {
    "a base class": (other(transformers="ViltPreTrainedModel"), "has no model class 'ViltPreTrainedModel'"),
    "a class that chooses": (other(transformers="AutoModel"), "has no model class 'AutoModel'"),
    "text for a number": (other(config={"num_hidden_layers": "many"}), "expected int, got str (value: 'many')"),
    "nothing for a number": (other(config={"num_hidden_layers": None}), "expected int, got NoneType"),
    "a list for a word": (other(config={"hidden_act": [1]}), "'hidden_act' expected str, got list"),
    "an unknown word": (other(config={"hidden_act": "nosuch"}), "refuses it: it knows no 'nosuch'"),
    "less than nothing": (other(config={"hidden_size": -8}), "config.hidden_size: -8 is no amount; it must be"),
    "fewer layers than none": (other(config={"num_hidden_layers": -1}), "num_hidden_layers: -1 is no amount; it must"),
    "names for too many labels": (other(config={"num_labels": 10**12}), "at least 0, and at most 1,000,000"),
    "no heads": (other(config={"num_attention_heads": 0}), "refuses it: "),
    "too much": (other(config={"hidden_size": 10**12}), "refuses it: "),
    "a type of no number": (other(config={"dtype": "nosuch"}), "refuses it: module 'torch' has no attribute 'nosuch'"),
    "names of nothing": (other(config={"id2label": 5}), "refuses it: "),
    "a method for a key": (other(config={"to_dict": 3}), "ViltConfig has no 'to_dict'"),
    "a part of Python": (other(config={"__class__": 3}), "ViltConfig has no '__class__'"),
    "code on a hub": (
        other(config={"_attn_implementation": "evil/kernels"}),
        "names code on a hub; eager and sdpa work",
    ),
    "an input that is unknown": (
        other(inputs={"ids": "nosuch_ids"}),
        "inputs.ids: ViltForImageAndTextRetrieval takes no 'nosuch_ids'; did you mean input_ids?",
    ),
    "a mask that is unknown": (
        other(inputs={"pixel_mask": "zzz"}),
        "inputs.pixel_mask: ViltForImageAndTextRetrieval takes",
    ),
    "two inputs of one name": (
        other(inputs={"pixels": "input_ids"}),
        "inputs.pixels: input_ids is given as inputs.ids, too; leave one out",
    ),
    "an input for self": (other(inputs={"mask": "self"}), "inputs.mask: ViltForImageAndTextRetrieval takes no 'self'"),
    "an input for any name": (other(inputs={"mask": "kwargs"}), "takes no 'kwargs'; "),
    "code to run": (
        tiny("hf-blip-vqa").model_copy(update={"options": {"custom_generate": "evil/repo"}}),
        "options.custom_generate: BlipForQuestionAnswering takes no 'custom_generate'",
    ),
    "an option that is unknown": (
        other(options={"nosuch": 3}),
        "options.nosuch: ViltForImageAndTextRetrieval takes no",
    ),
    "an input for an option": (
        other(options={"input_ids": 3}),
        "options.input_ids: input_ids is given as inputs.ids, too",
    ),
    "no words": (other(call="generate", gives="words"), "has no method 'generate', as words needs it"),
    "no vectors": (other(gives="similarity"), "has no method 'get_text_features', as similarity needs it"),
    "a method of any module": (
        tiny("hf-visualbert-vqa").model_copy(update={"stages": {"visual": ("named_modules",)}}),
        "has no module or method 'named_modules'",
    ),
    "a long path": (other(stages={"visual": ("a" * 5000,)}), "aaa...; known: rank_output, vilt"),
    "a part of Python for a stage": (
        other(stages={"visual": ("vilt.__class__",)}),
        "has no module or method 'vilt.__class__'",
    ),
}


@pytest.mark.parametrize(("spec", "message"), UNBUILT.values(), ids=UNBUILT)
def test_what_no_model_can_be_built_of_is_one_line(spec: HuggingFaceSpec, message: str) -> None:
    refused = refusal(spec)
    assert message in refused
    assert len(refused) < 270


NOT_RUN = {
    "no field": (
        other(output="nosuch"),
        "output: ViltForImageAndTextRetrieval gives no tensor 'nosuch'; known: logits",
    ),
    "a part of Python": (other(output="__class__"), "gives no tensor '__class__'; known: logits"),
    "an empty field": (other(output="loss"), "gives no tensor 'loss'; did you mean logits?"),
    "no names": (other(options={"return_dict": False}), "gives no tensor 'logits'; a tuple has no names"),
    "other columns": (
        other(gives="matching"),
        "gives: matching needs a row for each of 3 texts and 2 columns, but logits is 3x1",
    ),
    "widths that do not fit": (
        tiny("hf-clip-vit-b32").model_copy(update={"options": {}}),
        "CLIPModel.forward fails: Input image size (128*192) doesn't match model (128*128)",
    ),
    "less than a patch": (
        other(config={"image_size": 7}),
        "ViltForImageAndTextRetrieval.forward fails: Input and output sizes should be greater than 0",
    ),
    "a size of three sides": (
        other(config={"image_size": [1, 2, 3]}),
        "ViltForImageAndTextRetrieval.forward fails: ",
    ),
}


@torch.no_grad()
@pytest.mark.parametrize(("spec", "message"), NOT_RUN.values(), ids=NOT_RUN)
def test_what_does_not_fit_the_forward_pass_is_one_line(spec: HuggingFaceSpec, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        build(spec)(text_of(spec, 9, 9, 6), images_of(*[(128, 192)] * 3))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{spec.name}: ")
    assert "\n" not in str(caught.value)


def test_no_beams_are_one_line() -> None:
    spec = tiny("hf-blip-vqa")
    spec = spec.model_copy(update={"options": {**spec.options, "num_beams": 0}})
    with pytest.raises(
        SpecError, match=r"BlipForQuestionAnswering\.generate fails: integer division or modulo by zero"
    ):
        build(spec)(text_of(spec, 9), images_of((64, 96)))


def test_memory_that_runs_out_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(VILT)

    def fail(**_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 51 TB")

    monkeypatch.setattr(model.model, "forward", fail)
    with pytest.raises(RuntimeError, match="51 TB"):
        model(text_of(VILT, 9), images_of((128, 192)))


MISNAMED = {
    "a method that no pass calls": ({"head": ("save_pretrained",)}, "stages.head is not called in a forward pass"),
    "the whole pass": (
        {"interaction": ("forward",)},
        "stages.text runs within stages.interaction; name each work once",
    ),
    "two parts in one": (
        {"visual": ("vilt.embeddings.forward",)},
        "stages.text runs within stages.visual; name each work once",
    ),
    "a step elsewhere": (
        {"visual.patch": ("vilt.pooler",), "head": ("rank_output",)},
        "stages.visual.patch runs outside",
    ),
}


@pytest.mark.parametrize(("stages", "message"), MISNAMED.values(), ids=MISNAMED)
def test_stages_that_a_pass_does_not_have_are_one_line(stages: dict, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        count(VILT.model_copy(update={"stages": VILT.stages | stages}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_layers_without_end_are_refused_before_they_take_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_weights, "MOST_MODULES", 2_000)
    assert "it makes more than 2,000 modules; fewer layers work" in refusal(other(config={"num_hidden_layers": 10**12}))
    assert build(VILT).labels() is None


def test_other_answers_than_the_model_file_says_are_one_line() -> None:
    spec = VILT.for_task("answers", 7)
    model = build(spec)
    model.spec = spec.model_copy(update={"answers": 9})
    with pytest.raises(SpecError, match=r"answers needs a row for each of 2 texts and 9 columns, but logits is 2x7"):
        model(text_of(spec, 9, 6), images_of(*[(128, 192)] * 2))


def test_a_folder_for_a_config_is_looked_for_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder with a config\.json, as save_pretrained writes it"):
        find_weights(VILT.model_copy(update={"config": str(tmp_path)}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vilt"
    build(VILT).model.save_pretrained(path)
    return path


FOLDERS = {
    "text for a number": ("config.json", {"num_hidden_layers": "x"}, "expected int, got str"),
    "names of nothing": ("config.json", {"id2label": 5}, "cannot be read: "),
    "other pixels": (
        "preprocessor_config.json",
        {"image_mean": [0.1, 0.2, 0.3]},
        "input.mean: [0.1, 0.2, 0.3] in a model",
    ),
}


@pytest.mark.parametrize(("name", "changes", "message"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_differs_is_one_line(
    folder: Path, tmp_path: Path, name: str, changes: dict, message: str
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))
    with pytest.raises(InputError) as caught:
        build(VILT.model_copy(update={"weights": str(tmp_path / "copy")}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_integers_are_not_cast(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "model.safetensors"
    state = load_file(path)
    state["rank_output.weight"] = state["rank_output.weight"].to(torch.int8)
    save_file(state, path, metadata={"format": "pt"})
    assert "rank_output.weight is int8, no float" in refusal(
        VILT.model_copy(update={"weights": str(tmp_path / "copy")})
    )
