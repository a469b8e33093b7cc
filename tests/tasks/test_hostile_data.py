"""Files of data sets as other tools save them are read; what is damaged or hostile is refused in one short line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tasks import data_sets
from vlbench.errors import InputError
from vlbench.evaluation.answers import named_labels, read_answer_set
from vlbench.tasks.predictions import read_answers, read_labels
from vlbench.tasks.registry import TASKS, Task
from vlbench.tasks.wordpiece import SPECIAL, WordPiece

BOM = b"\xef\xbb\xbf"
MAKERS: dict[str, Callable[[Path], Path]] = {
    "vqav2": data_sets.vqav2,
    "nlvr2": data_sets.nlvr2,
    "nlvr": data_sets.nlvr,
    "easy-vqa": data_sets.easy_vqa,
    "flickr30k": data_sets.karpathy,
}
FILES = {
    "vqav2": "v2_OpenEnded_mscoco_val2014_questions.json",
    "nlvr2": "dev.json",
    "nlvr": "dev/dev.json",
    "easy-vqa": "test/questions.json",
    "flickr30k": "dataset_flickr30k.json",
}


def read(task: Task, folder: Path) -> Any:
    split = task.splits[0]
    return task.gallery(folder, split) if task.has_gallery else task.items(folder, split)


@pytest.mark.parametrize("name", MAKERS)
def test_a_byte_order_mark_changes_nothing(tmp_path: Path, name: str) -> None:
    folder = MAKERS[name](tmp_path)
    plain = read(TASKS[name], folder)
    for path in (path for kind in ("json", "txt") for path in folder.rglob(f"*.{kind}")):
        path.write_bytes(BOM + path.read_bytes())
    assert read(TASKS[name], folder) == plain


def test_a_byte_order_mark_in_predictions_answers_and_vocabularies_changes_nothing(tmp_path: Path) -> None:
    pieces = [*SPECIAL, "yes", "no"]
    for name, text, reader in (
        ("answers.json", '[{"question_id": 1, "answer": "yes"}]', read_answers),
        ("labels.csv", "dev-0-0-0,True\n", read_labels),
        ("classes.txt", "yes\nno\n", read_answer_set),
        ("classes.json", '["yes", "no"]', read_answer_set),
        ("config.json", '{"id2label": {"0": "yes", "1": "no"}}', named_labels),
        ("vocab.txt", "\n".join(pieces), lambda path: WordPiece(path).pieces),
    ):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        plain = reader(path)
        path.write_bytes(BOM + path.read_bytes())
        assert reader(path) == plain, name


SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c"


def test_only_line_ends_end_lines(tmp_path: Path) -> None:
    folder = data_sets.nlvr2(tmp_path)
    plain = TASKS["nlvr2"].items(folder, "dev")
    lines = [json.loads(line) for line in (folder / "dev.json").read_text().splitlines()]
    with (folder / "dev.json").open("w", encoding="utf-8", newline="") as file:
        for line in lines:
            sentence = line["sentence"] + SEPARATORS[:3]  # JSON escapes the others
            file.write(json.dumps(line | {"sentence": sentence}, ensure_ascii=False) + "\r\n")
    items = TASKS["nlvr2"].items(folder, "dev")
    assert [item.text for item in items] == [item.text + SEPARATORS[:3] for item in plain]
    answers = tmp_path / "answers.txt"
    answers.write_text("".join(f"a{separator}b\r\n" for separator in SEPARATORS), encoding="utf-8", newline="")
    assert read_answer_set(answers) == tuple(f"a{separator}b" for separator in SEPARATORS)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join([*SPECIAL, *SEPARATORS, "last"]), encoding="utf-8", newline="")
    assert WordPiece(vocabulary).pieces["last"] == len(SPECIAL) + len(SEPARATORS)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" * 100_000, "nested more than 200 deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number has thousands of digits"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": "caf\xe9"}', "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b"null", ""),
        (b"5", ""),
        (b"\0\0\0", "not JSON"),
    ],
    ids=["deep", "digits", "infinite", "latin-1", "surrogate", "null", "number", "NUL"],
)
def test_a_file_that_is_not_what_it_should_be(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    folder = MAKERS[name](tmp_path)
    (folder / FILES[name]).write_bytes(content)
    check_refused(lambda: read(TASKS[name], folder), says)


def check_refused(reader: Callable[[], Any], says: str) -> None:
    with pytest.raises(InputError) as error:
        reader()
    message = str(error.value)
    assert says in message
    assert message.isprintable()
    assert len(message) <= 300


EVERY = (None, 5, True, [], {}, ["x"], "", "x" * 10_000, "\x1b[31m", "a\0b", "../../../etc/passwd", "/dev/zero")


@pytest.mark.parametrize("name", MAKERS)
def test_any_value_in_the_place_of_any_other_is_read_or_refused(tmp_path: Path, name: str) -> None:
    folder = MAKERS[name](tmp_path)
    path = folder / FILES[name]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for place in places(lines[0]):
        for value in EVERY:
            changed = [put(lines[0], place, value), *lines[1:]]
            path.write_text("\n".join(map(json.dumps, changed)), encoding="utf-8")
            try:
                data = read(TASKS[name], folder)
            except InputError as error:
                message = str(error)
                assert message.isprintable(), (place, value)
                assert len(message) <= 300, (place, value)
                continue
            images = data.images if TASKS[name].has_gallery else [path for item in data for path in item.images]
            assert all(folder in path.resolve().parents for path in images), (place, value)
            texts = data.texts if TASKS[name].has_gallery else [item.text for item in data]
            assert all(isinstance(text, str) for text in texts), (place, value)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within the first of each list, outermost first."""
    children = list(value.items()) if isinstance(value, dict) else list(enumerate(value[:3]))
    inner = [(*path, key) for key, _ in children]
    nested = [
        place for key, child in children if isinstance(child, dict | list) for place in places(child, (*path, key))
    ]
    return inner + nested


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    part = copy
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = new
    return copy


