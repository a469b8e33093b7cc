"""The generated world: scenes, their texts, and that a text does not predict its answer."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from vlbench.errors import InputError
from vlbench.tasks.scoring import text_only_answers
from vlbench.tasks.shapes import items
from vlbench.tasks.shapes.drawing import RGB, draw
from vlbench.tasks.shapes.language import (
    ANSWERS,
    KINDS,
    captions,
    cell_of,
    colour_and_shape,
    question_about,
    questions_about,
    size_colour_and_shape,
)
from vlbench.tasks.shapes.scenes import CLASSES, FEWEST, MOST, SPLITS, Scene, Thing, class_of, scene_at
from vlbench.tasks.shapes.statements import FORMS, statement_about
from vlbench.tasks.wordpiece import WordPiece

CHANCE = {"exist": 1 / 2, "count": 1 / 5, "colour": 1 / 6, "shape": 1 / 4, "size": 1 / 2, "relation": 1 / 2}
CHANCE |= {"comparison": 1 / 2}


def scenes(count: int = 300, split: str = "train") -> list[Scene]:
    return [scene_at(split, index) for index in range(count)]


def made(*things: tuple[str, int, int]) -> Scene:
    """A scene of things such as ("large red circle", x, y)."""
    placed = []
    for words, x, y in things:
        size, colour, shape = words.split()
        placed.append(Thing(size=size, colour=colour, shape=shape, x=x, y=y, radius=9 if size == "small" else 16))
    return Scene(split="test", index=0, key=1, side=128, things=tuple(placed), counted=("colour", "red"))


def test_a_scene_is_the_same_at_every_call_and_differs_by_index() -> None:
    assert scene_at("val", 7) == scene_at("val", 7)
    assert np.array_equal(draw(scene_at("val", 7)), draw(scene_at("val", 7)))
    others = [scene_at("val", 8), scene_at("train", 7), scene_at("val", 7, seed=1)]
    assert all(other.things != scene_at("val", 7).things for other in others)


def test_scenes_hold_from_two_to_eight_things_within_the_image() -> None:
    numbers = Counter(len(scene.things) for scene in scenes())
    assert set(numbers) == set(range(FEWEST, MOST + 1))
    for scene in scenes():
        for thing in scene.things:
            assert 0 <= min(thing.box) <= max(thing.box) <= scene.side
        assert len({cell_of(thing, scene.side) for thing in scene.things}) == len(scene.things)


def test_some_things_overlap() -> None:
    def overlap(a: Thing, b: Thing) -> bool:
        return all(max(a.box[axis], b.box[axis]) < min(a.box[axis + 2], b.box[axis + 2]) for axis in (0, 1))

    overlapping = [
        scene for scene in scenes() if any(overlap(a, b) for a in scene.things for b in scene.things if a is not b)
    ]
    assert len(overlapping) > 30


def test_the_number_of_things_can_be_bounded() -> None:
    assert {len(scene_at("train", index, most=3).things) for index in range(100)} == {2, 3}


@pytest.mark.slow
def test_no_scene_of_one_split_is_in_another() -> None:
    """A scene's content decides its split, so no scene is in two splits, however many are drawn."""
    seen: dict[tuple[Thing, ...], str] = {}
    for split in SPLITS:
        for scene in scenes(2000, split):
            key = tuple(sorted(scene.things, key=lambda thing: (thing.x, thing.y)))
            assert seen.setdefault(key, split) == split


def test_the_side_of_an_image_changes_no_answer() -> None:
    for index in range(50):
        small, large = scene_at("test", index), scene_at("test", index, side=256)
        assert questions_about(small) == questions_about(large)
        assert draw(large).shape == (256, 256, 3)


def test_a_thing_has_its_colour_where_it_is() -> None:
    for scene in scenes(50):
        front = scene.things[-1]
        pixel = draw(scene)[front.y, front.x].astype(float)
        expected = np.asarray(RGB[front.colour])
        cosine = pixel @ expected / np.linalg.norm(pixel) / np.linalg.norm(expected)
        assert cosine > 0.99, (scene, pixel)


