"""Parts of models as functions of tensors: which arguments share a program, and where programs are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlbench.architectures.interfaces import Images, Text, Tokens
from vlbench.runner.conversion import NotConvertibleError, Part, StageInputs, Target
from vlbench.runner.exporting import Exported, flattened
from vlbench.runner.programs import MOST_EXPORTS, Execute, ProgramsOfPart
from vlbench.runner.signature import Shapes

WIDTH = 4


class TorchRuntime:
    """Executes programs with PyTorch, and records what it is asked for."""

    suffix = ".pt2"

    def __init__(self) -> None:
        self.options: dict[str, str | int] = {}
        self.exported: list[Exported] = []
        self.loaded: list[Shapes | None] = []

    def write(self, exported: Exported, path: Path) -> None:
        self.exported.append(exported)
        torch.export.save(exported.program, path)

    def load(self, path: Path, shapes: Shapes | None) -> Execute:
        self.loaded.append(shapes)
        module = torch.export.load(path).module()
        return lambda tensors: module(*tensors)

    @property
    def dynamic(self) -> list[tuple[set[int], ...]]:
        """The dynamic dimensions of the tensors of each exported program."""
        return [tuple(map(set, exported.signature.dynamic)) for exported in self.exported]


class Twice(nn.Module):
    """Reads tokens and gives tokens, as the parts of models do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tokens, *, add: float = 0.0) -> Tokens:
        return Tokens(values=self.layer(tokens.values) * 2 + add, mask=tokens.mask)


def tokens(batch: int, length: int, *, masked: bool = False) -> Tokens:
    values = torch.arange(batch * length * WIDTH).reshape(batch, length, WIDTH) / 10
    return Tokens(values=values, mask=torch.ones(batch, length, dtype=torch.bool) if masked else None)


def part_of(
    module: nn.Module, folder: Path, *calls: Any, fixed_shapes: bool = True, calibration: Sequence[StageInputs] = ()
) -> Part:
    inputs = [StageInputs(call if isinstance(call, tuple) else (call,), {}) for call in calls]
    target = Target(folder=folder, fixed_shapes=fixed_shapes)
    content = {"name": "text", "module": module, "eager": module.forward, "calls": inputs, "outputs": []}
    return Part(**content, calibration=lambda: calibration, target=target)


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (Text(ids=torch.zeros(3, 9), mask=None), True),
        (Text(ids=torch.zeros(1, 2), mask=torch.ones(1, 2)), False),
        (Text(ids=torch.zeros(1, 2, dtype=torch.int64), mask=None), False),
        (Text(ids=torch.zeros(2), mask=None), False),
        ((torch.zeros(1, 2), None), False),
    ],
)
def test_a_layout_is_all_but_the_sizes_of_tensors(value: Any, same: bool) -> None:
    _, layout = flattened(Text(ids=torch.zeros(1, 2), mask=None))
    assert (flattened(value)[1] == layout) is same


@pytest.mark.parametrize(("constant", "same"), [(2, True), (3, False), (None, False), ("2", False)])
def test_a_constant_belongs_to_the_layout(constant: Any, same: bool) -> None:
    first, second = torch.zeros(1), torch.ones(5)
    tensors, layout = flattened({"tensors": [first, (second,)], "constant": 2})
    assert [id(tensor) for tensor in tensors] == [id(first), id(second)]
    assert (flattened({"tensors": [second, (first,)], "constant": constant})[1] == layout) is same


def test_sizes_of_images_count_where_they_are_padded_or_read() -> None:
    pixels = torch.zeros(2, 3, 8, 8)
    whole = Images(pixels=pixels, sizes=((8, 8), (8, 8)))
    assert flattened(whole)[1] == flattened(Images(pixels=pixels[:1], sizes=((8, 8),)))[1]
    assert flattened(whole, sized=True)[1] != flattened(Images(pixels=pixels[:1], sizes=((8, 8),)), sized=True)[1]
    assert flattened(whole)[1] != flattened(Images(pixels=pixels, sizes=((8, 8), (4, 8))))[1]


