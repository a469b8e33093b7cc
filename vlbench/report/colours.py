"""The colours of every figure: a family has the same one everywhere, and the steps of its vision are shades of it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from functools import cache

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLES = tuple(zip(COLOURS, MARKERS, strict=True))
FAMILIES = {"patch": STYLES[0], "grid": STYLES[1], "region": STYLES[2]}  # the same in every figure
OTHER_FAMILY = STYLES[3]
# For anything but families: the palette's other colours, and neutrals; measurements of all families are dark.
NO_FAMILY = (COLOURS[4], COLOURS[5], COLOURS[3], "#4B5563", COLOURS[6], "#8A919C", "#B8BEC8")
MEASURED = "#1F2937"
NEUTRALS = {"interaction": "#4B5563", "text": "#8A919C", "head": "#B8BEC8", "rest": "#D9DCE1"}
# From the darkest shade to the lightest; consecutive steps of a pass are at least two shades apart.
RANKS = {"backbone": 0, "patch": 0, "roi_head": 1, "transformer": 1, "projection": 2, "fpn": 3, "nms": 4, "rpn": 5}
RANKS["rest"] = 6
DARKEST = {"patch": 0.10, "grid": 0.26, "region": 0.12}  # relative luminance; darker orange is brown
LIGHTEST = 0.72
WHITE, BLACK = "#FFFFFF", "#111111"


def family_style(family: str) -> tuple[str, str]:
    """Colour and marker."""
    return FAMILIES.get(family, OTHER_FAMILY)


def families_of(names: Iterable[str]) -> list[str]:
    """Each once: the known ones in their order, then others by name."""
    unique = set(names)
    return [*(name for name in FAMILIES if name in unique), *sorted(unique - set(FAMILIES))]


@cache
def stage_colour(family: str, stage: str) -> str:
    """`#RRGGBB` of a stage or a step of one, such as `visual.backbone` or `visual.rest`, for white and for dark pages.

    `visual` and its steps are shades of the family's colour that also differ in luminance; other stages are neutral.
    """
    name, _, step = stage.partition(".")
    if name in NEUTRALS:
        return NEUTRALS[name]
    darkest = DARKEST.get(family, 0.15)
    rank = _rank(step or ("backbone" if name == "visual" else name)) / max(RANKS.values())
    target = (darkest + 0.05) * ((LIGHTEST + 0.05) / (darkest + 0.05)) ** rank - 0.05
    return _with_luminance(family_style(family)[0], target)


def _rank(step: str) -> int:
    """The shade of a step; of unknown ones with numbers, such as `layer1`, consecutive ones differ."""
    if step in RANKS:
        return RANKS[step]
    number = re.search(r"\d+$", step)
    return (2 * int(number[0]) if number else zlib.crc32(step.encode())) % RANKS["rest"]


def luminance(colour: str) -> float:
    """Relative luminance of `#RRGGBB`, from 0 to 1, as WCAG 2.2 defines it."""
    shares = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(colour: str, other: str) -> float:
    """Contrast of two colours, from 1 to 21, as WCAG 2.2 defines it."""
    low, high = sorted((luminance(colour), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def ink_on(colour: str) -> str:
    """White or black, whichever is more legible on a colour."""
    return max((WHITE, BLACK), key=lambda ink: contrast(ink, colour))


def _with_luminance(colour: str, target: float) -> str:
    """The colour mixed with black or white so that its luminance is nearest to the target."""
    towards = "#000000" if luminance(colour) > target else "#FFFFFF"
    mixtures = (_mixed(colour, towards, step / 256) for step in range(257))
    return min(mixtures, key=lambda mixed: abs(luminance(mixed) - target))


def _mixed(colour: str, other: str, share: float) -> str:
    pairs = [(int(colour[start : start + 2], 16), int(other[start : start + 2], 16)) for start in (1, 3, 5)]
    return "#" + "".join(f"{round(ours + share * (theirs - ours)):02X}" for ours, theirs in pairs)
