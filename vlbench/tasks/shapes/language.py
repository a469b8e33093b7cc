"""Captions of scenes, and questions about them with one answer each.

The text of a question does not predict its answer. Whether the answer is yes or no, and which of two things is named
first, is drawn before the rest; all other answers of a kind are equally likely (see scenes.py).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vlbench.tasks.shapes.scenes import CELLS, CLASSES, COLOURS, MOST_ALIKE, SHAPES, SIZES, Scene, Thing

LEAST_DISTANCE = 0.19  # of the image's side, for one thing to count as left of or above another
CAPTIONS = 3  # per scene
LOCATED = 4  # things in the caption that says where things are
NUMBERS = tuple(map(str, range(MOST_ALIKE + 1)))
ANSWERS = ("no", "yes", *NUMBERS, *COLOURS, *SHAPES, *SIZES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`kind` is one of KINDS."""

    kind: str
    text: str
    answer: str


def question_about(scene: Scene, kind: str, number: int = 0) -> Question | None:
    """A question of this kind about a scene; None if the scene allows none, such as two things of equal size.

    Another `number` gives another question, or by chance the same one.
    """
    pair = _MAKERS[kind](scene, random.Random((scene.key << 16) + (number << 4) + KINDS.index(kind)))
    return pair and Question(kind=kind, text=pair[0], answer=pair[1])


def questions_about(scene: Scene) -> tuple[Question, ...]:
    """One question of each kind that the scene allows."""
    return tuple(question for kind in KINDS if (question := question_about(scene, kind)))


def captions(scene: Scene) -> tuple[str, ...]:
    """Three captions: all things from left to right, where some of them are, and the relation of two of them."""
    rng = random.Random(~scene.key)
    by_column = sorted(scene.things, key=lambda thing: (thing.x, thing.y))
    listed = " , ".join(map(size_colour_and_shape, by_column))
    located = rng.sample(scene.things, min(LOCATED, len(scene.things)))
    cells = " , ".join(f"a {size_colour_and_shape(thing)} in {cell_of(thing, scene.side)}" for thing in located)
    unique = [(thing, size_colour_and_shape(thing)) for thing in _unique(scene.things, colour_and_shape)]
    relations = list(_relations(unique, scene.side))
    if relations:
        first, relation, second = rng.choice(relations)
        related = f"a {first} {relation} a {second}"
    else:
        related = " and ".join(f"a {size_colour_and_shape(thing)}" for thing in by_column[:2])
    return f"from left to right {listed}", cells, related


def size_colour_and_shape(thing: Thing) -> str:
    return f"{thing.size} {thing.colour} {thing.shape}"


def colour_and_shape(thing: Thing) -> str:
    return f"{thing.colour} {thing.shape}"


QuestionAndAnswer = tuple[str, str] | None  # None if the scene allows no such question
Comparison = tuple[str, str, str] | None  # the larger or more numerous, a pattern, and the other
Naming = Callable[[Thing], str]


def _existence(scene: Scene, rng: random.Random) -> QuestionAndAnswer:
    """Names a thing by colour, by shape or by both. If no thing has both, a thing of that colour or shape exists."""
    by = rng.choice([by for by in _NAMES if _present(scene, by) < set(_NAMES[by])])
    present = _present(scene, by)
    if rng.random() < 0.5:
        return f"is there a {rng.choice(sorted(present))} ?", "yes"
    absent = [name for name in _NAMES[by] if name not in present]
    present_parts = _present(scene, "colour"), _present(scene, "shape")
    similar = [name for name in absent if by == "both" and _parts_present(name, present_parts) == 2]
    similar = similar or [name for name in absent if by == "both" and _parts_present(name, present_parts) == 1]
    return f"is there a {rng.choice(similar or absent)} ?", "no"


_NAMES = {"colour": tuple(f"{colour} thing" for colour in COLOURS), "shape": SHAPES, "both": CLASSES}


def _present(scene: Scene, by: str) -> set[str]:
    """The names of the scene's things by colour, by shape or by both."""
    if by == "colour":
        return {f"{thing.colour} thing" for thing in scene.things}
    return {thing.shape if by == "shape" else colour_and_shape(thing) for thing in scene.things}


def _parts_present(name: str, present: tuple[set[str], set[str]]) -> int:
    """How many of the name's colour and shape the scene has: 0, 1 or 2."""
    colour, shape = name.split()
    return (f"{colour} thing" in present[0]) + (shape in present[1])


def _count(scene: Scene, rng: random.Random) -> QuestionAndAnswer:
    attribute, value = scene.counted
    number = sum(getattr(thing, attribute) == value for thing in scene.things)
    return f"how many {plural(attribute, value)} are there ?", str(number)


def plural(attribute: str, value: str) -> str:
    """`red things` for colour and red, `circles` for shape and circle."""
    return f"{value} things" if attribute == "colour" else f"{value}{'es' if value.endswith('s') else 's'}"


def _colour(scene: Scene, rng: random.Random) -> QuestionAndAnswer:
    return _attribute(scene, rng, "colour", (lambda thing: thing.shape, lambda thing: f"{thing.size} {thing.shape}"))


