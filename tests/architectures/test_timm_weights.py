"""Weights of timm models: read strictly from a file, fetched by timm, or as a part of OpenCLIP's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from test_timm_backbone import CONVNEXT, SIZE, VIT, spec_of
from torch import Tensor, nn

from tests.architectures.examples import images_of, padded_text
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.native import save_model
from vlbench.architectures.count import count
from vlbench.architectures.interaction import score_matrix
from vlbench.architectures.interfaces import Text
from vlbench.errors import InputError
from vlbench.measuring.macs import count_macs
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog
from vlbench.specs.weights import find_weights, with_weights

Weights = dict[str, Tensor]


def reference_of(visual: dict[str, Any], **options: Any) -> nn.Module:
    return timm.create_model(visual["model"], **visual["model_args"] | options).eval()


@torch.no_grad()
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("visual", [CONVNEXT, VIT | {"stage": 1}], ids=["map", "tokens"])
def test_a_checkpoint_of_the_whole_timm_model(tmp_path: Path, visual: dict[str, Any], suffix: str) -> None:
    reference, path = reference_of(visual), tmp_path / f"whole{suffix}"
    state = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    spec = spec_of(**visual, weights=str(path))
    find_weights(spec)
    model, images = build(spec).eval(), images_of(SIZE)
    kept = model.visual.backbone.model.state_dict()
    assert [name for name, tensor in kept.items() if not torch.equal(tensor, state[name])] == []
    if visual is CONVNEXT:
        expected = reference.forward_features(images.pixels)
        torch.testing.assert_close(model.visual.backbone(images.pixels), expected)


def without(state: Weights, start: str) -> Weights:
    return {name: tensor for name, tensor in state.items() if not name.startswith(start)}


def wider(state: Weights) -> Weights:
    return dict(reference_of(CONVNEXT, dims=[16, 16, 24, 32]).state_dict())


def with_nan(state: Weights) -> Weights:
    return state | {"stem.0.bias": state["stem.0.bias"] * float("nan")}


WRONG: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "a missing stage": (lambda state: without(state, "stages.2"), r"has nothing for stages\.2\."),
    "another model": (lambda _: dict(timm.create_model("resnet18").state_dict()), "has no place for"),
    "another width": (wider, r"stem\.0\.weight is 16x3x4x4 there and 8x3x4x4 here"),
    "no numbers": (with_nan, r"stem\.0\.bias holds NaN"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_one_line(tmp_path: Path, change: Callable[[Weights], Weights], message: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file(change(dict(reference_of(CONVNEXT).state_dict())), path)
    with pytest.raises(
        InputError, match=f"weights {path}: a checkpoint of timm's convnext_atto, but .*{message}"
    ) as line:
        build(spec_of(**CONVNEXT, weights=str(path)))
    assert "\n" not in str(line.value)


def test_a_config_beside_it_that_says_another_mean_is_one_line(tmp_path: Path) -> None:
    save_file(dict(reference_of(CONVNEXT).state_dict()), tmp_path / "model.safetensors")
    content = {"architecture": "convnext_atto", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"pretrained_cfg\.mean"):
        build(spec_of(**CONVNEXT, weights=str(tmp_path)))


def test_weights_that_timm_cannot_fetch_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to the hub\nand more")

    monkeypatch.setattr("timm.models._builder.load_pretrained", unreachable)
    (spec,) = with_weights([spec_of(**CONVNEXT)], ["vilt-b32-tiny.visual=pretrained"])
    find_weights(spec)
    with pytest.raises(InputError) as line:
        build(spec)
    assert str(line.value) == (
        "weights pretrained: timm cannot fetch those of convnext_atto (no route to the hub); fetch the checkpoint "
        "elsewhere and name its file as visual.weights"
    )


def test_weights_that_timm_fetches_fill_the_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(model: nn.Module, **_: object) -> None:
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.25)

    monkeypatch.setattr("timm.models._builder.load_pretrained", fetched)
    model = build(spec_of(**CONVNEXT, weights="pretrained"))
    assert {float(each) for tensor in model.visual.backbone.parameters() for each in tensor.detach().flatten()} == {
        0.25
    }


def test_pretrained_is_a_file_for_any_other_embedder() -> None:
    with pytest.raises(InputError, match="weights pretrained: no such file or folder"):
        with_weights([catalog()["vilt-b32"]], ["vilt-b32.visual=pretrained"])


def test_a_file_that_vlbench_wrote_is_read_again(tmp_path: Path) -> None:
    spec, path = spec_of(**VIT), tmp_path / "model.safetensors"
    model = build(spec.model_copy(update={"seed": 3}))
    save_model(path, model, spec)
    again = build(spec.model_copy(update={"weights": str(path)}))
    assert [name for name, each in again.state_dict().items() if not torch.equal(each, model.state_dict()[name])] == []


@pytest.fixture
def clip(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ModelSpec, nn.Module]]:
    """clip-convnext and OpenCLIP's convnext_base, both with a tower of these sizes and one text layer, or whole."""

    def pair(**tower: Any) -> tuple[ModelSpec, nn.Module]:
        spec, settings = catalog()["clip-convnext"], open_clip.get_model_config("convnext_base")
        if tower:
            visual = spec.visual.model_copy(update={"model_args": tower})
            spec = spec.model_copy(update={"visual": visual, "text": spec.text.model_copy(update={"layers": 1})})
            create = timm.create_model
            monkeypatch.setattr(timm, "create_model", lambda name, **options: create(name, **options | tower))
            settings["text_cfg"]["layers"] = 1
        return spec, open_clip.model.CLIP(**settings).eval()

    return pair


@torch.no_grad()
def test_openclips_state_dict_gives_openclips_scores(clip: Any, tmp_path: Path) -> None:
    spec, theirs = clip(depths=[1, 1, 1, 1], dims=[8, 16, 24, 32])
    save_file(theirs.state_dict(), tmp_path / "open_clip_model.safetensors")
    ours = build(spec.model_copy(update={"weights": str(tmp_path)})).eval()
    words, images = padded_text(77, 77, vocabulary=49_000), images_of((224, 224), (224, 224))
    ids = words.ids.clone()
    ids[:, -1] = 49_407  # their end of a text, the highest id
    expected = (
        theirs.logit_scale.exp()
        * theirs.encode_text(ids, normalize=True)
        @ theirs.encode_image(images.pixels, normalize=True).T
    )
    scores = score_matrix(ours.interaction, ours.text(Text(ids=ids, mask=None)), ours.visual(images))
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_clip_convnext_has_openclips_parameters_and_macs(clip: Any) -> None:
    spec, theirs = clip()
    counts = count(spec)
    for part, ours in (("visual", "visual"), ("visual.trunk", "visual.backbone"), ("visual.head", "visual.projection")):
        parameters = sum(each.numel() for each in theirs.get_submodule(part).parameters())
        assert counts.params_by_stage[ours] == parameters, part
    assert counts.params_total == sum(each.numel() for each in theirs.parameters())
    macs = count_macs(lambda: theirs.encode_image(torch.zeros(1, 3, 224, 224)), {})
    assert counts.macs_by_stage["visual"] == macs.total
