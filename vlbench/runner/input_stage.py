"""The stage `input`: one example from its files to tensors on the device. It comes before the pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from vlbench.errors import InputError
from vlbench.measuring.latency import PassTimer
from vlbench.runner.cells import Cell
from vlbench.runner.workload import prepare_images, prepare_text
from vlbench.specs import RANDOM
from vlbench.specs.base import PRETRAINED
from vlbench.specs.weights import weights_file
from vlbench.tasks.wordpiece import WordPiece

LEAST_SAMPLES = 3
Tokenize = Callable[[str], list[int]]


def time_input(cell: Cell, seconds: float) -> tuple[float, ...]:
    """Milliseconds of preparing one example, again and again, whatever the batch; the first is not among them.

    Images are read from the file, decoded, resized and normalised, each image of a pair by itself; the text becomes
    padded ids. A model that reads features of regions is given them, so only its text is prepared. Empty for a module
    that reads neither image nor text.
    """
    example = cell.model_copy(update={"batch": 1})
    images = cell.spec.images if cell.spec.reads_pixels else 0
    if not images and cell.spec.text is None:
        return ()  # an external module that reads neither
    weights = cell.spec.weights
    tokenize = None if weights in (RANDOM, PRETRAINED) else tokenizer_of(weights_file(weights).parent)

    def prepare_example() -> object:
        return prepare_text(example, tokenize), [prepare_images(example, 1) for _ in range(images)]

    timer = PassTimer(prepare_example, {}, torch.device(cell.device))
    return tuple(timer.end_to_end(seconds, least=LEAST_SAMPLES, discarded=1))


def tokenizer_of(folder: Path) -> Tokenize | None:
    """The tokenizer that lies beside weights: `tokenizer.json`, else `vocab.txt`; None without either.

    Raises InputError where it cannot be read.
    """
    file = folder / "tokenizer.json"
    if file.is_file():
        from tokenizers import Tokenizer  # noqa: PLC0415  slow to import

        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # which is what the library raises
            raise InputError(f"{file}: no tokenizer that can be read ({str(error)[:80]})") from error
        return lambda text: tokenizer.encode(text).ids
    if (folder / "vocab.txt").is_file():
        wordpiece = WordPiece(folder)
        return lambda text: wordpiece.ids(text, len(text) + 2)
    return None
