"""The config next to a checkpoint is compared with the model file, where tensors do not show the difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from checkpoint_examples import PATCH, THEIRS, changed, loaded, pixel_mask, small, words_of
from examples import images_of
from test_clip_checkpoints import of_transformers, vit_spec
from torch import nn
from weights import randomise

from vlbench.architectures.checkpoints.config import config_values, refuse_other_settings
from vlbench.architectures.interfaces import Images, Text
from vlbench.errors import InputError
from vlbench.specs.catalog import catalog

VILT = {"image_size": 4 * PATCH, "patch_size": PATCH, "num_labels": 7}
EPSILONS = {"text.layer_norm_eps": 1e-3, "interaction.layer_norm_eps": 1e-3}


def vilt_of(folder: Path, **changes: Any) -> nn.Module:
    config = transformers.ViltConfig(**(THEIRS | VILT | changes))
    model = randomise(transformers.ViltForQuestionAnswering(config))
    model.save_pretrained(folder)
    return model


@torch.no_grad()
@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        (
            {"num_attention_heads": 2},
            {"interaction.heads": 2},
            "config.json has num_attention_heads 2, but interaction.heads is 4 in vilt-b32-tiny; "
            "interaction.heads: 2 in a model file fits",
        ),
        (
            {"layer_norm_eps": 1e-3},
            EPSILONS,
            "config.json has layer_norm_eps 0.001, but text.layer_norm_eps is 1e-12 in vilt-b32-tiny; "
            "text.layer_norm_eps: 0.001, interaction.layer_norm_eps: 0.001 in a model file fits",
        ),
    ],
)
def test_a_model_file_that_differs_is_refused_and_one_that_agrees_gives_transformers_answers(
    tmp_path: Path, theirs: dict, ours: dict, message: str
) -> None:
    reference = vilt_of(tmp_path, **theirs)
    spec = small("vilt-b32", "answers")
    for source in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(InputError) as caught:
            loaded(spec, str(source))
        assert str(caught.value) == f"weights {source}: {message}"
    words, images = words_of(9, 6), images_of((64, 96), (48, 64))
    given = {"input_ids": words.ids, "attention_mask": words.mask.long(), "pixel_mask": pixel_mask(images)}
    expected = reference(**given, pixel_values=images.pixels).logits
    agreeing = loaded(changed(spec, ours), str(tmp_path))
    torch.testing.assert_close(agreeing(words, images), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "quick_gelu"])
def test_what_no_part_computes_is_refused(tmp_path: Path, activation: str) -> None:
    vilt_of(tmp_path, hidden_act=activation)
    with pytest.raises(InputError) as caught:
        loaded(small("vilt-b32", "answers"), str(tmp_path))
    says = f"config.json has hidden_act '{activation}'; the parts of vilt-b32-tiny have 'gelu' alone"
    assert str(caught.value) == f"weights {tmp_path}: {says}"


def test_what_only_training_uses_may_differ(tmp_path: Path) -> None:
    dropouts = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2, "initializer_range": 0.1}
    vilt_of(tmp_path, **dropouts, hidden_act="gelu_python", max_image_length=-5)
    loaded(small("vilt-b32", "answers"), str(tmp_path))


@torch.no_grad()
def test_clips_activation_is_the_configs(tmp_path: Path) -> None:
    """A GELU's tensors run with a QuickGELU only by mistake; a model file can choose either."""
    config = of_transformers().config
    for tower in (config.text_config, config.vision_config):
        tower.hidden_act = "gelu"
    reference = randomise(transformers.CLIPModel(config))
    reference.save_pretrained(tmp_path)
    with pytest.raises(
        InputError, match=r"text_config\.hidden_act 'gelu', but text\.activation is 'quick_gelu' in clip"
    ):
        loaded(vit_spec(), str(tmp_path))
    ours = loaded(vit_spec(activation="gelu"), str(tmp_path))
    pixels, ids = torch.randn(3, 3, 64, 64), torch.randint(1, 58, (3, 8))
    ids[:, -1] = 59
    scores = ours(Text(ids=ids, mask=None), Images(pixels=pixels, sizes=((64, 64),) * 3)).flatten()
    expected = reference(input_ids=ids, pixel_values=pixels).logits_per_text.diagonal()
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


