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
    """The heads of each layer, counted from 1, by attention pattern; None unless text and image are one sequence."""
    rows: list[tuple[str, dict[Pattern, str]]] = []
    counts: Counter[Pattern] = Counter()
    for attention in explanation.maps:
        scores = explanation.pattern_scores(attention)
        if scores is None:
            continue
        patterns = [score.pattern for score in scores]
        counts.update(patterns)
        rows.append((attention.layer, {pattern: _numbers(patterns, pattern) for pattern in Pattern}))
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
    """Everything but the attention itself; `words` are the indices of those drawn."""
    content = {
        "schema": 1,
        "model": explanation.model,
        "weights": explanation.weights,
        "image": str(explanation.image),
        "text": explanation.text,
        "tokens": explanation.labels,
        "attention": [_map(explanation, attention) for attention in explanation.maps],
        "alignment": _alignment(explanation, words),
        "figures": [str(path) for path in figures],
    }
    return to_json(content)


def _map(explanation: Explanation, attention: AttentionMap) -> dict[str, Any]:
    """The heads of a layer; without patterns unless text and image are one sequence."""
    scores = explanation.pattern_scores(attention)
    heads: list[dict[str, Any]] = [{"head": head} for head in range(1, attention.heads + 1)]
    for head, score in zip(heads, scores or (), strict=False):
        head["pattern"] = score.pattern.value
        head |= {name: _rounded(getattr(score, name)) for name in ("vertical", "diagonal", "block")}
    return {"layer": attention.layer, "queries": attention.queries, "keys": attention.keys, "heads": heads}


def _alignment(explanation: Explanation, words: Sequence[int]) -> dict[str, Any] | None:
    """The shares of each word over the boxes, which are shares of the photo's sides."""
    alignment, layout = explanation.alignment, explanation.layout
    if alignment is None:
        return None
    return {
        "method": "ipot",
        "beta": alignment.beta,
        "iterations": alignment.iterations,
        "grid": layout.grid,
        "boxes": [[_rounded(side) for side in box] for box in layout.boxes.tolist()],
        "words": [
            {"word": explanation.words[word].text, "shares": [_rounded(s) for s in alignment.shares[word].tolist()]}
            for word in words
        ],
    }


def _rounded(value: float) -> float:
    return round(value, DIGITS)
