"""Words of a text, their tokens, and which of them are drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.errors import InputError
from vlbench.evaluation.tokens import tokenizer_for
from vlbench.explain.explanation import Word, words_of, words_to_draw
from vlbench.specs.catalog import catalog

PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] a cat sit ##s on ##ing the mat don ' t . , cafe".split()


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES))
    return path


def tokens_of(vocabulary: Path | None, text: str) -> tuple[list[int], list[tuple[int, int] | None]]:
    tokenizer = tokenizer_for(catalog()["vilt-b32"], weights=None, vocabulary=vocabulary)
    return tokenizer.ids(text), tokenizer.spans(text)


def test_the_pieces_of_a_word_are_one_word_as_it_was_typed(vocabulary: Path) -> None:
    ids, spans = tokens_of(vocabulary, "A cat Sits on the Café, zebra.")
    assert [PIECES[token] for token in ids] == "[CLS] a cat sit ##s on the cafe , [UNK] . [SEP]".split()
    assert words_of("A cat Sits on the Café, zebra.", spans) == (
        Word(text="A", tokens=(1,)),
        Word(text="cat", tokens=(2,)),
        Word(text="Sits", tokens=(3, 4)),
        Word(text="on", tokens=(5,)),
        Word(text="the", tokens=(6,)),
        Word(text="Café", tokens=(7,)),
        Word(text=",", tokens=(8,)),
        Word(text="zebra", tokens=(9,)),
        Word(text=".", tokens=(10,)),
    )


def test_there_is_a_span_for_what_is_cut_off_too(vocabulary: Path) -> None:
    ids, spans = tokens_of(vocabulary, "cat " * 60)
    assert (len(ids), len(spans)) == (40, 62)
    assert len(words_of("cat " * 60, spans)) == 60
    assert spans[0] is spans[-1] is None


@pytest.mark.parametrize("text", ["don't sit", "a\tcat\n", "cat", "the the the", "50% of a cat's mat"])
def test_there_is_a_span_for_each_id(vocabulary: Path, text: str) -> None:
    for source in (vocabulary, None):
        ids, spans = tokens_of(source, text)
        assert len(ids) == len(spans)
        assert all(text[slice(*span)].strip() for span in spans[1:-1] if span)
        assert spans[0] is spans[-1] is None


def test_a_tokenizer_of_transformers_gives_the_same(vocabulary: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "saved"
    transformers.BertTokenizer(str(vocabulary)).save_pretrained(folder)
    text = "A cat sits on the mat, don't sit"
    assert tokens_of(folder, text) == tokens_of(vocabulary, text)


WORDS = tuple(
    Word(text=text, tokens=(index + 1,)) for index, text in enumerate("Is there a cat on the other Cat ?".split())
)


@pytest.mark.parametrize(
    ("names", "drawn"),
    [
        (None, ["cat", "other", "Cat"]),
        ("cat", ["cat", "Cat"]),
        ("Other, is", ["Is", "other"]),
        ("the", ["the"]),
        ("?", ["?"]),
    ],
)
def test_which_words_are_drawn(names: str | None, drawn: list[str]) -> None:
    assert [WORDS[index].text for index in words_to_draw(WORDS, names)] == drawn


def test_a_text_of_function_words_is_drawn_whole() -> None:
    assert words_to_draw(WORDS[:3], None) == [0, 1, 2]


@pytest.mark.parametrize(("names", "message"), [("dog", "--words dog: not in the text"), (" ,", "no word named")])
def test_a_word_that_is_not_there_is_refused(names: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        words_to_draw(WORDS, names)
    assert "\n" not in str(error.value)