CASES: dict[str, tuple[str, str, str, dict, str]] = {
    "VisualBERT's heads": ("visualbert", "visual_bert", "config.json", {"num_attention_heads": 8}, "interaction.heads"),
    "VisualBERT's shortcut": ("visualbert", "visual_bert", "config.json", {"bypass_transformer": True}, "have False"),
    "VisualBERT's positions": (
        "visualbert",
        "visual_bert",
        "config.json",
        {"position_embedding_type": "relative_key"},
        "have 'absolute' alone",
    ),
    "LXMERT's heads": ("lxmert", "lxmert", "config.json", {"num_attention_heads": 8}, "interaction.heads is 12"),
    "LXMERT's activation": ("lxmert", "lxmert", "config.json", {"hidden_act": "relu"}, "have 'gelu' alone"),
    "a renamed key": ("lxmert", "lxmert", "config.json", {"hidden_activation": "silu"}, "hidden_activation 'silu'"),
    "UNITER's own": ("uniter-large", "uniter", "config.json", {"num_attention_heads": 12}, "interaction.heads is 16"),
    "UNITER's log": ("uniter-base", "uniter", "../log/model.json", {"num_attention_heads": 16}, "model.json has num"),
    "a default that the file leaves out": ("uniter-large", "lxmert", "config.json", {}, "has no num_attention_heads"),
    "ViLT's grid": ("vilt-b32", "vilt", "config.json", {"image_size": [256, 576]}, "position_grid: [8, 18]"),
    "ViLT's random patches": ("vilt-b32", "vilt", "config.json", {"max_image_length": 200}, "max_image_length 200"),
    "CLIP's nested heads": (
        "clip-vit-b32",
        "clip",
        "config.json",
        {"vision_config": {"num_attention_heads": 16}},
        "vision_config.num_attention_heads 16, but visual.heads is 12",
    ),
    "CLIP's old sections": (
        "clip-vit-b32",
        "clip",
        "config.json",
        {"text_config": {"hidden_act": "quick_gelu"}, "text_config_dict": {"hidden_act": "gelu"}},
        "text_config.hidden_act 'gelu'",
    ),
    "OpenCLIP is GELU unless it says so": (
        "clip-vit-b32",
        "open_clip",
        "open_clip_config.json",
        {"model_cfg": {"vision_cfg": {}, "text_cfg": {}}},
        "has no model_cfg.quick_gelu, which means False, but text.activation is 'quick_gelu'",
    ),
    "OpenCLIP's heads": (
        "clip-vit-b32",
        "open_clip",
        "open_clip_config.json",
        {"model_cfg": {"quick_gelu": True, "vision_cfg": {"width": 768, "head_width": 32}}},
        "visual.heads: 24",
    ),
    "OpenCLIP's pixels": (
        "clip-vit-b32",
        "open_clip",
        "open_clip_config.json",
        {"model_cfg": {"quick_gelu": True}, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}},
        "input.mean: [0.5, 0.5, 0.5]",
    ),
    "timm's size": (
        "vilt-b32",
        "timm",
        "config.json",
        {"architecture": "vit_small_patch32_384"},
        "interaction.heads: 6",
    ),
    "timm's activation": (
        "vilt-b32",
        "timm",
        "config.json",
        {"architecture": "vit_base_quickgelu"},
        "have 'gelu' alone",
    ),
    "timm's strides": ("pixelbert-r50", "timm", "config.json", {"architecture": "resnetaa50"}, "have 'plain' alone"),
    "timm's pixels": (
        "vilt-b32",
        "timm",
        "config.json",
        {"pretrained_cfg": {"std": [0.229, 0.224, 0.225]}},
        "input.std is [0.5, 0.5, 0.5]",
    ),
    "the processor's mean": ("vilt-b32", "vilt", "preprocessor_config.json", {"image_mean": [0, 0, 0]}, "image_mean"),
    "pixels as they are": (
        "vilt-b32",
        "images",
        "preprocessor_config.json",
        {"do_normalize": False},
        "input.mean: [0.0",
    ),
    "the processor within": (
        "clip-vit-b32",
        "clip",
        "processor_config.json",
        {"image_processor": {"rescale_factor": 1.0}},
        "rescale_factor 1.0",
    ),
}


