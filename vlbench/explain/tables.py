"""What was found, for the terminal and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from vlbench.explain.explanation import AttentionMap, Explanation
from vlbench.explain.patterns import Pattern

DIGITS = 6


def render(explanation: Explanation) -> Table | None:
    """Which heads of each layer have which pattern; None for a model without text and image in one sequence."""
    found = [one for one in explanation.maps if one.joint]
    if not found:
        return None
    table = Table(title=f"{explanation.model}: heads by pattern of attention", title_justify="left", box=None)
    table.add_column("layer", justify="right")
    for pattern in Pattern:
        table.add_column(pattern.value)
    counts = dict.fromkeys(Pattern, 0)
    for one in found:
        heads = _heads_by_pattern(explanation, one)
        for pattern, own in heads.items():
            counts[pattern] += len(own)
        table.add_row(one.layer, *(" ".join(map(str, heads[pattern])) for pattern in Pattern))
    every = sum(counts.values())
    table.add_section()
    table.add_row("heads", *(Text(f"{count} of {every}" if count else "0", "bold") for count in counts.values()))
    return table


def _heads_by_pattern(explanation: Explanation, one: AttentionMap) -> dict[Pattern, list[int]]:
    """Heads, counted from 1."""
    heads: dict[Pattern, list[int]] = {pattern: [] for pattern in Pattern}
    for head, score in enumerate(explanation.pattern_scores(one) or (), start=1):
        heads[score.pattern].append(head)
    return heads


def to_json(explanation: Explanation, words: Sequence[int], figures: Sequence[Path]) -> str:
    """Everything but the attention itself; `words` are those drawn."""
    content = {
        "schema": 1,
        "model": explanation.model,
        "weights": explanation.weights,
        "image": str(explanation.image),
        "text": explanation.text,
        "tokens": explanation.labels,
        "attention": [_map(explanation, one) for one in explanation.maps],
        "alignment": _alignment(explanation, words),
        "figures": [str(path) for path in figures],
    }
    return json.dumps(content, indent=1) + "\n"


def _map(explanation: Explanation, one: AttentionMap) -> dict[str, Any]:
    """A layer's heads; without patterns where its attention is not of one sequence."""
    scores = explanation.pattern_scores(one)
    heads: list[dict[str, Any]] = [{"head": head} for head in range(1, one.heads + 1)]
    for head, score in zip(heads, scores or (), strict=False):
        head["pattern"] = score.pattern.value
        head |= {name: _short(getattr(score, name)) for name in ("vertical", "diagonal", "block")}
    return {"layer": one.layer, "queries": one.queries, "keys": one.keys, "heads": heads}


def _alignment(explanation: Explanation, words: Sequence[int]) -> dict[str, Any] | None:
    """The shares of each word over the places, whose boxes are shares of the photo's sides."""
    found, places = explanation.alignment, explanation.places
    if found is None:
        return None
    return {
        "method": "ipot",
        "beta": found.beta,
        "iterations": found.iterations,
        "grid": places.grid,
        "boxes": [[_short(side) for side in box] for box in places.boxes.tolist()],
        "words": [
            {"word": explanation.words[place].text, "shares": [_short(s) for s in found.shares[place].tolist()]}
            for place in words
        ],
    }


def _short(value: float) -> float:
    return round(value, DIGITS)
