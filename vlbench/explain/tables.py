"""Attention by pattern as a table, and an explanation as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from vlbench.explain.explanation import AttentionMap, Explanation
from vlbench.explain.patterns import Pattern
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.writers import to_json

DIGITS = 6


def heads_table(explanation: Explanation) -> Table | None:
    """The heads of each layer, counted from 1, by pattern of attention; None for a model whose text and image are not
    in one sequence."""
    rows: list[tuple[str, dict[Pattern, str]]] = []
    counts: Counter[Pattern] = Counter()
    for one in explanation.maps:
        patterns = [score.pattern for score in explanation.pattern_scores(one) or ()] if one.joint else []
        counts.update(patterns)
        heads = {pattern: _numbers(patterns, pattern) for pattern in Pattern}
        rows += [(one.layer, heads)] if one.joint else []
    if not rows:
        return None
    total = counts.total()
    rows.append(("heads", {p: f"{counts[p]} of {total}" if counts[p] else "0" for p in Pattern}))
    columns = [TableColumn[Any]("layer", itemgetter(0), str)]
    columns += [TableColumn[Any](p.value, itemgetter(p)).of(itemgetter(1)) for p in Pattern]
    return Table.of(columns, rows, caption=f"{explanation.model}: heads by pattern of attention")


def _numbers(patterns: Sequence[Pattern], chosen: Pattern) -> str:
    return " ".join(str(head) for head, pattern in enumerate(patterns, start=1) if pattern == chosen)


def explanation_json(explanation: Explanation, words: Sequence[int], figures: Sequence[Path]) -> str:
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
    return to_json(content)


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