def _shape(scene: Scene, rng: random.Random) -> QuestionAndAnswer:
    namings = (lambda thing: f"{thing.colour} thing", lambda thing: f"{thing.size} {thing.colour} thing")
    return _attribute(scene, rng, "shape", namings)


def _size(scene: Scene, rng: random.Random) -> QuestionAndAnswer:
    namings = (lambda thing: f"{thing.colour} thing", lambda thing: thing.shape, colour_and_shape)
    return _attribute(scene, rng, "size", namings)


def _attribute(scene: Scene, rng: random.Random, attribute: str, namings: Sequence[Naming]) -> QuestionAndAnswer:
    """Asks for an attribute of a thing with a unique name. `namings` go from the shortest to the longest name."""
    unique = [thing for naming in namings for thing in _unique(scene.things, naming)]
    if not unique:
        return None
    thing = rng.choice(unique)
    name = next(naming(thing) for naming in namings if thing in _unique(scene.things, naming))
    return f"what {attribute} is the {name} ?", getattr(thing, attribute)


def cell_of(thing: Thing, side: int) -> str:
    """`row 1 column 3`: the cell of the image that holds the centre of this thing and of no other."""
    row, column = (coordinate * CELLS // side + 1 for coordinate in (thing.y, thing.x))
    return f"row {row} column {column}"


def _unique(things: Sequence[Thing], naming: Naming) -> list[Thing]:
    """The things whose name no other thing has."""
    counts = Counter(map(naming, things))
    return [thing for thing in things if counts[naming(thing)] == 1]


def _uniquely_named(scene: Scene) -> list[tuple[Thing, str]]:
    """Things with a unique name: colour or shape, or both if neither alone is unique."""
    by_colour, by_shape = (
        {id(thing): naming(thing) for thing in _unique(scene.things, naming)} for naming in _SHORT_NAMINGS
    )
    short = [
        (thing, names[id(thing)]) for thing in scene.things for names in (by_colour, by_shape) if id(thing) in names
    ]
    others = [thing for thing in _unique(scene.things, colour_and_shape) if id(thing) not in by_colour | by_shape]
    return short + [(thing, colour_and_shape(thing)) for thing in others]


_SHORT_NAMINGS: tuple[Naming, ...] = (lambda thing: f"{thing.colour} thing", lambda thing: thing.shape)
_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def _relations(named: Sequence[tuple[Thing, str]], side: int) -> Iterable[tuple[str, str, str]]:
    """(name, relation, name) for all pairs in which one thing is clearly left of, or above, the other."""
    least = LEAST_DISTANCE * side
    for first, first_name in named:
        for second, second_name in named:
            if second.x - first.x >= least:
                yield first_name, "left of", second_name
            if second.y - first.y >= least:
                yield first_name, "above", second_name


def _relation(scene: Scene, rng: random.Random) -> QuestionAndAnswer:
    relations = list(_relations(_uniquely_named(scene), scene.side))
    if not relations:
        return None
    first, relation, second = rng.choice(relations)
    if rng.random() < 0.5:
        first, relation, second = second, _OPPOSITE[relation], first
    true = rng.random() < 0.5
    return f"is the {first} {relation if true else _OPPOSITE[relation]} the {second} ?", "yes" if true else "no"


def _comparison(scene: Scene, rng: random.Random) -> QuestionAndAnswer:
    """Compares the sizes of two things, or the numbers of things of two colours or two shapes."""
    makers = (_size_comparison, _number_comparison("colour", COLOURS), _number_comparison("shape", SHAPES))
    comparisons = [comparison for maker in makers if (comparison := maker(scene, rng))]
    if not comparisons:
        return None
    first, pattern, second = rng.choice(comparisons)
    true = rng.random() < 0.5
    first, second = (first, second) if true else (second, first)
    return f"{pattern.format(first, second)} ?", "yes" if true else "no"


def _size_comparison(scene: Scene, rng: random.Random) -> Comparison:
    named = _uniquely_named(scene)
    pairs = [(a, b) for first, a in named for second, b in named if (first.size, second.size) == ("large", "small")]
    if not pairs:
        return None
    large, small = rng.choice(pairs)
    if rng.random() < 0.5:
        return large, "is the {} larger than the {}", small
    return small, "is the {} smaller than the {}", large


def _number_comparison(attribute: str, values: Sequence[str]) -> Callable[[Scene, random.Random], Comparison]:
    def compare(scene: Scene, rng: random.Random) -> Comparison:
        counts = Counter(getattr(thing, attribute) for thing in scene.things)
        pairs = [(a, b) for a in values for b in values if counts[a] > counts[b]]
        if not pairs:
            return None
        more, fewer = rng.choice(pairs)
        return plural(attribute, more), "are there more {} than {}", plural(attribute, fewer)

    return compare


_MAKERS: dict[str, Callable[[Scene, random.Random], QuestionAndAnswer]] = {
    "exist": _existence,
    "count": _count,
    "colour": _colour,
    "shape": _shape,
    "size": _size,
    "relation": _relation,
    "comparison": _comparison,
}
KINDS = tuple(_MAKERS)
