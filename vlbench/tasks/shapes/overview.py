"""A picture of some scenes, each with a question below it and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from vlbench.tasks.shapes.drawing import draw
from vlbench.tasks.shapes.language import KINDS, Question, question
from vlbench.tasks.shapes.scenes import Scene

ROWS, COLUMNS = 2, 6
SIDE, GAP = 192, 12  # pixels, of a scene and between two
LETTER, LINE = 14, 18  # pixels, the height of letters and of a line
LETTERS, LINES = 28, 3  # in a line, and lines below a scene
UNBROKEN = "\xa0"  # a blank at which no line ends
QUESTION, ANSWER = (20, 20, 20), (0, 90, 160)


def overview(scenes: Sequence[Scene]) -> Image.Image:
    """The first ROWS x COLUMNS scenes, each asked about another kind of thing than the one before."""
    shown = scenes[: ROWS * COLUMNS]
    width, height = SIDE + GAP, SIDE + LINE * LINES + GAP
    rows = -(-len(shown) // COLUMNS)
    sheet = Image.new("RGB", (width * min(COLUMNS, len(shown)) + GAP, height * rows + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(LETTER)
    for place, scene in enumerate(shown):
        left, top = GAP + width * (place % COLUMNS), GAP + height * (place // COLUMNS)
        sheet.paste(Image.fromarray(draw(scene)).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, top))
        for line, (words, colour) in enumerate(_lines(_asked(scene, place))):
            pen.text((left, top + SIDE + 6 + LINE * line), words, fill=colour, font=font)
    return sheet


def _asked(scene: Scene, place: int) -> Question:
    """Of the kind whose turn it is, or of the next that the scene gives; whether there is something, all give."""
    turn = place % len(KINDS)
    return next(found for kind in (*KINDS[turn:], *KINDS) if (found := question(scene, kind)))


def _lines(asked: Question) -> list[tuple[str, tuple[int, int, int]]]:
    together = asked.text.replace(" ?", UNBROKEN + "?")
    lines = [(words.replace(UNBROKEN, " "), QUESTION) for words in wrap(together, LETTERS)]
    return [*lines, (asked.answer, ANSWER)]
