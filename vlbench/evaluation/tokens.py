"""The tokenizer that a model was trained with, from the files that come with its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.files.json_files import read_json
from vlbench.inputs import padded_ids, word_spans
from vlbench.specs import AnySpec, HuggingFaceSpec
from vlbench.tasks.wordpiece import WordPiece

JSON_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json")
OTHER_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "merges.txt", "spiece.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """Attributes:
    ids: turns a text into ids, from its first token to its end token.
    pad: the id after the end of a shorter text.
    spans: for each id of a text of any length, where its word begins and ends; None for special tokens such as [SEP].
    mask: the id of [MASK], if there is one.
    decode: turns ids into text, without special tokens; None if ids have no meaning.
    """

    ids: Callable[[str], list[int]]
    pad: int
    spans: Callable[[str], list[tuple[int, int] | None]]
    mask: int | None = None
    decode: Callable[[list[int]], str] | None = None


def tokenizer_for(
    spec: AnySpec, *, weights: Path | None, vocabulary: Path | None, fallback: Path | None = None
) -> Tokenizer:
    """The tokenizer of `vocabulary`, else of the weights' folder, else of `fallback`.

    With random weights and no vocabulary, ids have no meaning. Raises InputError if trained weights have no vocabulary,
    or if the vocabulary does not fit the model.

    Args:
        weights: their file or folder; None if they are random.
        vocabulary: a `vocab.txt`, or the folder of a tokenizer.
        fallback: the same, for weights that come without one.
    """
    size = spec.text.vocabulary if spec.text else 0
    source = vocabulary or _folder_with_vocabulary(weights) or fallback
    if source is None:
        if weights is not None:
            raise InputError(
                f"{spec.name}: {weights} comes without a vocabulary; --vocabulary FILE names its vocab.txt"
            )
        pad = min(spec.text.padding, size - 1) if spec.text else 0
        return Tokenizer(
            ids=lambda text: _without_padding(text, spec), pad=pad, spans=lambda text: [None, *word_spans(text), None]
        )
    prefers_vocabulary = not isinstance(spec, HuggingFaceSpec) or not _has_tokenizer(source)
    if source.is_dir() and not (prefers_vocabulary and (source / "vocab.txt").is_file()):
        return _of_transformers(source, spec.name, size)
    wordpiece = WordPiece(source)
    _check_size(spec.name, source, len(wordpiece), size)
    most = spec.input.text_tokens
    return Tokenizer(
        ids=lambda text: wordpiece.ids(text, most),
        pad=wordpiece.pieces["[PAD]"],
        spans=wordpiece.spans,
        mask=wordpiece.pieces.get("[MASK]"),
    )


def _without_padding(text: str, spec: AnySpec) -> list[int]:
    ids, length = padded_ids(text, spec)
    return ids[:length]


def _folder_with_vocabulary(weights: Path | None) -> Path | None:
    """The folder of the weights, if it holds a vocabulary or a tokenizer."""
    if weights is None:
        return None
    folder = weights if weights.is_dir() else weights.parent
    return folder if (folder / "vocab.txt").is_file() or _has_tokenizer(folder) else None


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in OTHER_TOKENIZERS)


def _of_transformers(folder: Path, name: str, size: int) -> Tokenizer:
    from transformers import AutoTokenizer  # noqa: PLC0415  slow to import

    for path in (folder / name for name in JSON_FILES if (folder / name).exists()):
        if not isinstance(read_json(path, option="--vocabulary ", any_number=True), dict):
            raise InputError(f"--vocabulary {path}: not a JSON object, as save_pretrained writes it")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer("a word")  # a damaged one fails here, if not before
    except Exception as error:  # the tokenizers library raises Exception itself
        why = (str(error).strip().split("\n") or [""])[0][:120]
        raise InputError(f"--vocabulary {folder}: transformers reads no tokenizer there ({why})") from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise InputError(f"--vocabulary {folder}: its tokenizer has no words; vocab.txt or tokenizer.json is missing")
    _check_size(name, folder, len(tokenizer), size)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    return Tokenizer(
        ids=lambda text: list(tokenizer(text)["input_ids"]),
        pad=pad,
        spans=lambda text: _spans(tokenizer, text),
        mask=tokenizer.mask_token_id,
        decode=lambda ids: tokenizer.decode(ids, skip_special_tokens=True).strip(),
    )


def _spans(tokenizer: Any, text: str) -> list[tuple[int, int] | None]:
    """As `Tokenizer.spans`. Raises InputError for a tokenizer in Python, which does not know the word of a token."""
    if not tokenizer.is_fast:
        raise InputError(f"{tokenizer.name_or_path}: a slow tokenizer, which gives no word of a token; vocab.txt works")
    encoded = tokenizer(text)
    return [None if word is None else tuple(encoded.word_to_chars(word)) for word in encoded.word_ids()]


def _check_size(name: str, source: Path, pieces: int, embeddings: int) -> None:
    if pieces > embeddings:
        raise InputError(
            f"--vocabulary {source}: {pieces:,} pieces, but {name} has embeddings for {embeddings:,}; another model's?"
        )
