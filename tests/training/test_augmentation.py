"""RandAugment against torchvision's, operation by operation, and what some operations must leave alone."""

from __future__ import annotations

import colorsys
from unittest import mock

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from vlbench.errors import InputError
from vlbench.training.augmentation import KEEP_ANSWERS, OPERATIONS, RandAugment

THEIRS = {
    "identity": "Identity",
    "auto_contrast": "AutoContrast",
    "equalise": "Equalize",
    "rotate": "Rotate",
    "solarise": "Solarize",
    "posterise": "Posterize",
    "colour": "Color",
    "contrast": "Contrast",
    "brightness": "Brightness",
    "sharpness": "Sharpness",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
}


def noise(height: int = 24, width: int = 32) -> Tensor:
    coarse = torch.randint(0, 256, (1, 3, 6, 8), generator=torch.Generator().manual_seed(0)).float()
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0].to(torch.uint8)


def test_operations_are_the_papers_without_inversion_and_cutout() -> None:
    assert set(OPERATIONS) == set(THEIRS)
    assert len(OPERATIONS) == 14
    assert not any(word in name for name in OPERATIONS for word in ("invert", "inversion", "cutout", "erase"))


def test_none_inverts_or_cuts_out() -> None:
    image = noise().clamp(min=1)
    for name, operation in OPERATIONS.items():
        after = operation(image, 0.3, 1)
        assert not torch.equal(after, 255 - image)
        if name not in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y", "auto_contrast", "equalise"):
            assert (after.amax(dim=0) > 0).all()  # black comes in at the border alone


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_each_does_what_torchvisions_does(name: str, magnitude: int) -> None:
    """Within one level of 255: torchvision's magnitudes are of single precision."""
    image, theirs = noise(), v2.RandAugment(num_ops=1, magnitude=magnitude)
    only = {THEIRS[name]: v2.RandAugment._AUGMENTATION_SPACE[THEIRS[name]]}
    with mock.patch.object(v2.RandAugment, "_AUGMENTATION_SPACE", only):
        torch.manual_seed(0)
        expected = torch.stack([theirs(image) for _ in range(20)]).int()
    ours = torch.stack([OPERATIONS[name](image, magnitude / 30, sign) for sign in (-1, 1)]).int()
    apart = (ours[:, None] - expected[None]).abs().flatten(2).amax(dim=2)
    assert apart.amin(dim=0).max() <= 1  # whatever theirs did, one of our directions did, too
    assert apart.amin(dim=1).max() <= 1  # and the other way round


def test_two_in_a_row_of_magnitude_9() -> None:
    augment = RandAugment(operations=("translate_x",))
    reach = int(150 / 331 * 32 * 9 / 30)
    image = torch.full((3, 8, 32), 200, dtype=torch.uint8)
    black = {int((augment(image, seed=seed)[0, 0] == 0).sum()) for seed in range(20)}
    assert reach == 4
    assert black == {4, 8}  # there and back leaves one border of each, twice the same way a wide one


def test_images_keep_their_form() -> None:
    for seed in range(50):
        after = RandAugment()(noise(), seed=seed)
        assert after.shape == (3, 24, 32)
        assert after.dtype == torch.uint8


def test_one_seed_gives_one_image_whatever_the_global_state() -> None:
    augment, image = RandAugment(), noise()
    torch.manual_seed(1)
    first = [augment(image, seed=seed) for seed in range(30)]
    state = torch.manual_seed(2).get_state()
    second = [augment(image, seed=seed) for seed in range(30)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({tuple(after.flatten().tolist()) for after in first}) > 20


def test_every_operation_is_drawn_as_often_in_both_directions() -> None:
    drawn: dict[tuple[str, int], int] = {}

    def note(name: str):
        def operation(image: Tensor, strength: float, sign: int) -> Tensor:
            assert strength == pytest.approx(0.3)
            drawn[name, sign] = drawn.get((name, sign), 0) + 1
            return image

        return operation

    image = torch.zeros(3, 1, 1, dtype=torch.uint8)
    with mock.patch.dict(OPERATIONS, {name: note(name) for name in OPERATIONS}):
        for seed in range(2800):
            RandAugment()(image, seed=seed)
    assert sum(drawn.values()) == 5600
    assert len(drawn) == 28
    assert all(abs(count - 200) < 5 * 13.9 for count in drawn.values())


def test_no_operation_leaves_the_image() -> None:
    assert torch.equal(RandAugment(count=0)(noise(), seed=3), noise())


COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (50, 70, 200), "yellow": (220, 200, 50)}


@pytest.mark.parametrize("colour", COLOURS)
def test_hues_and_places_survive_what_keeps_answers(colour: str) -> None:
    """A thing in the upper left on grey: its hue moves by less than 15 degrees, its edges by at most one pixel."""
    image = torch.full((3, 32, 32), 128, dtype=torch.uint8)
    image[:, 6:14, 4:12] = torch.tensor(COLOURS[colour], dtype=torch.uint8)[:, None, None]
    before = colorsys.rgb_to_hsv(*(part / 255 for part in COLOURS[colour]))[0]
    augment = RandAugment(operations=KEEP_ANSWERS)
    for seed in range(60):
        after = augment(image, seed=seed).int()
        hue = colorsys.rgb_to_hsv(*(after[:, 10, 8] / 255).tolist())[0]
        assert min(abs(hue - before), 1 - abs(hue - before)) < 15 / 360
        coloured = (after.amax(dim=0) - after.amin(dim=0)) > 24
        rows, columns = coloured.any(dim=1).nonzero(), coloured.any(dim=0).nonzero()
        assert abs(rows.min() - 6) <= 1
        assert abs(rows.max() - 13) <= 1
        assert abs(columns.min() - 4) <= 1
        assert abs(columns.max() - 11) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operations": ("rotat",)}, "did you mean rotate"),
        ({"operations": ("invert",)}, "known: identity"),
        ({"operations": ()}, "no operations given"),
        ({"magnitude": 31}, "magnitude 31"),
        ({"count": -1}, "count -1"),
    ],
)
def test_bad_options_are_refused_in_one_line(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        RandAugment(**options)
    assert "\n" not in str(refused.value)