def test_an_object_that_holds_no_tensors_is_not_convertible(tmp_path: Path) -> None:
    reason = "^it reads a object, which is no tensor$"
    with pytest.raises(NotConvertibleError, match=reason):
        flattened((torch.zeros(1), object()))
    with pytest.raises(NotConvertibleError, match=reason):
        ProgramsOfPart(part_of(Twice(), tmp_path, (tokens(1, 2), object())), TorchRuntime())


@pytest.mark.parametrize(
    ("calls", "dynamic"),
    [
        ([tokens(1, 5)], set()),
        ([tokens(1, 5), tokens(1, 3)], {1}),
        ([tokens(2, 5), tokens(3, 4), tokens(4, 5)], {0, 1}),
    ],
)
def test_dimensions_are_dynamic_whose_sizes_differ_between_calls(
    calls: Sequence[Tokens], dynamic: set[int], tmp_path: Path
) -> None:
    module, runtime = Twice(), TorchRuntime()
    with torch.no_grad():
        programs = ProgramsOfPart(part_of(module, tmp_path, *calls), runtime)
        assert runtime.dynamic == [(dynamic,)]
        for call in calls:
            output = programs(call)
            assert isinstance(output, Tokens)
            assert output.mask is None
            assert torch.allclose(output.values, module(call).values)
    assert len(runtime.exported) == 1


def test_a_later_size_is_accepted_where_it_is_dynamic_and_exported_where_it_is_not(tmp_path: Path) -> None:
    module, runtime = Twice(), TorchRuntime()
    with torch.no_grad():
        programs = ProgramsOfPart(part_of(module, tmp_path, tokens(2, 5), tokens(2, 3)), runtime)
        for call, exports in [(tokens(2, 7), 1), (tokens(3, 7), 2), (tokens(4, 6), 2), (tokens(4, 6, masked=True), 3)]:
            output = programs(call)
            assert torch.allclose(output.values, module(call).values)
            assert (output.mask is None) == (call.mask is None)
            assert len(runtime.exported) == exports
    assert runtime.dynamic == [({1},), ({0, 1},), (set(), set())]


def test_a_constant_argument_has_a_program_of_its_own(tmp_path: Path) -> None:
    module, runtime = Twice(), TorchRuntime()
    with torch.no_grad():
        programs = ProgramsOfPart(part_of(module, tmp_path, tokens(1, 2)), runtime)
        for add in (1.0, 2.0, 1.0):
            assert torch.allclose(programs(tokens(1, 2), add=add).values, module(tokens(1, 2), add=add).values)
    assert len(runtime.exported) == 3  # the first call was without


def test_arguments_that_differ_in_every_call_are_refused_in_the_end(tmp_path: Path) -> None:
    programs = ProgramsOfPart(part_of(Twice(), tmp_path, tokens(1, 2)), TorchRuntime())
    with torch.no_grad():
        for add in range(1, MOST_EXPORTS):
            programs(tokens(1, 2), add=float(add))
        with pytest.raises(NotConvertibleError, match=r"^text: its arguments differ from call to call"):
            programs(tokens(1, 2), add=-1.0)


@pytest.mark.parametrize("fixed", [True, False])
def test_a_program_is_specialised_to_the_shapes_of_a_measurement_alone(fixed: bool, tmp_path: Path) -> None:
    runtime = TorchRuntime()
    with torch.no_grad():
        part = part_of(Twice(), tmp_path, tokens(2, 5), tokens(3, 3), fixed_shapes=fixed)
        programs = ProgramsOfPart(part, runtime)
        for call in (tokens(2, 5), tokens(3, 3), tokens(2, 5)):
            programs(call)
    assert runtime.loaded == ([((2, 5, WIDTH),), ((3, 3, WIDTH),)] if fixed else [None])


