"""Tokens come from a vocabulary, from the weights' folder, or have no meaning for random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vlbench.errors import InputError
from vlbench.evaluation.adapter import load_model_under_test
from vlbench.evaluation.task_head import TaskHead
from vlbench.evaluation.tokens import tokenizer_for
from vlbench.inputs import token_ids
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "sat", "##s"]


@pytest.fixture
def spec() -> ModelSpec:
    return catalog()["vilt-b32"].tiny()


def write_vocabulary(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    return folder / "vocab.txt"


def test_random_weights_need_no_vocabulary(spec: ModelSpec) -> None:
    assert spec.text
    found = tokenizer_for(spec, weights=None, vocabulary=None)
    assert found.ids("A cat sat.") == token_ids("A cat sat.", spec.text.vocabulary)


@pytest.mark.parametrize("beside", [True, False])
def test_the_vocabulary_of_the_weights(tmp_path: Path, spec: ModelSpec, beside: bool) -> None:
    """Next to a file, or in the folder."""
    vocabulary = write_vocabulary(tmp_path / "weights")
    weights = vocabulary.parent / "model.pt" if beside else vocabulary.parent
    if beside:
        weights.write_bytes(b"")
    found = tokenizer_for(spec, weights=weights, vocabulary=None)
    assert found.ids("A cats SAT up") == [2, 5, 6, 8, 7, 1, 3]
    assert (found.pad, found.mask) == (0, 4)


def test_a_named_vocabulary_comes_first(tmp_path: Path, spec: ModelSpec) -> None:
    write_vocabulary(tmp_path / "weights")
    other = tmp_path / "other.txt"
    other.write_text("\n".join([*PIECES[:5], "cat", "a"]))
    assert tokenizer_for(spec, weights=tmp_path / "weights", vocabulary=other).ids("a cat") == [2, 6, 5, 3]


def test_a_tokenizer_of_transformers(tmp_path: Path, spec: ModelSpec) -> None:
    from transformers import BertTokenizerFast  # noqa: PLC0415

    write_vocabulary(tmp_path / "v")
    BertTokenizerFast(vocab=str(tmp_path / "v" / "vocab.txt")).save_pretrained(tmp_path / "t")
    (tmp_path / "t" / "vocab.txt").unlink(missing_ok=True)
    found = tokenizer_for(spec, weights=tmp_path / "t", vocabulary=None)
    assert found.ids("A cats sat") == [2, 5, 6, 8, 7, 3]
    assert (found.pad, found.mask) == (0, 4)


def test_what_is_refused(tmp_path: Path, spec: ModelSpec) -> None:
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match=r"comes without a vocabulary; --vocabulary FILE"):
        tokenizer_for(spec, weights=tmp_path / "bare", vocabulary=None)
    large = tmp_path / "large.txt"
    large.write_text("\n".join([*PIECES, *(f"word{number}" for number in range(300))]))
    with pytest.raises(InputError, match=r"309 pieces, but vilt-b32-tiny has embeddings for 128; another model's\?"):
        tokenizer_for(spec, weights=None, vocabulary=large)
    (tmp_path / "bare" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "NoSuchTokenizer"}))
    with pytest.raises(InputError, match=r"transformers reads no tokenizer there") as error:
        tokenizer_for(spec, weights=tmp_path / "bare", vocabulary=None)
    assert "\n" not in str(error.value)


def test_visualbert_reads_its_answer_at_the_mask(tmp_path: Path) -> None:
    spec = catalog()["visualbert"].tiny().for_task("answers", 3)
    ready = load_model_under_test(
        TaskHead(spec=spec, postprocess=None),
        vocabulary=write_vocabulary(tmp_path),
        features=None,
        device=torch.device("cpu"),
        precision="fp32",
    )
    assert ready.text(["a cat"]).ids.tolist() == [[2, 5, 6, 4, 3]]
    longest = spec.input.text_tokens
    assert ready.text(["cat " * 50]).ids.tolist() == [[2, *[6] * (longest - 3), 4, 3]]


EMPTY_WORDPIECE = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "vocab": {"a": 0}}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tokenizer.json", "x", "tokenizer.json: not JSON"),
        ("tokenizer.json", "[]", "tokenizer.json: not a JSON object"),
        ("tokenizer.json", "[" * 100_000, "tokenizer.json: nested more than 200 deep"),
        ("tokenizer.json", "{}", "transformers reads no tokenizer there"),
        ("tokenizer.json", json.dumps({"added_tokens": 5, "model": 5}), "transformers reads no tokenizer there"),
        (
            "tokenizer.json",
            json.dumps({"added_tokens": [], "model": EMPTY_WORDPIECE | {"max_input_chars_per_word": 100}}),
            "transformers reads no tokenizer there",
        ),
        ("tokenizer_config.json", "null", "tokenizer_config.json: not a JSON object"),
        ("tokenizer_config.json", '{"tokenizer_class": 5}', "transformers reads no tokenizer there"),
        ("tokenizer_config.json", '{"tokenizer_class": "BertTokenizer"}', "its tokenizer has no words"),
        ("tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["x.E", null]}}', "contains custom code"),
    ],
)
def test_damaged_files_of_a_tokenizer(tmp_path: Path, spec: ModelSpec, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says) as error:
        tokenizer_for(spec, weights=None, vocabulary=tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value).replace(str(tmp_path), "")) <= 300