@pytest.mark.parametrize(("name", "kind", "file", "content", "message"), CASES.values(), ids=CASES)
def test_every_config_is_compared(tmp_path: Path, name: str, kind: str, file: str, content: dict, message: str) -> None:
    weights = tmp_path / "ckpt" / "model.safetensors"
    path = weights.parent / file
    for folder in (weights.parent, path.parent, weights.parent.parent / "log"):
        folder.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        refuse_other_settings(config_values((kind,), weights), catalog()[name], source="it")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"weights it: {Path(file).name} has ")
    assert "\n" not in str(caught.value)


PUBLISHED: dict[str, tuple[str, str, str, dict]] = {
    "ViLT": ("vilt-b32", "vilt", "config.json", {"model_type": "vilt", "max_image_length": -1, "hidden_act": "gelu"}),
    "VisualBERT": ("visualbert", "visual_bert", "config.json", {"bypass_transformer": False, "layer_norm_eps": 1e-12}),
    "LXMERT": ("lxmert", "lxmert", "config.json", {"num_attention_heads": 12, "visual_loss_normalizer": 6.67}),
    "CLIP": ("clip-vit-b32", "clip", "config.json", {"text_config": {}, "vision_config": {}, "text_config_dict": None}),
    "OpenAI's in OpenCLIP": (
        "clip-rn50",
        "open_clip",
        "open_clip_config.json",
        {
            "model_cfg": {
                "quick_gelu": True,
                "vision_cfg": {"image_size": 224, "layers": [3, 4, 6, 3], "width": 64, "patch_size": None},
                "text_cfg": {"heads": 8, "width": 512, "layers": 12},
            }
        },
    ),
    "UNITER": ("uniter-base", "uniter", "config.json", {"num_attention_heads": 12, "hidden_act": "gelu"}),
    "timm": (
        "vilt-b32",
        "timm",
        "config.json",
        {"architecture": "vit_base_patch32_384", "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}},
    ),
}


@pytest.mark.parametrize(("name", "kind", "file", "content"), PUBLISHED.values(), ids=PUBLISHED)
def test_configs_as_published_fit_the_catalogue(tmp_path: Path, name: str, kind: str, file: str, content: dict) -> None:
    (tmp_path / file).write_text(json.dumps(content))
    values = config_values((kind,), tmp_path / "model.safetensors")
    assert values
    refuse_other_settings(values, catalog()[name], source="it")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("12", "has num_attention_heads '12', but interaction.heads is 12 in lxmert"),
        ([12], "has num_attention_heads [12], but interaction.heads is 12 in lxmert"),
        (True, "has num_attention_heads True, but interaction.heads is 12 in lxmert"),
        (-8, "has num_attention_heads -8, but interaction.heads is 12 in lxmert"),
        (
            8,
            "8, but interaction.heads is 12 in lxmert; interaction.heads: 8 in a model file fits",
        ),
        ("x\x1b[31m\n" * 500, "in lxmert"),
    ],
)
def test_a_value_of_another_type_is_no_advice(tmp_path: Path, value: Any, message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": value}))
    with pytest.raises(InputError) as caught:
        refuse_other_settings(
            config_values(("lxmert",), tmp_path / "model.safetensors"), catalog()["lxmert"], source="it"
        )
    assert str(caught.value).endswith(message)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "config.json: no mapping of settings"),
        ('{"text_config": 3}', "config.json: text_config is 3, no mapping of settings"),
        ('{"model_type": "bert"}', "config.json: model_type 'bert', but model.safetensors next to it is clip"),
        ("{", "config.json: not JSON"),
    ],
)
def test_a_config_that_cannot_be_this_models_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError) as caught:
        config_values(("clip",), tmp_path / "model.safetensors")
    assert message in str(caught.value)


def test_a_file_of_another_name_may_lie_next_to_the_config_of_another_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "num_attention_heads": 1}')
    assert config_values(("vilt",), tmp_path / "vilt_vqa.ckpt") == []
