"""External modules on the command line: `run`, `init` and `ab`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.architectures.modules_of_others import save_folder
from tests.command_line import vlbench
from vlbench.cli.live_options import model_names
from vlbench.runner.requests import cell_of
from vlbench.specs.catalog import resolve, split_words
from vlbench.specs.module import ModuleSpec

HERE = "tests.architectures.modules_of_others"
QUICK = ("--budget", "0.1", "--restarts", "1", "--threads", "1")
INPUT = ("--input", "pixels=3x32x32,ids=6:int64:50")


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "cells.jsonl").read_text().splitlines()]


def test_one_that_fails_is_one_line_and_the_others_are_measured(tmp_path: Path) -> None:
    models = f"{HERE}:raises,{HERE}:make_with_inputs,timm:resnet1818,timm:test_vit"
    process = vlbench("run", "--models", models, *QUICK, "--out", tmp_path)
    assert process.returncode == 2
    refusals = [line for line in process.stderr.splitlines() if line.startswith("vlbench: ")]
    assert [("FileNotFoundError" in line, "no such model" in line) for line in refusals] == [
        (True, False),
        (False, True),
    ]
    assert [line["status"] for line in lines_of(tmp_path)] == ["ok", "ok"]
    assert "Traceback" not in process.stderr
    assert "a factory that prints" not in process.stdout


def test_the_same_model_as_factory_as_file_and_as_folder(tmp_path: Path) -> None:
    """Counts are equal, and so is what is measured."""
    folder = save_folder("vit", tmp_path)
    written = vlbench("init", folder)
    assert written.returncode == 0, written.stderr
    content = yaml.safe_load(written.stdout)
    (tmp_path / "same.yaml").write_text(written.stdout)
    content["name"] = "same-again"
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(content))
    process = vlbench("run", "--models", f"{folder},{tmp_path}/again.yaml", *QUICK, "--out", tmp_path / "out")
    assert process.returncode == 0, process.stderr
    first, second = lines_of(tmp_path / "out")
    counted = ("params_total", "macs", "macs_by_stage", "bytes_moved", "operators", "image_size")
    assert {key: first[key] for key in counted} == {key: second[key] for key in counted}
    assert resolve(f"{tmp_path}/same.yaml")[0].hash() == first["spec_hash"]


def test_what_is_measured_is_kept_and_a_batch_is_one(tmp_path: Path) -> None:
    arguments = ("run", "--models", f"{HERE}:make", *INPUT, "--batch", "2", *QUICK, "--out", tmp_path)
    assert vlbench(*arguments).returncode == 0
    again = vlbench(*arguments)
    assert "kept" in again.stderr
    (line,) = lines_of(tmp_path)
    assert (line["batch"], line["image_size"], line["family"], line["input_ms"]) == (2, [0, 0], "other", None)
    assert line["macs"] == 2 * (3 * 8 * 8 * 16 * 16 + 2 * 16 * 16 * 22 + 16 * 5)


def test_each_side_of_ab_makes_the_module_itself() -> None:
    settings = {"threads": 1, "batch": 2, "image_size": [64, 96]}
    cell = cell_of({"model": "timm:resnet18", "settings": settings})
    assert (cell.name, cell.batch, cell.spec.input.image_size) == ("resnet18", 2, (64, 96))
    assert model_names(f'{HERE}:make?{{"width": 8}},vilt,timm:a*b') == [
        f'{HERE}:make?{{"width": 8}}',
        "vilt",
        "timm:a*b",
    ]


REFUSED = [
    (("run", "--models", f"{HERE}:make", "--input", "pixels=3by4"), "pixels=3x224x224"),
    (("run", "--models", f"{HERE}:make", "--input", "pixels=3x4,pixels=3x5"), "given twice"),
    (("run", "--models", f"{HERE}:make", "--input", "ids=4:int65"), "ids=40:int64:30522"),
    (("run", "--models", f"{HERE}:make", "--stages", "visual"), "not STAGE=PATH"),
    (("run", "--models", "vilt", "--stages", "visual=patch"), "describes external modules"),
    (("run", "--models", f"{HERE}:make,{HERE}:make", "--input", "pixels=0x3"), "pixels"),
    (("eval", "--models", "timm:resnet18", "--task", "shapes"), "run, count, init and ab take"),
    (("train", "--models", f"{HERE}:make"), "run, count, init and ab take"),
    (("explain", "--model", "timm:resnet18", "--image", "a.png", "--text", "a"), "run, count, init and ab take"),
    (("init", "vilt-b33"), "did you mean"),
    (("run", "--models", "/no/such/folder"), "/no/such/folder"),
    (("run", "--models", "hub:no/such-model", *QUICK), "the hub cannot be reached"),
]


@pytest.mark.parametrize(("arguments", "reason"), REFUSED)
def test_bad_input_is_one_line(arguments: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    process = vlbench(*arguments)
    assert process.returncode == 2
    assert reason in process.stderr
    assert len(process.stderr.splitlines()) == 1


def test_two_libraries_may_have_a_model_of_the_same_name() -> None:
    def inspect(word: str) -> ModuleSpec:
        return ModuleSpec(name="convnext_base", source=word, module=word)

    words = "timm:convnext_base,open_clip:convnext_base,timm:convnext_base"
    assert [spec.name for spec in resolve(words, inspect)] == ["convnext_base", "convnext_base-open_clip"]


def test_words_with_arguments_are_split_at_the_right_commas() -> None:
    source = 'a:b?{"x": [1, 2], "y": "z"}'
    assert split_words(f"{source}, vilt ,,timm:c") == [source, "vilt", "timm:c"]


def test_a_spec_of_inputs_that_do_not_fit_each_other() -> None:
    spec = {"name": "a", "source": "b", "module": "c:d"}
    with pytest.raises(ValueError, match=r"needs input\.image_size"):
        ModuleSpec.model_validate(spec | {"inputs": {"x": "image"}})
    with pytest.raises(ValueError, match=r"needs text and input\.text_tokens"):
        ModuleSpec.model_validate(spec | {"inputs": {"x": "text"}})
