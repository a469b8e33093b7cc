"""Scenes of the generated world: a few things of one shape, colour and size each, somewhere in a square image.

Of the answers that are asked for, none is likelier than another whatever the question says: the colours are
interchangeable, so are the shapes and the sizes, and how many things share one colour or one shape is drawn first.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from dataclasses import dataclass
from typing import Literal

from vlbench.errors import InputError

WORLD = 1  # one more with each change of a scene, its texts or its pixels: answers on other scenes are other answers
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
SIZES = ("small", "large")
CLASSES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
SPLITS = ("test", "val", "train")

FEWEST, MOST = 2, 8
MOST_ALIKE = 4  # the highest number that is asked for
SIDE = 128  # pixels, for which the radii are
RADII = {"small": (9, 10), "large": (15, 16)}
CELLS = 4  # a side; a thing each, moved from its centre by as much as JITTER
JITTER = 3
SHARES = {"test": (0,), "val": (1,), "train": tuple(range(2, 10))}  # of ten, by a scene's content

Attribute = Literal["colour", "shape"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """What a scene holds. `x`, `y` is its centre and `radius` half the side of its box, in pixels."""

    shape: str
    colour: str
    size: str
    x: int
    y: int
    radius: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 in pixels, the last two exclusive."""
        return self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Things from back to front, on a square of `side` pixels.

    `counted` is what the number of was drawn first, such as colour and red; `key` is what all further random choices
    about this scene start from.
    """

    split: str
    index: int
    key: int
    side: int
    things: tuple[Thing, ...]
    counted: tuple[Attribute, str]


def class_of(thing: Thing) -> int:
    """The place of its colour and shape in CLASSES."""
    return COLOURS.index(thing.colour) * len(SHAPES) + SHAPES.index(thing.shape)


def scene_at(split: str, index: int, *, seed: int = 0, side: int = SIDE, most: int = MOST) -> Scene:
    """The scene of a place in a split, the same at every call. Raises InputError for a split that is none.

    Which of the splits a scene may be in follows from what it holds, so that none is in two.

    Args:
        side: of the image, in pixels.
        most: things in it, from FEWEST to MOST.
    """
    if split not in SPLITS:
        raise InputError(f"--split {split}: shapes has {', '.join(SPLITS)}")
    key = int.from_bytes(hashlib.blake2b(f"{seed} {split} {index}".encode(), digest_size=8).digest())
    rng = random.Random(key)
    while True:
        counted, placed = _draw(rng, most)
        scene = Scene(split=split, index=index, key=key, side=side, things=_things(placed, side), counted=counted)
        # of the places on the grid of the smallest image, so that no side decides otherwise
        if zlib.crc32(repr(sorted(placed)).encode()) % 10 in SHARES[split]:
            return scene


Placed = tuple[int, int, int, str, str, str]  # x, y, radius at SIDE; size, colour, shape


def _draw(rng: random.Random, most: int) -> tuple[tuple[Attribute, str], list[Placed]]:
    attribute: Attribute = "colour" if rng.random() < 0.5 else "shape"
    values = COLOURS if attribute == "colour" else SHAPES
    value = rng.choice(values)
    alike = rng.randrange(min(MOST_ALIKE, most) + 1)
    number = rng.randint(max(FEWEST, alike), most)
    others = [other for other in values if other != value]
    cells = rng.sample(range(CELLS * CELLS), number)
    placed = []
    for place, cell in enumerate(cells):
        own = value if place < alike else rng.choice(others)
        colour, shape = (own, rng.choice(SHAPES)) if attribute == "colour" else (rng.choice(COLOURS), own)
        placed.append((*_place(rng, cell, size := rng.choice(SIZES)), size, colour, shape))
    rng.shuffle(placed)  # which lies in front is another matter than which was drawn first
    return (attribute, value), placed


def _place(rng: random.Random, cell: int, size: str) -> tuple[int, int, int]:
    radius = rng.randint(*RADII[size])
    row, column = divmod(cell, CELLS)
    centres = [int((step + 0.5) * SIDE / CELLS) + rng.randint(-JITTER, JITTER) for step in (column, row)]
    x, y = (min(max(centre, radius), SIDE - radius) for centre in centres)
    return x, y, radius


def _things(placed: list[Placed], side: int) -> tuple[Thing, ...]:
    def scaled(pixels: int) -> int:
        return pixels if side == SIDE else max(1, round(pixels * side / SIDE))

    return tuple(
        Thing(shape=shape, colour=colour, size=size, x=scaled(x), y=scaled(y), radius=scaled(radius))
        for x, y, radius, size, colour, shape in placed
    )
