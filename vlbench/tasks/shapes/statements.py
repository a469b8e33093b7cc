"""Statements about two scenes side by side, true or false, in the manner of NLVR2 (Suhr et al. 2019).

Whether one is true is drawn before the rest, and what it names is drawn alike either way.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vlbench.tasks.shapes.language import name, plural
from vlbench.tasks.shapes.scenes import COLOURS, SHAPES, Scene

FORMS = ("both", "only", "more", "total")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`form` is one of FORMS."""

    form: str
    text: str
    label: bool


def statement(left: Scene, right: Scene) -> Statement:
    """A statement about a pair of scenes, the same at every call.

    Raises ValueError where the two have as many things of each colour and each shape, and the same names.
    """
    rng = random.Random(left.key * 2**8 ^ right.key)
    true = rng.random() < 0.5
    forms = list(FORMS)
    rng.shuffle(forms)
    for form in forms:
        text = _MAKING[form](left, right, true, rng)
        if text:
            return Statement(form=form, text=text, label=true)
    raise ValueError("nothing that is said could tell these scenes apart")


def _both(left: Scene, right: Scene, true: bool, rng: random.Random) -> str | None:
    names = [{name(thing) for thing in scene.things} for scene in (left, right)]
    shared, single = sorted(names[0] & names[1]), sorted(names[0] ^ names[1])
    if not shared or not single:
        return None
    return f"both images have a {rng.choice(shared if true else single)} ."


def _only(left: Scene, right: Scene, true: bool, rng: random.Random) -> str | None:
    names = [{name(thing) for thing in scene.things} for scene in (left, right)]
    single = sorted(names[0] ^ names[1])
    if not single:
        return None
    named = rng.choice(single)
    side = "left" if (named in names[0]) == true else "right"
    return f"only the {side} image has a {named} ."


def _more(left: Scene, right: Scene, true: bool, rng: random.Random) -> str | None:
    counts = _counts(left, right)
    uneven = sorted(which for which, (on_left, on_right) in counts.items() if on_left != on_right)
    if not uneven:
        return None
    which = rng.choice(uneven)
    sides = ("left", "right") if (counts[which][0] > counts[which][1]) == true else ("right", "left")
    return f"there are more {plural(*which)} in the {sides[0]} image than in the {sides[1]} image ."


def _total(left: Scene, right: Scene, true: bool, rng: random.Random) -> str | None:
    """The number that is false is how many there are of another colour or shape, so that numbers tell nothing."""
    totals = {which: sum(pair) for which, pair in _counts(left, right).items()}
    pairs = sorted((a, b) for a in totals for b in totals if a[0] == b[0] and totals[a] != totals[b])
    if not pairs:
        return None
    which, other = rng.choice(pairs)
    return f"the images have exactly {totals[which if true else other]} {plural(*which)} in total ."


def _counts(left: Scene, right: Scene) -> dict[tuple[str, str], tuple[int, int]]:
    """How many things of each colour and each shape are left and right."""
    both = [
        Counter((attribute, getattr(thing, attribute)) for thing in scene.things for attribute in ("colour", "shape"))
        for scene in (left, right)
    ]
    keys: Sequence[tuple[str, str]] = [("colour", one) for one in COLOURS] + [("shape", one) for one in SHAPES]
    return {key: (both[0][key], both[1][key]) for key in keys}


_MAKING = {"both": _both, "only": _only, "more": _more, "total": _total}
