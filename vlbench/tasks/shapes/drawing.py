"""Images of scenes: flat things with a white rim on a textured background, drawn with numpy; and an overview of several
scenes, each with a question and its answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vlbench.tasks.shapes.language import KINDS, Question, question_about
from vlbench.tasks.shapes.scenes import Scene, Thing

RGB = {
    "red": (214, 48, 49),
    "green": (46, 160, 67),
    "blue": (45, 95, 215),
    "yellow": (240, 212, 50),
    "purple": (150, 62, 190),
    "cyan": (50, 200, 210),
}
SHADES = (0.86, 0.93, 1.0)  # factors of a colour's brightness
RIM = (250, 250, 250)
RIM_WIDTH = 0.2  # of the radius
TEXTURES = 24
SAMPLES = 4  # per side of a pixel, to smooth edges
SEED = 0x5EED  # of textures and shades

Pixels = NDArray[np.uint8]


def draw(scene: Scene) -> Pixels:
    """A scene as (side, side, 3) uint8, the same at every call."""
    rng = random.Random(scene.key ^ SEED)
    side = scene.side
    textures = _textures(side)
    top, left = rng.randrange(side), rng.randrange(side)
    image = textures[rng.randrange(TEXTURES), top : top + side, left : left + side].copy()
    for thing in scene.things:
        _stamp(image, thing, rng.choice(SHADES))
    return image


def _stamp(image: Pixels, thing: Thing, shade: float) -> None:
    x1, y1, x2, y2 = thing.box
    transparency, paint = _brush(thing.shape, thing.radius, thing.colour, shade)
    height, width = image.shape[:2]
    visible = np.s_[max(0, -y1) : min(y2, height) - y1, max(0, -x1) : min(x2, width) - x1]
    window = image[max(0, y1) : y2, max(0, x1) : x2]
    window[...] = (window * transparency[visible] + paint[visible]) >> 8


@lru_cache(maxsize=4096)
def _brush(shape: str, radius: int, colour: str, shade: float) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """The share of the background that remains, in 256ths, (2r, 2r, 1), and what is added to it, (2r, 2r, 3)."""
    coverage, inside = (_coverage(shape, radius, scale)[:, :, None] for scale in (1.0, 1.0 - RIM_WIDTH))
    paint = np.asarray(RGB[colour]) * shade * inside + np.asarray(RIM) * (1 - inside)
    return np.round(256 * (1 - coverage)).astype(np.uint16), np.floor(256 * coverage * paint).astype(np.uint16)


def _coverage(shape: str, radius: int, scale: float) -> NDArray[np.float64]:
    """The share of each pixel that a shape covers after scaling about its centre, (2r, 2r)."""
    fine = 2 * radius * SAMPLES
    steps = ((np.arange(fine) + 0.5) / fine * 2 - 1) / scale
    x, y = steps[None, :], steps[:, None]
    if shape == "circle":
        covered = x**2 + y**2 <= 1
    elif shape == "square":
        covered = np.maximum(abs(x), abs(y)) <= 0.86
    elif shape == "triangle":
        covered = (abs(x) * 2 <= y + 1) & (y <= 0.9)
    else:
        covered = (np.minimum(abs(x), abs(y)) <= 0.3) & (np.maximum(abs(x), abs(y)) <= 1)
    return covered.reshape(2 * radius, SAMPLES, 2 * radius, SAMPLES).mean(axis=(1, 3))


@lru_cache(maxsize=4)
def _textures(side: int) -> Pixels:
    """Backgrounds, (TEXTURES, 2 side, 2 side, 3): greyish noise of several grain sizes, stripes at several angles."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    textures = np.empty((TEXTURES, 2 * side, 2 * side, 3), dtype=np.uint8)
    for texture in textures:
        tint = rng.uniform(85, 165) + rng.uniform(-12, 12, size=3)
        grain = int(rng.choice([2, 4, 8, 16]))
        cells = rng.normal(size=(-(-2 * side // grain),) * 2)
        pattern = np.kron(cells, np.ones((grain, grain)))[: 2 * side, : 2 * side] * rng.uniform(3, 9)
        angle, period = rng.uniform(0, np.pi), rng.uniform(6, 40)
        across = np.arange(2 * side) * 2 * np.pi / period
        waves = np.sin(across[:, None] * np.sin(angle) + across[None, :] * np.cos(angle)) * rng.uniform(0, 9)
        texture[...] = np.clip(tint + (pattern + waves)[:, :, None], 0, 255)
    return textures


ROWS, COLUMNS = 2, 6
SIDE, GAP = 192, 12  # pixels, of a scene and between two
FONT_SIZE, LINE_HEIGHT = 14, 18  # pixels
LETTERS_PER_LINE, LINES = 28, 3  # below a scene
NO_BREAK_SPACE = "\xa0"
QUESTION_COLOUR, ANSWER_COLOUR = (20, 20, 20), (0, 90, 160)


def overview(scenes: Sequence[Scene]) -> Image.Image:
    """An image of the first ROWS x COLUMNS scenes, with a question of another kind below each."""
    shown = scenes[: ROWS * COLUMNS]
    width, height = SIDE + GAP, SIDE + LINE_HEIGHT * LINES + GAP
    rows = -(-len(shown) // COLUMNS)
    sheet = Image.new("RGB", (width * min(COLUMNS, len(shown)) + GAP, height * rows + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for index, scene in enumerate(shown):
        left, top = GAP + width * (index % COLUMNS), GAP + height * (index // COLUMNS)
        sheet.paste(Image.fromarray(draw(scene)).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, top))
        for line, (words, colour) in enumerate(_lines(_question(scene, index))):
            pen.text((left, top + SIDE + 6 + LINE_HEIGHT * line), words, fill=colour, font=font)
    return sheet


def _question(scene: Scene, index: int) -> Question:
    """A question of the kind with this index, or of the next kind that the scene allows; all scenes allow "exist"."""
    first = index % len(KINDS)
    return next(question for kind in (*KINDS[first:], *KINDS) if (question := question_about(scene, kind)))


def _lines(question: Question) -> list[tuple[str, tuple[int, int, int]]]:
    """The lines of text and their colours."""
    text = question.text.replace(" ?", NO_BREAK_SPACE + "?")
    lines = [(words.replace(NO_BREAK_SPACE, " "), QUESTION_COLOUR) for words in wrap(text, LETTERS_PER_LINE)]
    return [*lines, (question.answer, ANSWER_COLOUR)]
