"""Predictions in submission formats: round trips, and every kind of damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tasks import data_sets
from vlbench.errors import InputError
from vlbench.tasks import predictions as files
from vlbench.tasks.items import Gallery
from vlbench.tasks.kinds import write_predictions
from vlbench.tasks.registry import TASKS

GALLERY = Gallery(images=(Path("a"), Path("b")), texts=("1", "2", "3"), image_of_text=(0, 0, 1))


def test_answers_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    files.write_answers(path, {"100": "yes", "7": 'a "quoted" answer'})
    assert (
        path.read_text()
        == '[{"question_id": 100, "answer": "yes"}, {"question_id": 7, "answer": "a \\"quoted\\" answer"}]\n'
    )
    assert files.read_answers(path) == {"100": "yes", "7": 'a "quoted" answer'}


def test_labels_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    files.write_labels(path, {"dev-1-0-0": "true", "dev-1-0-1": "false"})
    assert path.read_text() == "dev-1-0-0,True\ndev-1-0-1,False\n"
    assert files.read_labels(path) == {"dev-1-0-0": "true", "dev-1-0-1": "false"}


def test_nlvr_names_pictures_as_the_official_script_does_and_reads_both_names(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    assert write_predictions(TASKS["nlvr"], "dev", path.with_suffix(""), {"12-0-5": "true"}) == path
    assert path.read_text() == "dev-12-0-5.png,True\n"
    assert files.read_labels(path) == {"12-0-5": "true"}
    path.write_text("12-0-5,true\n\n12-0-4,FALSE\n")
    assert files.read_labels(path) == {"12-0-5": "true", "12-0-4": "false"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_scores_round_trip(tmp_path: Path, dtype: type) -> None:
    scores = np.arange(6).reshape(3, 2).astype(dtype)
    files.write_scores(tmp_path / "scores.npy", scores)
    assert (files.read_scores(tmp_path / "scores.npy", GALLERY) == scores).all()
    np.savez(tmp_path / "scores.npz", scores=scores, image_of_text=[0, 0, 1])
    assert (files.read_scores(tmp_path / "scores.npz", GALLERY) == scores).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"question_id": 1, "answer": "yes"}', r"results\.json: not JSON; cut off or damaged"),
        ('{"question_id": 1}', "not a list of"),
        ('[{"question_id": 1}]', "entry 1: not"),
        ('[{"question_id": 1, "answer": 3}]', "entry 1: not"),
        ('[{"question_id": 1, "answer": "a"}, {"question_id": "1", "answer": "b"}]', "1 occurs twice"),
    ],
)
def test_damaged_answers(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(InputError, match=said):
        files.read_answers(tmp_path / "results.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("dev-1-0-0,True\ndev-1-0-1,maybe\n", "line 2: not IDENTIFIER,True or IDENTIFIER,False: 'dev-1-0-1,maybe'"),
        ("dev-1-0-0\n", "line 1: not IDENTIFIER,True"),
        ("dev-1-0-0,True,0.7\n", "line 1"),
        ("dev-1-0-0,True\ndev-1-0-0,True\n", "dev-1-0-0 occurs twice"),
        ("1-0-5,True\ndev-1-0-5.png,True\n", "1-0-5 occurs twice"),
    ],
)
def test_damaged_labels(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(InputError, match=said):
        files.read_labels(tmp_path / "predictions.csv")


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.zeros((2, 3)), r"images x texts; transpose it to texts x images, 3 x 2"),
        (np.zeros((3, 3)), r"3 x 3, where the split has 3 texts x 2 images"),
        (np.zeros(3), "3, where the split has"),
        (np.array([[0, 0], [0, 0], [0, np.nan]]), "the score of text 2 and image 1 is not a finite number"),
        (np.array([[None, 1], [1, 1], [1, 1]]), "holds Python objects, which may run code; save numbers"),
        (np.zeros((3, 2), complex), "scores of type complex128; save real numbers"),
        (np.zeros((3, 2), "datetime64[s]"), r"scores of type datetime64\[s\]"),
        (np.zeros((3, 2), "timedelta64[s]"), r"scores of type timedelta64\[s\]"),
        (np.full((3, 2), "0.5"), "scores of type <U3"),
        (np.full((3, 2), b"0.5"), r"scores of type \|S3"),
        (np.zeros((3, 2), "V8"), r"scores of type \|V8"),
        (np.zeros((3, 2), [("a", "f8")]), "scores of type"),
    ],
)
def test_scores_that_do_not_fit(tmp_path: Path, scores: np.ndarray, said: str) -> None:
    np.save(tmp_path / "scores.npy", scores)
    with pytest.raises(InputError, match=said):
        files.read_scores(tmp_path / "scores.npy", GALLERY)


def test_an_index_of_another_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", scores=np.zeros((3, 2)), image_of_text=[0, 1, 1])
    with pytest.raises(InputError, match="image_of_text is not the split's"):
        files.read_scores(tmp_path / "scores.npz", GALLERY)
    np.savez(tmp_path / "other.npz", matrix=np.zeros((3, 2)))
    with pytest.raises(InputError, match="holds matrix, not scores and image_of_text"):
        files.read_scores(tmp_path / "other.npz", GALLERY)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x93NUMPY\x01\x00v", b"1,2,3"])
def test_a_damaged_file_of_scores(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "scores.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"scores\.npy: "):
        files.read_scores(tmp_path / "scores.npy", GALLERY)
    with pytest.raises(InputError, match=r"nowhere\.npy: no such file"):
        files.read_scores(tmp_path / "nowhere.npy", GALLERY)


@pytest.mark.parametrize("index", [np.zeros(()), np.zeros((3, 2)), np.array(["0", "0", "1"]), np.array([])])
def test_an_index_that_is_none(tmp_path: Path, index: np.ndarray) -> None:
    np.savez(tmp_path / "scores.npz", scores=np.zeros((3, 2)), image_of_text=index)
    with pytest.raises(InputError, match="image_of_text is not the split's"):
        files.read_scores(tmp_path / "scores.npz", GALLERY)


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint64, np.float16, np.float32, np.longdouble])
def test_scores_of_any_real_type_are_read(tmp_path: Path, kind: type) -> None:
    scores = np.array([[0, 1], [1, 0], [1, 1]], kind)
    np.save(tmp_path / "scores.npy", scores)
    assert (files.read_scores(tmp_path / "scores.npy", GALLERY) == scores).all()


@pytest.mark.slow
def test_damaged_scores_are_refused_or_read(tmp_path: Path) -> None:
    path, random, refused = tmp_path / "scores", np.random.default_rng(0), 0
    scores = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "a.npy", scores)
    np.savez(tmp_path / "b.npz", scores=scores, image_of_text=[0, 0, 1])
    np.savez_compressed(tmp_path / "c.npz", scores=scores, image_of_text=[0, 0, 1])
    whole = [(tmp_path / name).read_bytes() for name in ("a.npy", "b.npz", "c.npz")]
    for number in range(1500):
        content = bytearray(whole[number % 3])
        for position in random.integers(len(content), size=random.integers(1, 5)):
            content[position] = random.integers(256)
        path.write_bytes(content if number % 10 else content[: random.integers(len(content))])
        try:
            assert files.read_scores(path, GALLERY).shape == (3, 2)
        except InputError:
            refused += 1
    assert 500 < refused < 1500


def test_a_file_must_have_every_item_once_unless_partial(tmp_path: Path) -> None:
    path, items = tmp_path / "p.csv", TASKS["nlvr2"].items(data_sets.nlvr2(tmp_path), "dev")
    whole = {item.identifier: "true" for item in items}
    assert files.check_complete(path, whole, items, partial=False) == items
    some = dict(list(whole.items())[2:])
    with pytest.raises(InputError, match=r"no prediction for dev-0-0-0 \(and 1 more\); --partial scores"):
        files.check_complete(path, some, items, partial=False)
    assert files.check_complete(path, some, items, partial=True) == items[2:]
    for partial in (False, True):
        with pytest.raises(InputError, match=r"'dev-9-9-9' is not in this split"):
            files.check_complete(path, whole | {"dev-9-9-9": "true"}, items, partial=partial)
    with pytest.raises(InputError, match="holds no prediction"):
        files.check_complete(path, {}, items, partial=True)
