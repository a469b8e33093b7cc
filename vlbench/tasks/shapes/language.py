"""What is said and asked about scenes: captions, questions with one answer, and statements about two of them.

In every kind of question the text tells nothing of the answer. Yes or no, and which of two things is named first, are
drawn before the rest; every other answer is one of several that the world treats alike (scenes.py).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vlbench.tasks.shapes.scenes import CELLS, CLASSES, COLOURS, MOST_ALIKE, SHAPES, SIZES, Scene, Thing

APART = 0.19  # of the side, at least, where one thing is left of or above another
CAPTIONS = 3
TOLD = 4  # things in a caption of places
NUMBERS = tuple(map(str, range(MOST_ALIKE + 1)))
ANSWERS = ("no", "yes", *NUMBERS, *COLOURS, *SHAPES, *SIZES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`kind` is one of KINDS."""

    kind: str
    text: str
    answer: str


def question(scene: Scene, kind: str, number: int = 0) -> Question | None:
    """A question of a kind about a scene; None where the scene gives none, as where no two things differ in size.

    With another `number` it is another question, or by chance the same.
    """
    found = _ASKING[kind](scene, random.Random((scene.key << 16) + (number << 4) + KINDS.index(kind)))
    return found and Question(kind=kind, text=found[0], answer=found[1])


def questions(scene: Scene) -> tuple[Question, ...]:
    """One of each kind that the scene gives."""
    return tuple(found for kind in KINDS if (found := question(scene, kind)))


def captions(scene: Scene) -> tuple[str, ...]:
    """CAPTIONS of them: all things from left to right, where some of them are, and how two lie to each other."""
    rng = random.Random(~scene.key)
    by_column = sorted(scene.things, key=lambda thing: (thing.x, thing.y))
    told = rng.sample(scene.things, min(TOLD, len(scene.things)))
    placed = " , ".join(f"a {full_name(thing)} in {place(thing, scene.side)}" for thing in told)
    pairs = list(_apart([(thing, full_name(thing)) for thing in _only(scene.things, name)], scene.side))
    if pairs:
        first, word, second = rng.choice(pairs)
        relation = f"a {first} {word} a {second}"
    else:
        relation = " and ".join(f"a {full_name(thing)}" for thing in by_column[:2])
    return f"from left to right {' , '.join(map(full_name, by_column))}", placed, relation


def full_name(thing: Thing) -> str:
    return f"{thing.size} {thing.colour} {thing.shape}"


def name(thing: Thing) -> str:
    return f"{thing.colour} {thing.shape}"


Asked = tuple[str, str] | None


def _exists(scene: Scene, rng: random.Random) -> Asked:
    """By colour, by shape, or by both; where it is not there, something of that colour or that shape is."""
    by = rng.choice([by for by in _NAMED if _present(scene, by) < set(_NAMED[by])])
    there = _present(scene, by)
    if rng.random() < 0.5:
        return f"is there a {rng.choice(sorted(there))} ?", "yes"
    absent = [named for named in _NAMED[by] if named not in there]
    parts = _present(scene, "colour"), _present(scene, "shape")
    near = [named for named in absent if by == "both" and _shared(named, parts) == 2]
    near = near or [named for named in absent if by == "both" and _shared(named, parts) == 1] or absent
    return f"is there a {rng.choice(near)} ?", "no"


_NAMED = {"colour": tuple(f"{colour} thing" for colour in COLOURS), "shape": SHAPES, "both": CLASSES}


def _present(scene: Scene, by: str) -> set[str]:
    """The names, by colour, by shape or by both, that some thing has."""
    if by == "colour":
        return {f"{thing.colour} thing" for thing in scene.things}
    return {thing.shape if by == "shape" else name(thing) for thing in scene.things}


def _shared(named: str, parts: tuple[set[str], set[str]]) -> int:
    """How many of its colour and its shape are there."""
    colour, shape = named.split()
    return (f"{colour} thing" in parts[0]) + (shape in parts[1])


def _count(scene: Scene, rng: random.Random) -> Asked:
    attribute, value = scene.counted
    number = sum(getattr(thing, attribute) == value for thing in scene.things)
    return f"how many {plural(attribute, value)} are there ?", str(number)


def plural(attribute: str, value: str) -> str:
    """`red things`, or `circles`."""
    return f"{value} things" if attribute == "colour" else f"{value}{'es' if value.endswith('s') else 's'}"


def _colour(scene: Scene, rng: random.Random) -> Asked:
    return _attribute(scene, rng, "colour", (lambda thing: thing.shape, lambda thing: f"{thing.size} {thing.shape}"))


