"""The tokens that a model was trained with, from what its weights bring along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.inputs import padded_ids, word_spans
from vlbench.specs import AnySpec, HuggingFaceSpec
from vlbench.tasks.wordpiece import WordPiece

OTHER_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "merges.txt", "spiece.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """Attributes:
    ids: of a text, from its first token to its end token.
    pad: what stands behind a shorter text.
    mask: the id of [MASK], if there is one.
    words: of ids that a model answers with, without marks such as [SEP]; None where ids have no meaning.
    spans: for each id of a text of any length, where in it its word begins and ends; None for marks such as [SEP].
    """

    ids: Callable[[str], list[int]]
    pad: int
    spans: Callable[[str], list[tuple[int, int] | None]]
    mask: int | None = None
    words: Callable[[list[int]], str] | None = None


def tokenizer_for(
    spec: AnySpec, *, weights: Path | None, vocabulary: Path | None, otherwise: Path | None = None
) -> Tokenizer:
    """The tokenizer that is named, else that of the weights' folder; for random weights ids without a meaning.

    Raises InputError where weights come without a vocabulary, or with one of another size than the model's.

    Args:
        weights: where they lie, a file or a folder; None where they are random.
        vocabulary: a `vocab.txt`, or a folder of a tokenizer.
        otherwise: the same, for weights that bring none.
    """
    size = spec.text.vocabulary if spec.text else 0
    source = vocabulary or _beside(weights) or otherwise
    if source is None:
        if weights is not None:
            raise InputError(
                f"{spec.name}: {weights} comes without a vocabulary; --vocabulary FILE names its vocab.txt"
            )
        pad = min(spec.text.padding, size - 1) if isinstance(spec, HuggingFaceSpec) else 0
        return Tokenizer(
            ids=lambda text: _without_padding(text, spec), pad=pad, spans=lambda text: [None, *word_spans(text), None]
        )
    bare = not isinstance(spec, HuggingFaceSpec) or not _has_tokenizer(source)
    if source.is_dir() and not (bare and (source / "vocab.txt").is_file()):
        return _of_transformers(source, spec.name, size)
    words = WordPiece(source)
    _check_size(spec.name, source, len(words), size)
    most = spec.input.text_tokens
    return Tokenizer(
        ids=lambda text: words.ids(text, most),
        pad=words.pieces["[PAD]"],
        spans=words.spans,
        mask=words.pieces.get("[MASK]"),
    )


def _without_padding(text: str, spec: AnySpec) -> list[int]:
    ids, real = padded_ids(text, spec)
    return ids[:real]


def _beside(weights: Path | None) -> Path | None:
    if weights is None:
        return None
    folder = weights if weights.is_dir() else weights.parent
    return folder if (folder / "vocab.txt").is_file() or _has_tokenizer(folder) else None


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in OTHER_TOKENIZERS)


def _of_transformers(folder: Path, name: str, size: int) -> Tokenizer:
    from transformers import AutoTokenizer  # noqa: PLC0415  slow to import

    try:
        found: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        why = str(error).strip().split("\n")[0][:120]
        raise InputError(f"--vocabulary {folder}: transformers reads no tokenizer there ({why})") from error
    _check_size(name, folder, len(found), size)
    pad = found.pad_token_id if found.pad_token_id is not None else 0
    return Tokenizer(
        ids=lambda text: list(found(text)["input_ids"]),
        pad=pad,
        spans=lambda text: _spans(found, text),
        mask=found.mask_token_id,
        words=lambda ids: found.decode(ids, skip_special_tokens=True).strip(),
    )


def _spans(found: Any, text: str) -> list[tuple[int, int] | None]:
    if not found.is_fast:
        raise InputError(f"{found.name_or_path}: a tokenizer that does not tell the word of a piece; vocab.txt works")
    encoded = found(text)
    return [None if word is None else tuple(encoded.word_to_chars(word)) for word in encoded.word_ids()]


def _check_size(name: str, source: Path, found: int, wanted: int) -> None:
    if found > wanted:
        raise InputError(
            f"--vocabulary {source}: {found:,} pieces, but {name} has embeddings for {wanted:,}; another model's?"
        )
