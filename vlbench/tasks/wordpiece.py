"""Turns texts into token ids by a checkpoint's vocabulary (WordPiece: Wu et al. 2016, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.errors import InputError
from vlbench.files.text import read_lines

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
        if not file.exists():
            raise InputError(f"{file}: no such file; published weights need their vocabulary: --vocabulary FILE")
        lines = read_lines(file)
        pieces = {piece: number for number, piece in enumerate(lines)}
        missing = [piece for piece in SPECIAL if piece not in pieces]
        if missing:
            raise InputError(f"{file}: not a vocabulary of BERT: {', '.join(missing)} is missing")
        if lower_case is None:
            lower_case = not any(piece != piece.lower() for piece in pieces if not piece.startswith("["))
        self.pieces = pieces
        self.size = len(lines)
        self.tokenizer = _tokenizer(pieces, lower_case)

    def __len__(self) -> int:
        """How many ids there are; a piece that stands twice has the last of its ids."""
        return self.size

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


def _tokenizer(pieces: dict[str, int], lower_case: bool) -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers  # noqa: PLC0415  slow to import

    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer
