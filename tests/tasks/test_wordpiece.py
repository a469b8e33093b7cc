"""WordPiece gives the ids of BERT's own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlbench.errors import InputError
from vlbench.tasks.wordpiece import WordPiece

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "##s", "play", "##ing", ",", "caf", "##e"]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return tmp_path


def test_every_golden_text_has_its_ids(reference_data: Path) -> None:
    tokenizer = WordPiece(reference_data / "bert_vocab")
    cases = json.loads((reference_data / "golden" / "wordpiece_golden.json").read_text(encoding="utf-8"))["cases"]
    assert len(tokenizer) == 30522
    assert len(cases) > 100
    for case in cases:
        assert tokenizer.words(case["text"]) == case["wordpiece"]
        assert tokenizer.ids(case["text"], 512) == [101, *case["ids"], 102]


def test_pieces_of_words_marks_and_accents(vocabulary: Path) -> None:
    tokenizer = WordPiece(vocabulary)
    assert tokenizer.words("A dogs, playing Café xyz") == [
        "a",
        "dog",
        "##s",
        ",",
        "play",
        "##ing",
        "caf",
        "##e",
        "[UNK]",
    ]
    assert tokenizer.ids("a dog", 10) == [2, 4, 5, 3]
    assert tokenizer.ids("", 10) == [2, 3]


def test_a_long_text_is_cut_before_its_end_token(vocabulary: Path) -> None:
    assert WordPiece(vocabulary / "vocab.txt").ids("a dog a dog a dog", 4) == [2, 4, 5, 3]


def test_a_cased_vocabulary_keeps_capitals(vocabulary: Path) -> None:
    (vocabulary / "vocab.txt").write_text("\n".join([*PIECES, "Dog"]))
    assert WordPiece(vocabulary).words("Dog dog") == ["Dog", "dog"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a\nb\n", r"\[PAD\], \[UNK\], \[CLS\], \[SEP\] is missing"), (b"\xff\xfe", "line 1 is not text in UTF-8")],
)
def test_files_that_are_not_a_vocabulary(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(InputError, match=said):
        WordPiece(tmp_path)
    with pytest.raises(InputError, match="published weights need their vocabulary: --vocabulary FILE"):
        WordPiece(tmp_path / "nowhere.txt")
