"""True and false statements about two scenes side by side, in the style of NLVR2 (Suhr et al. 2019).

Whether a statement is true is drawn first; what it names is then drawn from the same distribution in both cases.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vlbench.tasks.shapes.language import colour_and_shape, plural
from vlbench.tasks.shapes.scenes import COLOURS, SHAPES, Scene

FORMS = ("both", "only", "more", "total")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`form` is one of FORMS."""

    form: str
    text: str
    label: bool


def statement_about(left: Scene, right: Scene) -> Statement:
    """A statement about a pair of scenes, the same at every call.

    Raises ValueError if both scenes have the same number of things of each colour and shape, and the same names.
    """
    rng = random.Random(left.key * 2**8 ^ right.key)
    true = rng.random() < 0.5
    forms = list(FORMS)
    rng.shuffle(forms)
    for form in forms:
        text = _MAKERS[form](left, right, true, rng)
        if text:
            return Statement(form=form, text=text, label=true)
    raise ValueError("no statement distinguishes these two scenes")


def _both(left: Scene, right: Scene, true: bool, rng: random.Random) -> str | None:
    names = [{colour_and_shape(thing) for thing in scene.things} for scene in (left, right)]
    shared, single = sorted(names[0] & names[1]), sorted(names[0] ^ names[1])
    if not shared or not single:
        return None
    return f"both images have a {rng.choice(shared if true else single)} ."


def _only(left: Scene, right: Scene, true: bool, rng: random.Random) -> str | None:
    names = [{colour_and_shape(thing) for thing in scene.things} for scene in (left, right)]
    single = sorted(names[0] ^ names[1])
    if not single:
        return None
    name = rng.choice(single)
    side = "left" if (name in names[0]) == true else "right"
    return f"only the {side} image has a {name} ."


def _more(left: Scene, right: Scene, true: bool, rng: random.Random) -> str | None:
    counts = _counts(left, right)
    unequal = sorted(key for key, (on_left, on_right) in counts.items() if on_left != on_right)
    if not unequal:
        return None
    key = rng.choice(unequal)
    sides = ("left", "right") if (counts[key][0] > counts[key][1]) == true else ("right", "left")
    return f"there are more {plural(*key)} in the {sides[0]} image than in the {sides[1]} image ."


def _total(left: Scene, right: Scene, true: bool, rng: random.Random) -> str | None:
    """A false statement takes the number of another colour or shape, so that the number does not reveal the label."""
    totals = {key: sum(counts) for key, counts in _counts(left, right).items()}
    pairs = sorted((a, b) for a in totals for b in totals if a[0] == b[0] and totals[a] != totals[b])
    if not pairs:
        return None
    key, other = rng.choice(pairs)
    return f"the images have exactly {totals[key if true else other]} {plural(*key)} in total ."


def _counts(left: Scene, right: Scene) -> dict[tuple[str, str], tuple[int, int]]:
    """For each colour and each shape, the numbers of such things left and right."""
    counters = [
        Counter((attribute, getattr(thing, attribute)) for thing in scene.things for attribute in ("colour", "shape"))
        for scene in (left, right)
    ]
    keys: Sequence[tuple[str, str]] = [("colour", colour) for colour in COLOURS] + [
        ("shape", shape) for shape in SHAPES
    ]
    return {key: (counters[0][key], counters[1][key]) for key in keys}


_MAKERS = {"both": _both, "only": _only, "more": _more, "total": _total}
