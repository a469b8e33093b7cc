"""Scenes of the generated world: a few things in a square image, each with a shape, a colour and a size.

All answers to a question are equally likely, whatever its text says: colours are interchangeable, and so are shapes and
sizes; how many things share one colour or shape is drawn before the rest.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from dataclasses import dataclass
from typing import Literal

from vlbench.errors import InputError

WORLD = 1  # the version; it rises with every change of scenes, texts or pixels, so that old predictions are not reused
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
SIZES = ("small", "large")
CLASSES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
SPLITS = ("test", "val", "train")

FEWEST, MOST = 2, 8
MOST_ALIKE = 4  # things that share the counted colour or shape: the highest answer to "how many"
SIDE = 128  # of an image, in pixels; the radii are for this size
RADII = {"small": (9, 10), "large": (15, 16)}
CELLS = 4  # per side of the image; each holds one thing at most, up to JITTER pixels from the cell's centre
JITTER = 3
SHARES = {"test": (0,), "val": (1,), "train": tuple(range(2, 10))}  # of the hash of a scene's content, modulo ten

Attribute = Literal["colour", "shape"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A thing in a scene. `x`, `y` is its centre and `radius` half the side of its box, in pixels."""

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
    """Things on a square of `side` pixels, from back to front.

    Attributes:
        key: seeds all further random choices about this scene.
        counted: the attribute and value, such as colour and red, that the "how many" question asks about.
    """

    split: str
    index: int
    key: int
    side: int
    things: tuple[Thing, ...]
    counted: tuple[Attribute, str]


def class_of(thing: Thing) -> int:
    """The index of its colour and shape in CLASSES."""
    return COLOURS.index(thing.colour) * len(SHAPES) + SHAPES.index(thing.shape)


def scene_at(split: str, index: int, *, seed: int = 0, side: int = SIDE, most: int = MOST) -> Scene:
    """The scene with this index in a split, the same at every call. Raises InputError for an unknown split.

    A scene's content decides its split, so that no scene is in two splits.

    Args:
        side: of the image, in pixels.
        most: the highest number of things in it, from FEWEST to MOST.
    """
    if split not in SPLITS:
        raise InputError(f"--split {split}: shapes has {', '.join(SPLITS)}")
    key = int.from_bytes(hashlib.blake2b(f"{seed} {split} {index}".encode(), digest_size=8).digest())
    rng = random.Random(key)
    while True:
        counted, placed = _draw(rng, most)
        scene = Scene(split=split, index=index, key=key, side=side, things=_things(placed, side), counted=counted)
        # hashed before scaling, so that a scene is in the same split at every image size
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
    for index, cell in enumerate(cells):
        drawn = value if index < alike else rng.choice(others)
        colour, shape = (drawn, rng.choice(SHAPES)) if attribute == "colour" else (rng.choice(COLOURS), drawn)
        placed.append((*_position(rng, cell, size := rng.choice(SIZES)), size, colour, shape))
    rng.shuffle(placed)  # so that the counted things are not always at the back
    return (attribute, value), placed


def _position(rng: random.Random, cell: int, size: str) -> tuple[int, int, int]:
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
