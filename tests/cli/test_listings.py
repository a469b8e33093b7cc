"""`vlbench list` prints what the schemas say without importing them; a wrong file is reported by its schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from vlbench.cli.listings import MODEL_KEYS
from vlbench.cli.main import app
from vlbench.errors import SpecError
from vlbench.files import yaml_files
from vlbench.specs import HuggingFaceSpec, ModelSpec, ModuleSpec
from vlbench.specs.catalog import catalog


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of models in the place of models/, empty."""
    monkeypatch.setattr(yaml_files, "models_folder", lambda: tmp_path)
    catalog.cache_clear()
    yield tmp_path
    catalog.cache_clear()


def content(**changes: object) -> dict:
    path = Path(yaml_files.__file__).parents[2] / "models" / "vilt-b32.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) | changes


def refusal() -> str:
    with pytest.raises(SpecError) as caught:
        CliRunner().invoke(app, ["list"], catch_exceptions=False)
    return str(caught.value)


def test_every_model_has_a_line() -> None:
    shown = CliRunner().invoke(app, ["list"], catch_exceptions=False).stdout
    assert shown == CliRunner().invoke(app, ["list", "models"], catch_exceptions=False).stdout
    header, *lines = shown.splitlines()
    assert header.split() == ["MODEL", "ALIAS", "FAMILY", "INPUT", "TEXT", "SOURCE"]
    for line, spec in zip(lines, catalog().values(), strict=True):
        height, width = spec.input.image_size
        columns = [spec.name, ", ".join(spec.aliases) or "-", spec.family, f"{height}x{width}"]
        assert line.split("  ")[0] == spec.name
        assert " ".join(line.split()) == " ".join([*columns, str(spec.input.text_tokens or "-"), spec.source])


def test_the_keys_of_model_files() -> None:
    assert {*ModelSpec.model_fields, *HuggingFaceSpec.model_fields, *ModuleSpec.model_fields} == MODEL_KEYS


WRONG = {
    "an unknown key": (content(interactoin=1), "did you mean interaction?"),
    "no family": ({name: value for name, value in content().items() if name != "family"}, "'family' is missing"),
    "no input": ({name: value for name, value in content().items() if name != "input"}, "'input' is missing"),
    "a name that is a number": (content(name=5), "name: "),
    "aliases that are one word": (content(aliases="vilt"), "aliases: "),
    "no list of aliases": (content(aliases=None), "aliases: "),
    "a size that is a text": (content(input={"image_size": "384x640"}), "input.image_size: "),
    "a size of texts": (content(input={"image_size": ["a", "b"]}), "input.image_size.0: "),
    "an input that is a list": (content(input=[1]), "input: "),
    "a list": ([1, 2], "the file must be a mapping"),
}


@pytest.mark.parametrize(("model", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_reported(models: Path, model: object, message: str) -> None:
    (models / "right.yaml").write_text(yaml.safe_dump(content(name="right", aliases=[])))
    (models / "wrong.yaml").write_text(yaml.safe_dump(model))
    assert refusal().startswith(f"{models / 'wrong.yaml'}: ")
    assert message in refusal()


def test_what_is_no_yaml_is_reported(models: Path) -> None:
    (models / "wrong.yaml").write_text("name: [")
    assert refusal().startswith(f"{models / 'wrong.yaml'}: line 2 not valid YAML: ")


def test_two_models_of_one_name_are_reported(models: Path) -> None:
    (models / "a.yaml").write_text(yaml.safe_dump(content(name="a", aliases=["same"])))
    (models / "b.yaml").write_text(yaml.safe_dump(content(name="b", aliases=["same"])))
    assert refusal() == f"{models}: more than one model is called same"
