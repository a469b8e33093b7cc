"""The generated world matches its version: whoever changes a scene, a text or a pixel must raise WORLD."""

from __future__ import annotations

import hashlib
from itertools import pairwise

from vlbench.tasks.shapes.drawing import draw
from vlbench.tasks.shapes.language import captions, questions_about
from vlbench.tasks.shapes.scenes import SPLITS, WORLD, scene_at
from vlbench.tasks.shapes.statements import statement_about

DIGESTS = {
    "things": "3674256a79e5df7a",
    "texts": "32e6c5bff3b5a48d",
    "pixels": "6ac4b5fb1f7a9356",
}  # of world 1; results of other worlds are not comparable


def test_the_world_is_that_of_its_version() -> None:
    scenes = [scene_at(split, index) for split in SPLITS for index in range(20)]
    scenes += [scene_at("train", 7, seed=3, side=256, most=3)]
    told = [(captions(scene), questions_about(scene)) for scene in scenes]
    stated = [statement_about(left, right) for left, right in pairwise(scenes)]
    found = {
        "things": hashlib.sha256(repr([scene.things for scene in scenes]).encode()).hexdigest()[:16],
        "texts": hashlib.sha256(repr((told, stated)).encode()).hexdigest()[:16],
        "pixels": hashlib.sha256(b"".join(draw(scene).tobytes() for scene in scenes)).hexdigest()[:16],
    }
    assert (WORLD, found) == (1, DIGESTS), "the world has changed: raise WORLD, and pin what it is now"