@pytest.mark.parametrize(
    ("name", "reader", "content", "says"),
    [
        ("a.json", read_answers, '[{"question_id": [1], "answer": "a"}]', "entry 1: not"),
        ("a.json", read_answers, '[{"question_id": true, "answer": "a"}]', "entry 1: not"),
        ("a.json", read_answers, '[{"question_id": null, "answer": "a"}]', "entry 1: not"),
        ("a.csv", read_labels, f'"{"x" * 200_000}",True\n', "line 1: not CSV: field larger than field limit (131072)"),
        ("a.csv", read_labels, '"dev-0-0-0,True\n', "line 1: not CSV: unexpected end of data"),
        ("a.csv", read_labels, "dev-0-0-0,\0\n", "line 1: not IDENTIFIER,True or IDENTIFIER,False"),
        ("a.json", read_answer_set, '{"yes": false, "no": true}', "neither a list of answers nor an object"),
        ("a.json", read_answer_set, f'{{"{"9" * 5000}": "yes", "0": "no"}}', "neither a list of answers nor an object"),
        ("a.txt", read_answer_set, "yes\n" * 2, "'yes' occurs twice"),
        ("config.json", named_labels, "{", "not JSON; cut off or damaged"),
        ("config.json", named_labels, '{"id2label": {"0": "a", "2": "b"}}', "with classes from 0 on"),
    ],
)
def test_damaged_predictions_and_answers(
    tmp_path: Path, name: str, reader: Callable[[Path], Any], content: str, says: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    check_refused(lambda: reader(tmp_path / name), says)


@pytest.mark.parametrize("content", ["[]", "{}", "5", '{"id2label": null}', '{"id2label": [1]}'])
def test_a_config_without_labels_names_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert named_labels(tmp_path / "config.json") is None


def test_an_image_that_two_entries_name_is_refused(tmp_path: Path) -> None:
    folder = data_sets.karpathy(tmp_path)
    path = folder / "dataset_flickr30k.json"
    path.write_text(path.read_text().replace("1.jpg", "0.jpg"))
    check_refused(lambda: TASKS["flickr30k"].gallery(folder, "test"), "image 2: 0.jpg occurs twice in the split 'test'")
