"""`vlbench explain` as a user runs it: figures, the table, JSON, and bad input refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.helpers import write_tiny
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.native import save_model
from vlbench.cli.main import app
from vlbench.errors import InputError
from vlbench.explain.patterns import Pattern
from vlbench.specs.catalog import catalog

TEXT = "a cat sits on a red mat"
QUICK = ("--device", "cpu", "--threads", "1")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)).save(path)
    return path


def explain(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["explain", *map(str, arguments), *QUICK])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_figures_and_a_table(tmp_path: Path, photo: Path) -> None:
    out = tmp_path / "out"
    result = explain("--model", write_tiny(tmp_path), "--image", photo, "--text", TEXT, "--out", out, "--layer", 2)
    assert sorted(path.name for path in out.glob("*.png")) == ["attention-layer-2.png", "attention.png", "plan.png"]
    assert len(list(out.glob("*.svg"))) == 3
    header, first, *_ = [line.split() for line in result.stdout.splitlines()[1:]]
    assert header == ["layer", *" ".join(Pattern).split()]
    assert first == ["1", "1", "2", "3", "4"]  # random weights attend uniformly
    assert "heads  0" in result.stdout
    assert "weights are random, so the figures have no meaning" in result.stderr
    assert "plan.png" in result.stderr


def test_json_of_trained_weights(tmp_path: Path, photo: Path) -> None:
    model = write_tiny(tmp_path)
    spec = catalog()["vilt-b32"].tiny()
    save_model(tmp_path / "weights" / "model.safetensors", build(spec), spec)
    (tmp_path / "weights" / "vocab.txt").write_text("\n".join("[PAD] [UNK] [CLS] [SEP] a cat sit ##s on red".split()))
    result = explain(
        *("--model", model, "--weights", tmp_path / "weights", "--image", photo, "--text", TEXT),
        *("--words", "mat,Sits", "--format", "json", "--out", tmp_path / "out"),
    )
    content = json.loads(result.stdout)
    assert content["schema"] == 1
    assert content["weights"] == str(tmp_path / "weights")
    assert content["tokens"] == ["[CLS]", "a", "cat", "sits", "...", "on", "a", "red", "mat", "[SEP]"]
    assert [len(layer["heads"]) for layer in content["attention"]] == [4, 4]
    assert {head["pattern"] for layer in content["attention"] for head in layer["heads"]} <= set(Pattern)
    alignment = content["alignment"]
    assert (alignment["beta"], alignment["iterations"], alignment["grid"]) == (0.5, 1000, [4, 6])
    assert [word["word"] for word in alignment["words"]] == ["sits", "mat"]
    for word in alignment["words"]:
        assert len(word["shares"]) == len(alignment["boxes"]) == 24
        assert sum(word["shares"]) == pytest.approx(1, abs=1e-4)
    assert [Path(path).name for path in content["figures"]] == [
        *("plan.png", "plan.svg", "attention.png", "attention.svg")
    ]
    assert "random" not in result.stderr


def test_two_streams_have_attention_and_no_patterns(tmp_path: Path, photo: Path) -> None:
    command = ("--model", write_tiny(tmp_path, "vilbert"), "--image", photo, "--text", TEXT, "--out", tmp_path / "out")
    result = explain(*command, "--format", "json")
    content = json.loads(result.stdout)
    assert all("pattern" not in head for layer in content["attention"] for head in layer["heads"])
    assert "no patterns; UNITER's need text and image in one sequence" in result.stderr
    assert (tmp_path / "out" / "attention.png").is_file()


@pytest.mark.parametrize("pieces", [None, "[PAD] [UNK] [CLS] [SEP] so zebra"])
def test_a_text_that_the_model_does_not_read_to_its_end_is_reported(
    tmp_path: Path, photo: Path, pieces: str | None
) -> None:
    vocabulary: tuple[object, ...] = ()
    if pieces:
        (tmp_path / "vocab.txt").write_text("\n".join(pieces.split()))
        vocabulary = ("--vocabulary", tmp_path / "vocab.txt")
    text = f"{'so ' * 20} zebra"
    command = ("--model", write_tiny(tmp_path), "--image", photo, "--text", text, "--out", tmp_path / "o")
    result = explain(*command, *vocabulary)
    assert "reads 20 tokens, and not the end of the text: so so zebra" in result.stderr


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"--image": "nowhere.jpg"}, "--image nowhere.jpg: no such file"),
        ({"--text": " "}, "--text: the text has no words"),
        ({"--layer": "7"}, "--layer 7: vilt-b32-tiny has no such layer; it has 1 to 2"),
        ({"--words": "cat,dog"}, "--words dog: not in the text as the model reads it; its words are a, cat, sits"),
        ({"--model": "scan"}, "these can be explained: "),
        ({"--weights": "nowhere"}, "weights nowhere: no such file or folder"),
        ({"--weights": "uniter=x"}, "'uniter' is not one of the selected models"),
        ({"--vocabulary": "nowhere.txt"}, "nowhere.txt: no such file"),
        ({"--features": "nowhere.tsv"}, "nowhere.tsv: no such file"),
        ({"--out": "photo.png"}, "is a file, not a folder"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"--model": str(write_tiny(tmp_path)), "--image": str(photo), "--text": TEXT, "--out": "out"} | changed
    with pytest.raises(InputError) as error:
        explain(*(part for option in options.items() for part in option))
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
