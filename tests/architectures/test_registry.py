"""Every kind of part has a class, which is imported only when it is asked for."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from vlbench import specs
from vlbench.architectures.registry import REGISTRY, implementation, preload
from vlbench.errors import InputError
from vlbench.specs.base import specs_by_kind
from vlbench.specs.heads import HeadPart
from vlbench.specs.interaction import InteractionPart
from vlbench.specs.text import TextPart
from vlbench.specs.visual import VisualPart

PARTS = {
    kind: part
    for parts in (TextPart, VisualPart, InteractionPart, HeadPart)
    for kind, part in specs_by_kind(parts).items()
}


def subclasses(kind: type) -> set[type]:
    """All the way down."""
    return {kind for child in kind.__subclasses__() for kind in (child, *subclasses(child))}


def test_every_kind_of_the_schema_has_an_entry() -> None:
    parts = {part for part in subclasses(specs.Spec) if part.__module__.startswith("vlbench.")}  # not those of tests
    built = {part for part in parts if part.implementation}
    assert set(PARTS.values()) == built
    assert set(REGISTRY) == {*PARTS, "detectron2", "transformers", "module"}


@pytest.mark.parametrize("kind", PARTS)
def test_the_class_of_a_kind_takes_its_spec_and_nothing_that_it_cannot_do_without(kind: str) -> None:
    spec, *rest = inspect.signature(implementation(kind)).parameters.values()
    assert (spec.name, spec.annotation) == ("spec", PARTS[kind].__name__)
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY and one.default is not one.empty for one in rest)
    assert ("images" in {one.name for one in rest}) == PARTS[kind].takes_images


def test_the_entries_of_engines_and_of_other_libraries_exist() -> None:
    assert inspect.isclass(implementation("transformers"))
    assert inspect.isclass(implementation("module"))
    pytest.importorskip("detectron2")
    assert inspect.isclass(implementation("detectron2"))


def test_an_unknown_kind_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no part of kind 'patsch'; known: .*\bpatch\b.*\bregion\b"):
        implementation("patsch")


def test_what_cannot_be_imported_is_left_to_build() -> None:
    for kind in ("no-such-kind", "transformers:NoSuchModel", "no_such_module:Class"):
        preload(kind)


def test_a_kind_imports_only_what_it_needs() -> None:
    light = [kind for kind, part in PARTS.items() if getattr(part, "family", "patch") == "patch"]
    program = f"""
import sys
from vlbench.architectures import build
from vlbench.architectures.registry import preload
for kinds in ({light}, ["grid", "region"]):
    for kind in kinds:
        preload(kind)
    print(*sorted({{"torchvision", "transformers", "detectron2"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\ntorchvision\n"
