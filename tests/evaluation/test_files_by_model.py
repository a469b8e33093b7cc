"""MODEL=FILE is for one model, FILE for all models whose weights come without such a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.errors import InputError
from vlbench.evaluation.answers import FilesByModel, files_by_model
from vlbench.evaluation.task_head import head_for
from vlbench.evaluation.tokens import tokenizer_for
from vlbench.specs.catalog import resolve
from vlbench.tasks.registry import TASKS

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat"]


def test_files_by_name_and_alias(tmp_path: Path) -> None:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.touch()
    other.touch()
    specs = resolve("vilt,uniter")
    assert files_by_model("--answers", [], specs) == FilesByModel()
    assert files_by_model("--answers", [str(one)], specs) == FilesByModel(default=one)
    found = files_by_model("--answers", [f"uniter={one}", str(other)], specs)
    assert found == FilesByModel(by_model={"uniter-base": one}, default=other)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["nowhere.txt"], "--answers nowhere.txt: no such file"),
        (["uniter=nowhere.txt"], "--answers nowhere.txt: no such file"),
        (["unitr=here.txt"], "'unitr' is not one of the selected models; did you mean uniter"),
        (["here.txt", "here.txt"], "a second file; keep one"),
        (["uniter=here.txt", "uniter-base=here.txt"], "a second file for uniter-base; keep one"),
    ],
)
def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], why: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.txt").touch()
    with pytest.raises(InputError, match=why) as error:
        files_by_model("--answers", given, resolve("vilt,uniter"))
    assert "\n" not in str(error.value)


def test_answers_of_the_weights_come_before_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve("vilt")[0].tiny().model_copy(update={"weights": str(tmp_path)})
    (tmp_path / "config.json").write_text('{"id2label": {"0": "no", "1": "yes"}}')
    monkeypatch.setattr("vlbench.evaluation.task_head.with_saved_head", lambda spec: spec)
    task, known = TASKS["easy-vqa"], ("a", "b", "c")
    assert head_for(spec.model_copy(update={"weights": "random"}), task, known=known).answers == known
    assert head_for(spec, task, known=known).answers == ("no", "yes")
    assert head_for(spec, task, answers=("x", "y"), known=known).answers == ("x", "y")


def test_the_vocabulary_of_the_weights_comes_before_the_default(tmp_path: Path) -> None:
    spec = resolve("vilt")[0].tiny()
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    other = tmp_path / "other.txt"
    other.write_text("\n".join([*PIECES[:4], "cat", "a"]))
    assert tokenizer_for(spec, weights=tmp_path, vocabulary=None, fallback=other).ids("a cat") == [2, 4, 5, 3]
    assert tokenizer_for(spec, weights=None, vocabulary=None, fallback=other).ids("a cat") == [2, 5, 4, 3]