class CountsPositives(nn.Module):
    def forward(self, values: Tensor) -> Any:
        return values, int((values > 0).sum())


class Selects(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values if values.sum() > 0 else -values


@pytest.mark.parametrize("module", [CountsPositives(), Selects()])
def test_an_output_that_depends_on_values_is_not_convertible(module: nn.Module, tmp_path: Path) -> None:
    """The first asks PyTorch's exporter for a number, the second for a branch; conversion turns both into a reason."""
    with torch.no_grad(), pytest.raises((NotConvertibleError, RuntimeError)):
        ProgramsOfPart(part_of(module, tmp_path, torch.ones(3)), TorchRuntime())


class NeverWrites(TorchRuntime):
    def write(self, exported: Exported, path: Path) -> None:
        raise AssertionError("it is exported already")


def test_programs_of_a_folder_are_used_again_without_an_export(tmp_path: Path) -> None:
    module = Twice()
    calls = (tokens(2, 5), tokens(2, 3))
    with torch.no_grad():
        ProgramsOfPart(part_of(module, tmp_path, *calls), TorchRuntime())(tokens(2, 5, masked=True))
        again = ProgramsOfPart(part_of(module, tmp_path, *calls), NeverWrites())
        for call in (*calls, tokens(2, 9), tokens(2, 5, masked=True)):
            assert torch.allclose(again(call).values, module(call).values)


def test_a_program_that_was_written_halfway_is_exported_again(tmp_path: Path) -> None:
    """Its signature is written last."""
    ProgramsOfPart(part_of(Twice(), tmp_path, tokens(1, 2)), TorchRuntime())
    (signature,) = tmp_path.glob("*.signature")
    signature.unlink()
    runtime = TorchRuntime()
    ProgramsOfPart(part_of(Twice(), tmp_path, tokens(1, 2)), runtime)
    assert len(runtime.exported) == 1


class TwiceOfThree(Twice):
    """Reads texts of three tokens alone."""

    def forward(self, tokens: Tokens, *, add: float = 0.0) -> Tokens:
        values = torch.ones(3, 3) @ tokens.values
        return super().forward(Tokens(values=values, mask=tokens.mask), add=add)


class TwiceOrOnce(Twice):
    """Computes something else for texts of four tokens, so that a program is for those alone or for all others."""

    def forward(self, tokens: Tokens, *, add: float = 0.0) -> Tokens:
        return tokens if tokens.values.shape[1] == 4 else super().forward(tokens, add=add)


@pytest.mark.parametrize(
    ("module", "calls", "calibrated", "dynamic"),
    [
        (Twice(), [tokens(1, 2)], [(1, 2, WIDTH), (3, 4, WIDTH), (2, 3, WIDTH)], {0, 1}),
        (TwiceOfThree(), [tokens(4, 3)], [(2, 3, WIDTH)], {0}),
        (TwiceOrOnce(), [tokens(4, 4), tokens(2, 2)], [(3, 4, WIDTH)], {0}),
    ],
    ids=["any size", "one size", "a call of another size"],
)
def test_calls_for_calibration_are_those_of_the_same_layout_that_the_program_computes(
    module: nn.Module, calls: list[Tokens], calibrated: list[tuple[int, ...]], dynamic: set[int], tmp_path: Path
) -> None:
    """A program that was exported for one size alone was given others, which its runtime refused."""
    given = (tokens(1, 2), tokens(1, 2, masked=True), tokens(3, 4), tokens(2, 3))
    calibration = [StageInputs((call,), {}) for call in given]
    runtime = TorchRuntime()
    ProgramsOfPart(part_of(module, tmp_path, *calls, calibration=calibration), runtime)
    (exported,) = runtime.exported
    assert [[tuple(tensor.shape) for tensor in call] for call in exported.calibration] == [
        [some] for some in calibrated
    ]
    assert runtime.dynamic == [(dynamic,)]
