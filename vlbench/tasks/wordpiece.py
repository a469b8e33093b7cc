"""Turns texts into token ids by a checkpoint's vocabulary (WordPiece: Wu et al. 2016, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


class WordPiece:
    """BERT's tokenizer with the vocabulary of a `vocab.txt`, one piece per line.

    Raises InputError if the file cannot be read or lacks BERT's special pieces.

    Args:
        path: the file, or its folder.
        lower_case: whether to lower-case texts, as for uncased vocabularies; by default, if no piece other than the
            special ones has a capital letter.
    """

    def __init__(self, path: Path, *, lower_case: bool | None = None) -> None:
        file = path / "vocab.txt" if path.is_dir() else path
        pieces = _pieces(file)
        missing = [piece for piece in SPECIAL if piece not in pieces]
        if missing:
            raise InputError(f"{file}: not a vocabulary of BERT: {', '.join(missing)} is missing")
        if lower_case is None:
            lower_case = not any(piece != piece.lower() for piece in pieces if not piece.startswith("["))
        self.pieces = pieces
        self.tokenizer = _tokenizer(pieces, lower_case)

    def __len__(self) -> int:
        return len(self.pieces)

    def ids(self, text: str, most: int) -> list[int]:
        """The ids of [CLS], the text and [SEP]; the end of the text is cut off to keep them within `most`."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids[: most - 2]
        return [self.pieces["[CLS]"], *ids, self.pieces["[SEP]"]]

    def spans(self, text: str) -> list[tuple[int, int] | None]:
        """For each piece, where its word begins and ends in the text; None for [CLS] and [SEP]. Nothing is cut off."""
        encoded = self.tokenizer.encode(text, add_special_tokens=False)
        return [None, *(None if word is None else encoded.word_to_chars(word) for word in encoded.word_ids), None]

    def words(self, text: str) -> Sequence[str]:
        """The pieces of the text, as strings."""
        return self.tokenizer.encode(text, add_special_tokens=False).tokens


def _pieces(file: Path) -> dict[str, int]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read: {error.strerror}; published weights need their vocabulary: --vocabulary FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not a text file in UTF-8") from error
    if lines and lines[-1] == "":
        lines.pop()
    return {line.rstrip("\r"): number for number, line in enumerate(lines)}


def _tokenizer(pieces: dict[str, int], lower_case: bool) -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers  # noqa: PLC0415  slow to import

    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