def test_classes_are_colours_and_shapes() -> None:
    assert len(set(CLASSES)) == 24
    for thing in scenes(1)[0].things:
        assert CLASSES[class_of(thing)] == colour_and_shape(thing)


def test_answers_are_true() -> None:
    """Computed in another way than by the code that makes the question."""
    for scene in scenes():
        told = [size_colour_and_shape(thing) for thing in scene.things]
        for asked in questions_about(scene):
            assert asked.answer in ANSWERS
            assert ANSWER_OF[asked.kind](scene, told, asked.text) == asked.answer, (scene, asked)


def _exists(scene: Scene, told: list[str], text: str) -> str:
    words = text.removeprefix("is there a ").removesuffix(" ?").replace(" thing", "")
    return "yes" if any(words in one for one in told) else "no"


def _counted(scene: Scene, told: list[str], text: str) -> str:
    words = text.removeprefix("how many ").removesuffix(" are there ?")
    return str(_number(told, words))


def _number(told: list[str], plural: str) -> int:
    word = plural.split()[0] if plural.endswith("things") else plural.removesuffix("s").replace("crosse", "cross")
    return sum(word in one.split() for one in told)


def _of_one(scene: Scene, told: list[str], text: str) -> str:
    asked, rest = re.fullmatch(r"what (\w+) is the (.*) \?", text).groups()  # type: ignore[union-attr]
    thing = _thing(scene, rest)
    return str(getattr(thing, asked))


def _thing(scene: Scene, called: str) -> Thing:
    """The only thing with this name."""
    words = set(called.split()) - {"thing"}
    (found,) = (thing for thing in scene.things if words <= set(size_colour_and_shape(thing).split()))
    return found


def _lies(scene: Scene, told: list[str], text: str) -> str:
    pattern = r"is the (.*) (left of|right of|above|below) the (.*) \?"
    first, word, second = re.fullmatch(pattern, text).groups()  # type: ignore[union-attr]
    a, b = (_thing(scene, one) for one in (first, second))
    true = {"left of": a.x < b.x, "right of": a.x > b.x, "above": a.y < b.y, "below": a.y > b.y}[word]
    return "yes" if true else "no"


def _compares(scene: Scene, told: list[str], text: str) -> str:
    if found := re.fullmatch(r"are there more (.*) than (.*) \?", text):
        more, fewer = (_number(told, words) for words in found.groups())
        return "yes" if more > fewer else "no"
    first, word, second = re.fullmatch(r"is the (.*) (larger|smaller) than the (.*) \?", text).groups()  # type: ignore[union-attr]
    sizes = [_thing(scene, one).radius for one in (first, second)]
    return "yes" if (sizes[0] > sizes[1]) == (word == "larger") else "no"


ANSWER_OF = {
    "exist": _exists,
    "count": _counted,
    "colour": _of_one,
    "shape": _of_one,
    "size": _of_one,
    "relation": _lies,
    "comparison": _compares,
}


def test_most_scenes_allow_every_kind_of_question() -> None:
    given = Counter(asked.kind for scene in scenes(1000) for asked in questions_about(scene))
    assert set(given) == set(KINDS)
    assert min(given.values()) > 850


def test_another_number_gives_another_question() -> None:
    scene = scenes(1)[0]
    assert len({question_about(scene, "colour", number) for number in range(12)}) > 1


def test_text_only_is_within_three_points_of_chance() -> None:
    """Plus four standard errors of so few items; and no answer is much likelier than another of its kind."""
    own = items.question_items("test")
    guesses = text_only_answers(own, items.question_items("train"))
    right: dict[str, list[bool]] = defaultdict(list)
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for item in own:
        right[item.kind].append(guesses[item.identifier] == item.answers[0])
        answers[item.kind][item.answers[0]] += 1
    for kind, chance in CHANCE.items():
        found = sum(right[kind]) / len(right[kind])
        assert abs(found - chance) < 0.03 + 4 * (chance * (1 - chance) / len(right[kind])) ** 0.5, (kind, found)
        majority = max(answers[kind].values()) / answers[kind].total()
        assert majority < chance + 0.06, (kind, answers[kind])


