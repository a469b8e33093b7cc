"""Numbers and names of model files, with the bounds within which a part can be built at all.

Whether all parts together fit into memory is checked when they are built.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


def not_truth(value: Any) -> Any:
    """Raises ValueError for true and false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("input should be a valid number")
    return value


def _one_line(text: str) -> str:
    """Raises ValueError for a text with a line break or another control character."""
    if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text):
        raise ValueError("holds a line break or another control character")
    return text


Layers = Annotated[int, Field(strict=True, ge=1, le=1000)]
Width = Annotated[int, Field(strict=True, ge=1, le=65_536)]  # numbers in a token, or channels
Side = Annotated[int, Field(strict=True, ge=1, le=4096)]  # pixels, or cells of a grid
Amount = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]  # of answers, boxes or classes
PoolSize = Annotated[int, Field(strict=True, ge=1, le=256)]  # cells of a side
TextLength = Annotated[int, Field(strict=True, ge=0, le=16_384)]  # of a text
TokenId = Annotated[int, Field(strict=True, ge=0, lt=10_000_000)]
Positions = Annotated[int, Field(strict=True, ge=2, le=16_384)]
CausalPositions = Annotated[int, Field(strict=True, ge=2, le=4096)]  # they have a mask of positions x positions
Vocabulary = Annotated[int, Field(strict=True, ge=4, le=10_000_000)]  # a word, [CLS], [SEP] and [PAD] at least
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Number = Annotated[float, BeforeValidator(not_truth), Field(ge=-1e6, le=1e6)]
Fraction = Annotated[float, BeforeValidator(not_truth), Field(ge=0, le=1)]
Factor = Annotated[float, BeforeValidator(not_truth), Field(ge=1e-6, le=1e6)]
Epsilon = Annotated[float, BeforeValidator(not_truth), Field(gt=0, le=1)]
Size = tuple[Side, Side]  # height, width
OneLine = Annotated[str, AfterValidator(_one_line)]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)]
Weights = Annotated[OneLine, Field(min_length=1)]
