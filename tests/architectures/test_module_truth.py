"""One model as several libraries have it, and one module by every way to name it: counts are equal."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import timm
import torch

from tests.architectures.modules_of_others import make_with_inputs, save_folder
from tests.command_line import kept_workers, vlbench
from tests.helpers import counts_of
from vlbench import api
from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.architectures.module_inspect import inspect_module
from vlbench.measuring.records import Counts
from vlbench.runner.reader import read_unsampled
from vlbench.specs.module import Overrides

QUICK = {"threads": 1, "budget_seconds": 4, "restarts": 6}


def counts(word: str) -> Counts:
    return count(inspect_module(word, Overrides()))


@pytest.mark.parametrize(
    ("name", "word"), [("clip-vit-b32", "open_clip:ViT-B-32"), ("clip-convnext", "open_clip:convnext_base")]
)
def test_open_clip_has_the_counts_of_ours(name: str, word: str) -> None:
    """It gives the two features, and not their product."""
    ours, theirs = counts_of(name), counts(word)
    assert theirs.params_total == ours.params_total
    for stage in ("text", "visual"):
        assert theirs.macs_by_stage[stage] == ours.macs_by_stage[stage]
    assert ours.macs - theirs.macs == ours.macs_by_stage["interaction"]


def test_open_clip_s_resnet_pools_with_more_queries() -> None:
    """Ours asks with the mean alone, theirs with all 50 cells, of which it drops 49."""
    ours, theirs = counts_of("clip-rn50"), counts("open_clip:RN50")
    assert theirs.params_total == ours.params_total
    dropped, cells, width, output = 49, 50, 2048, 1024
    products = dropped * (width * width + 2 * cells * width + width * output)
    assert theirs.macs_by_stage["visual"] - ours.macs_by_stage["visual"] == products


def test_a_folder_without_weights_has_the_counts_of_the_model_file(tmp_path: Path) -> None:
    from transformers import CLIPConfig  # noqa: PLC0415  slow to import

    CLIPConfig(architectures=["CLIPModel"]).save_pretrained(tmp_path)
    folder, file = counts(str(tmp_path)), counts_of("hf-clip-vit-b32")
    assert (folder.params_total, folder.macs) == (file.params_total, file.macs)
    assert {stage: folder.macs_by_stage[stage] for stage in ("text", "visual")} == {
        stage: file.macs_by_stage[stage] for stage in ("text", "visual")
    }


def test_the_output_is_that_of_the_library() -> None:
    spec = inspect_module("timm:resnet18", Overrides(image_size=(64, 64)))
    torch.manual_seed(spec.seed)
    expected = timm.create_model("resnet18").eval()
    pixels = torch.randn(2, 3, 64, 64)
    model = build(spec).eval()
    with torch.no_grad():
        assert torch.equal(model.model(pixels), expected(pixels))


@pytest.mark.slow
@pytest.mark.serial
def test_a_model_by_any_name_measures_the_same(tmp_path: Path) -> None:
    """As a folder, a factory and a module: counts are equal, and intervals of latency overlap."""
    folder = save_folder("vit", tmp_path, wide=True)
    (tmp_path / "as_factory.py").write_text(
        "from transformers import ViTForImageClassification as Model\n"
        f"def make():\n    return Model.from_pretrained({str(folder)!r})\n"
    )
    with kept_workers():
        options = ("--threads", "1", "--restarts", "6", "--budget", "4", "--out", tmp_path / "out")
        process = vlbench("run", "--models", f"{folder},as_factory:make", *options, cwd=tmp_path)
        assert process.returncode == 0, process.stderr
        model = build(inspect_module(str(folder), Overrides())).model
        module = api.measure(model, {"pixel_values": torch.zeros(1, 3, 64, 64)}, **QUICK)
    results = [*read_unsampled(tmp_path / "out"), module]
    assert len(results) == 3
    assert len({(result.params_total, result.macs, result.bytes_moved) for result in results}) == 1
    intervals = [result.latency_ms.ci95 for result in results if result.latency_ms and result.latency_ms.ci95]
    assert len(intervals) == 3
    assert max(low for low, _ in intervals) <= min(high for _, high in intervals) * 1.02, intervals


def test_the_counts_of_a_module_by_module() -> None:
    module, (pixels, ids) = make_with_inputs()
    result = api.count(module, (pixels, ids), counters=("vlbench", "torch"))
    convolution = math.prod((3, 8, 8, 16, 16))
    rows = {row.path: row for row in result.modules}
    assert rows["encoder.0"].macs == {"vlbench": convolution, "torch": convolution}
    assert rows["fusion.1"].macs["vlbench"] == 16 * 16 * (6 + 16)
    assert rows[""].params == sum(weight.numel() for weight in module.parameters())
    frame = result.to_frame(depth=1)
    assert set(frame["path"]) == {"", "encoder", "words", "fusion", "unused", "head"}
    with pytest.raises(api.InputError, match="missing 1 required positional argument: 'ids'"):
        api.count(module, pixels)


def test_a_folder_of_timm_has_its_weights(tmp_path: Path) -> None:
    saved = timm.create_model("test_vit", num_classes=7)
    timm.models.save_for_hf(saved, tmp_path, model_config={"num_classes": 7})
    spec = inspect_module(str(tmp_path), Overrides())
    assert (spec.kind, spec.weights_label) == ("timm", str(tmp_path))
    state = build(spec).model.state_dict()
    assert all(torch.equal(state[name], values) for name, values in saved.state_dict().items())


def test_a_folder_of_open_clip_has_its_weights(tmp_path: Path) -> None:
    import open_clip  # noqa: PLC0415  slow to import

    tower = {"width": 32, "layers": 1, "heads": 2}
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 99, **tower},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    saved = open_clip.CLIP(**config)
    torch.save(saved.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    spec = inspect_module(str(tmp_path), Overrides())
    assert (spec.kind, spec.weights_label, spec.input.text_tokens) == ("open_clip", str(tmp_path), 8)
    state = build(spec).model.state_dict()
    assert all(torch.equal(state[name], values) for name, values in saved.state_dict().items())