def test_labels_of_statements_are_balanced_and_not_predicted_by_their_text() -> None:
    own, training = items.statement_items("test"), items.statement_items("train")
    assert {item.kind for item in own} == set(FORMS)
    labels = Counter(item.answers[0] for item in own)
    assert abs(labels["true"] / len(own) - 0.5) < 0.07
    guesses = text_only_answers(own, training)
    right = [guesses[item.identifier] == item.answers[0] for item in own]
    assert abs(sum(right) / len(right) - 0.5) < 0.03 + 4 * 0.5 / len(right) ** 0.5


def test_a_statement_made_by_hand() -> None:
    left = made(("large red circle", 20, 20), ("small blue square", 90, 90))
    right = made(("large red circle", 50, 50), ("small red cross", 90, 20))
    for key in range(40):
        said = statement_about(left, Scene(**{**_fields(right), "key": key}))
        assert said.label == _true(said.text, left, right), said


def _fields(scene: Scene) -> dict[str, object]:
    return {field: getattr(scene, field) for field in ("split", "index", "key", "side", "things", "counted")}


def _true(text: str, left: Scene, right: Scene) -> bool:
    sides = [[size_colour_and_shape(thing) for thing in scene.things] for scene in (left, right)]
    has = [lambda words, side=side: any(words in one for one in side) for side in sides]
    if found := re.fullmatch(r"both images have a (.*) \.", text):
        return all(one(found[1]) for one in has)
    if found := re.fullmatch(r"only the (left|right) image has a (.*) \.", text):
        own, other = has if found[1] == "left" else reversed(has)
        return own(found[2]) and not other(found[2])
    if found := re.fullmatch(r"there are more (.*) in the (left|right) image than in the \w+ image \.", text):
        counts = [_number(side, found[1]) for side in sides]
        return counts[0] > counts[1] if found[2] == "left" else counts[1] > counts[0]
    found = re.fullmatch(r"the images have exactly (\d) (.*) in total \.", text)
    assert found
    return int(found[1]) == sum(_number(side, found[2]) for side in sides)


def test_captions_describe_the_scene() -> None:
    for scene in scenes(100):
        listed, placed, relation = captions(scene)
        assert Counter(listed.removeprefix("from left to right ").split(" , ")) == Counter(
            map(size_colour_and_shape, scene.things)
        )
        for phrase in placed.split(" , "):
            words, where = re.fullmatch(r"a (.*) in (row \d column \d)", phrase).groups()  # type: ignore[union-attr]
            assert [size_colour_and_shape(thing) for thing in scene.things if cell_of(thing, scene.side) == where] == [
                words
            ]
        assert sum(size_colour_and_shape(thing) in relation for thing in scene.things) >= 2


def test_the_vocabulary_knows_every_word_and_splits_some() -> None:
    words = WordPiece(items.VOCABULARY)
    unknown = words.pieces["[UNK]"]
    for index in range(200):
        scene, next_one = scene_at("train", index), scene_at("train", index + 1)
        said = [
            *captions(scene),
            *(asked.text for asked in questions_about(scene)),
            statement_about(scene, next_one).text,
        ]
        assert all(unknown not in words.ids(text, 99) for text in (*said, *ANSWERS))
    assert list(words.words("purple triangles")) == ["pur", "##ple", "tri", "##angle", "##s"]


def test_a_path_names_a_scene_unless_it_is_a_file() -> None:
    assert items.generated_scene(items.image_path("val", 12)) == scene_at("val", 12)
    assert items.generated_scene(items.image_path("val", 12, seed=3), side=64) == scene_at("val", 12, seed=3, side=64)
    assert items.generated_scene(items.VOCABULARY) is None


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match="--split dev: shapes has test, val, train"):
        scene_at("dev", 0)
