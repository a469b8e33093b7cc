"""Weights of transformers from a folder or a hub, and the one line for each that cannot be taken."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_examples import ATOL, images_of, refusal, text_of

from tests.helpers import tiny
from tests.paths import ROOT
from vlbench.architectures.build import build
from vlbench.architectures.count import count
from vlbench.specs import HuggingFaceSpec


@pytest.fixture(scope="module")
def vilt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViLT for questions with names for its answers, as transformers saves it."""
    folder = tmp_path_factory.mktemp("weights") / "vilt-vqa"
    spec = tiny("hf-vilt-b32", seed=5).for_task("answers", 3)
    model = build(spec).model
    model.config.id2label = {0: "no", 1: "yes", 2: "two"}
    model.save_pretrained(folder)
    return folder


def loading(folder: Path | str, **changes: Any) -> HuggingFaceSpec:
    return tiny("hf-vilt-b32", weights=str(folder), **changes).for_task("answers")


@torch.no_grad()
def test_weights_of_a_folder_are_those_that_were_saved(vilt_folder: Path) -> None:
    spec = loading(vilt_folder)
    ours, reference = build(spec).eval(), transformers.ViltForQuestionAnswering.from_pretrained(vilt_folder).eval()
    text, images = text_of(spec, 9, 6), images_of((128, 192), (128, 192))
    assert text.mask is not None
    expected = reference(input_ids=text.ids, attention_mask=text.mask.long(), pixel_values=images.pixels)
    torch.testing.assert_close(ours(text, images), expected.logits, atol=ATOL, rtol=0)
    assert ours.labels() == ["no", "yes", "two"]
    assert spec.hash() != tiny("hf-vilt-b32").for_task("answers").hash()
    assert count(spec).params_total == sum(value.numel() for value in reference.parameters())


def test_a_folders_config_alone_makes_random_weights(vilt_folder: Path) -> None:
    spec = tiny("hf-vilt-b32").for_task("answers").model_copy(update={"config": str(vilt_folder)})
    assert build(spec).model.num_labels == 3
    different = build(spec).model.vilt.encoder.layer[0].attention.attention.query.weight
    assert not torch.equal(
        different, build(loading(vilt_folder)).model.vilt.encoder.layer[0].attention.attention.query.weight
    )


def test_another_class_is_refused_with_what_it_lacks(vilt_folder: Path) -> None:
    message = refusal(tiny("hf-vilt-b32", weights=str(vilt_folder)))
    assert "looks like ViltForQuestionAnswering, not ViltForImageAndTextRetrieval: lacks rank_output" in message


def test_another_family_is_refused_by_its_name(vilt_folder: Path) -> None:
    assert refusal(tiny("hf-clip-vit-b32", weights=str(vilt_folder))).endswith("is vilt, not clip")


def test_another_number_of_answers_is_refused(vilt_folder: Path) -> None:
    spec = loading(vilt_folder).model_copy(update={"answers": 13})
    assert refusal(spec) == f"{vilt_folder} has 3 answers, but 13 are asked for"


def damaged(vilt_folder: Path, tmp_path: Path, name: str, content: bytes | None) -> Path:
    folder = tmp_path / "damaged"
    shutil.copytree(vilt_folder, folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    return folder


DAMAGED = {
    "no config": ("config.json", None, "no folder with a config.json"),
    "no JSON": ("config.json", b"{", "cannot be read"),
    "config of nothing": ("config.json", b"{}", "is no model of transformers, not vilt"),
    "no weights": ("model.safetensors", None, "cannot be read"),
    "cut off": ("model.safetensors", b"\x10\x00\x00", "cannot be read"),
    "corrupt header": ("model.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00notjson!", "cannot be read"),
}


@pytest.mark.parametrize(("name", "content", "says"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_folder_is_refused_in_one_line(
    vilt_folder: Path, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    folder = damaged(vilt_folder, tmp_path, name, content)
    message = refusal(loading(folder))
    assert message.startswith(str(folder))
    assert says in message


class Runs:
    """A pickle that would make a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(vilt_folder: Path, tmp_path: Path) -> None:
    folder = damaged(vilt_folder, tmp_path, "model.safetensors", None)
    torch.save({"x": Runs(tmp_path / "ran")}, folder / "pytorch_model.bin", pickle_module=pickle)
    assert "cannot be read" in refusal(loading(folder))
    assert not (tmp_path / "ran").exists()


UNREACHABLE = """
import sys
from vlbench.architectures.build import build
from vlbench.specs.catalog import catalog
from vlbench.errors import SpecError
try:
    build(catalog()["hf-vilt-b32"].model_copy(update={"weights": "hub:nobody/nothing"}))
except SpecError as error:
    print(error)
"""


@pytest.fixture
def no_hub(tmp_path: Path) -> dict[str, str]:
    """An environment without a hub and with nothing cached; a hub that does not answer is asked for half a minute."""
    return os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_one_line(no_hub: dict[str, str]) -> None:
    process = subprocess.run(
        [sys.executable, "-c", UNREACHABLE],
        env=no_hub,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
    )
    assert process.stdout.splitlines() == [
        "hf-vilt-b32: hub:nobody/nothing: the hub cannot be reached, and no copy is cached; "
        "a folder of the same files works"
    ], process.stderr
