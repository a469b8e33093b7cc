"""A model file's heads for tasks: which is taken, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vlbench import specs
from vlbench.errors import SpecError
from vlbench.files.yaml_files import models_folder
from vlbench.specs.catalog import catalog, read_spec


def test_a_declared_head_takes_the_place_of_the_measured_one() -> None:
    spec = catalog()["vilt-b32"]
    vqa = spec.for_task("answers")
    assert (vqa.head.kind, vqa.head.answers, vqa.name) == ("vqa", 3129, spec.name)
    assert spec.for_task("answers", 13).head.answers == 13
    assert spec.for_task("ranking").head.kind == "rank"
    assert (spec.images, spec.for_task("pairs").images) == (1, 2)
    assert vqa.hash() != spec.hash()
    assert spec.for_task("statement").head == spec.head


def test_the_measured_head_will_do_where_it_suits() -> None:
    oscar, vilbert = catalog()["oscar-base"], catalog()["vilbert"]
    assert oscar.for_task("ranking").head == oscar.for_task("statement").head == oscar.head
    assert vilbert.for_task("statement").head.kind == "itm_product"
    vqa = oscar.for_task("answers").model_copy(update={"heads": specs.TaskHeads()})
    assert vqa.for_task("answers", 4).head.answers == 4
    assert catalog()["clip-vit-b32"].for_task("ranking") == catalog()["clip-vit-b32"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("vit-b16", "ranking"), ("clip-vit-b32", "answers"), ("clip-vit-b32", "statement"), ("vilbert", "pairs")],
)
def test_a_model_without_such_a_head_says_so(name: str, kind: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} has no head for {kind}; give its model file one as heads.{kind}$"):
        catalog()[name].for_task(kind)


def test_a_tiny_model_has_the_same_heads() -> None:
    for spec in catalog().values():
        if isinstance(spec, specs.HuggingFaceSpec):
            continue
        declared, tiny = spec.heads.declared(), spec.tiny().heads.declared()
        assert {kind: head.kind for kind, head in tiny.items()} == {kind: head.kind for kind, head in declared.items()}
        specs.ModelSpec.model_validate(spec.tiny().model_dump())


WRONG = {
    "misspelt kind of task": (
        {"heads": {"answer": {"kind": "vqa"}}},
        "unknown key 'heads.answer'; did you mean answers",
    ),
    "a head that does not answer it": (
        {"heads": {"answers": {"kind": "itm"}}},
        "heads.answers.kind: unknown 'itm'; known: vqa, vqa_linear, vqa_product",
    ),
    "another width": ({"heads": {"pairs": {"kind": "pair", "width": 512}}}, "heads.pairs 512"),
    "heads that do not divide it": (
        {"heads": {"pairs": {"kind": "pair_attention", "heads": 7}}},
        "width 768 is no multiple of heads 7",
    ),
    "both images in one row": (
        {"heads": {"pairs": {"kind": "pair_together"}}},
        "modal_types tell images apart by their rows",
    ),
    "empty weights": ({"weights": ""}, "weights: "),
}


@pytest.mark.parametrize(("changes", "says"), WRONG.values(), ids=WRONG)
def test_wrong_heads_are_told_with_their_key(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    content = yaml.safe_load((models_folder() / "vilt-b32.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_scores_pairs_has_no_heads(tmp_path: Path) -> None:
    content = yaml.safe_load((models_folder() / "clip-vit-b32.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(content | {"heads": {"answers": {"kind": "vqa"}}}), encoding="utf-8")
    with pytest.raises(SpecError, match="interaction dot_product gives scores; leave out the head"):
        read_spec(path)