def _shape(scene: Scene, rng: random.Random) -> Asked:
    named = (lambda thing: f"{thing.colour} thing", lambda thing: f"{thing.size} {thing.colour} thing")
    return _attribute(scene, rng, "shape", named)


def _size(scene: Scene, rng: random.Random) -> Asked:
    return _attribute(scene, rng, "size", (lambda thing: f"{thing.colour} thing", lambda thing: thing.shape, name))


def _attribute(scene: Scene, rng: random.Random, asked: str, named: Sequence[Callable[[Thing], str]]) -> Asked:
    """About a thing that is the only one of its name, by the shortest name that is its own."""
    only = [thing for one in named for thing in _only(scene.things, one)]
    if not only:
        return None
    thing = rng.choice(only)
    own = next(one(thing) for one in named if thing in _only(scene.things, one))
    return f"what {asked} is the {own} ?", getattr(thing, asked)


def place(thing: Thing, side: int) -> str:
    """`row 1 column 3`: a cell of the image, in which no other thing has its centre."""
    row, column = (where * CELLS // side + 1 for where in (thing.y, thing.x))
    return f"row {row} column {column}"


def _only(things: Sequence[Thing], named: Callable[[Thing], str]) -> list[Thing]:
    """Those whose name no other has."""
    counts = Counter(map(named, things))
    return [thing for thing in things if counts[named(thing)] == 1]


def _named(scene: Scene) -> list[tuple[Thing, str]]:
    """Things with names of their own: by colour or by shape alone, and only where neither will do by both."""
    by_colour, by_shape = ({id(thing): one(thing) for thing in _only(scene.things, one)} for one in _SHORT)
    short = [
        (thing, names[id(thing)]) for thing in scene.things for names in (by_colour, by_shape) if id(thing) in names
    ]
    others = [thing for thing in _only(scene.things, name) if id(thing) not in by_colour | by_shape]
    return short + [(thing, name(thing)) for thing in others]


_SHORT: tuple[Callable[[Thing], str], ...] = (lambda thing: f"{thing.colour} thing", lambda thing: thing.shape)
_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def _apart(named: Sequence[tuple[Thing, str]], side: int) -> Iterable[tuple[str, str, str]]:
    """Names of two things and how they lie, where one is clearly left of, or above, the other."""
    least = APART * side
    for first, first_name in named:
        for second, second_name in named:
            if second.x - first.x >= least:
                yield first_name, "left of", second_name
            if second.y - first.y >= least:
                yield first_name, "above", second_name


def _relation(scene: Scene, rng: random.Random) -> Asked:
    pairs = list(_apart(_named(scene), scene.side))
    if not pairs:
        return None
    first, word, second = rng.choice(pairs)
    if rng.random() < 0.5:
        first, word, second = second, _OPPOSITE[word], first
    true = rng.random() < 0.5
    said = word if true else _OPPOSITE[word]
    return f"is the {first} {said} the {second} ?", "yes" if true else "no"


def _comparison(scene: Scene, rng: random.Random) -> Asked:
    """Of the sizes of two things, or of how many there are of two colours or shapes."""
    kinds = [found for of in (_larger, _more("colour", COLOURS), _more("shape", SHAPES)) if (found := of(scene, rng))]
    if not kinds:
        return None
    first, word, second = rng.choice(kinds)
    true = rng.random() < 0.5
    first, second = (first, second) if true else (second, first)
    return f"{word.format(first, second)} ?", "yes" if true else "no"


def _larger(scene: Scene, rng: random.Random) -> tuple[str, str, str] | None:
    named = _named(scene)
    pairs = [(a, b) for one, a in named for other, b in named if (one.size, other.size) == ("large", "small")]
    if not pairs:
        return None
    large, small = rng.choice(pairs)
    if rng.random() < 0.5:
        return large, "is the {} larger than the {}", small
    return small, "is the {} smaller than the {}", large


def _more(attribute: str, values: Sequence[str]) -> Callable[[Scene, random.Random], tuple[str, str, str] | None]:
    def of(scene: Scene, rng: random.Random) -> tuple[str, str, str] | None:
        counts = Counter(getattr(thing, attribute) for thing in scene.things)
        pairs = [(a, b) for a in values for b in values if counts[a] > counts[b]]
        if not pairs:
            return None
        more, fewer = rng.choice(pairs)
        return plural(attribute, more), "are there more {} than {}", plural(attribute, fewer)

    return of


_ASKING: dict[str, Callable[[Scene, random.Random], Asked]] = {
    "exist": _exists,
    "count": _count,
    "colour": _colour,
    "shape": _shape,
    "size": _size,
    "relation": _relation,
    "comparison": _comparison,
}
KINDS = tuple(_ASKING)
