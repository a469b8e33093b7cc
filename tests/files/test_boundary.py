"""Files from outside: what is read, and what is refused in one line that says where, what and what would work."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlbench.errors import InputError, SpecError
from vlbench.files.arrays import read_arrays
from vlbench.files.csv_files import read_csv_rows
from vlbench.files.json_files import json_line, parse_json, read_json, read_json_lines
from vlbench.files.text import check_regular, check_text, read_bytes, read_lines, read_text
from vlbench.files.yaml_files import MOST_DEPTH, parse_yaml, read_mapping

BOM = b"\xef\xbb\xbf"
READERS: list[Callable[[Path], Any]] = [
    read_bytes,
    read_text,
    read_json,
    read_arrays,
    lambda path: list(read_json_lines(path)),
    lambda path: list(read_csv_rows(path)),
    lambda path: read_mapping(path, "a mapping"),
]


@pytest.fixture(params=READERS, ids=["bytes", "text", "json", "arrays", "json-lines", "csv", "yaml"])
def reader(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    return request.param


def test_what_is_no_regular_file_is_refused_before_it_is_opened(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in {
        "pipe": "is a pipe, not a file",
        "/dev/zero": "is a device, not a file",
        ".": "is a folder, not a file",
        "none": "no such file",
        "loop": "cannot be read: Too many levels of symbolic links",
        "a\0b": "cannot be read: embedded null byte",
        "x" * 300: "cannot be read: File name too long",
    }.items():
        path = tmp_path / name
        with pytest.raises(InputError, match=f"^{re.escape(f'{path}: {reason}')}"):
            reader(path)


def test_a_file_above_the_bound_is_refused_even_if_its_size_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")
    assert read_bytes(path, most_bytes=10) == b"0123456789"
    with pytest.raises(InputError, match="10 bytes; up to 9 work"):
        read_bytes(path, most_bytes=9)
    assert Path("/proc/self/status").stat().st_size == 0
    with pytest.raises(InputError, match="--option /proc/self/status: more than 9 bytes"):
        read_bytes(Path("/proc/self/status"), option="--option ", most_bytes=9)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        check_regular(path)


def test_text_is_utf_8_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(BOM + "yes\r\nno\u2028or\x85not\n".encode())
    assert read_lines(path) == ["yes", "no\u2028or\x85not"]
    path.write_bytes(b"one\ntwo\ncaf\xe9\n")
    with pytest.raises(InputError, match=r"line 3 is not text in UTF-8 \(byte 0xe9\); convert the file"):
        read_text(path)
    path.write_bytes(b"")
    assert read_lines(path) == []


def test_a_text_that_no_file_can_hold_is_refused() -> None:
    check_text("a caf\u00e9 \U0001f600", "--text")
    for text, reason in {"a\udcff": "not text in UTF-8 (character 2)", "a\0b": "holds a NUL character"}.items():
        with pytest.raises(InputError, match=f"^--text: {re.escape(reason)}"):
            check_text(text, "--text")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON; cut off or damaged (EOF while parsing a value)"),
        (b'{"a": [1, 2', "not JSON; cut off or damaged (EOF while parsing a list)"),
        (b"[" * 100_000, "nested more than 200 deep"),
        (b"9" * 5_000, "a number has thousands of digits"),
        (b'{"a": [0, 1e999]}', "a[1] is out of range"),
        (b'{"a": 100000000000000000000}', "a is out of range"),
        (b"[NaN]", "holds NaN, which is not a number of JSON"),
        (b'{"a": -Infinity}', "holds -Infinity, which is not a number of JSON"),
        (b'"\\ud800"', "not JSON; cut off or damaged"),
        (b'"\xe9"', "not JSON; cut off or damaged"),
        ('"\u00e9"'.encode("utf-16"), "not JSON; cut off or damaged"),
    ],
)
def test_json_that_cannot_be_read_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=f"^here: {re.escape(reason)}"):
        parse_json(content, "here")


def test_json_names_the_line_of_a_fault() -> None:
    with pytest.raises(InputError, match=r"^here line 3: not JSON; cut off or damaged \(expected value\)"):
        parse_json(b'{\n "a":\n x}', "here")


def test_json_in_range_is_read_as_it_is() -> None:
    value = {"largest": 2**64 - 1, "least": -(2**63), "small": 1e-300, "large": 1e300, "digits": 0.12345678901234567890}
    assert parse_json(BOM + json_line(value).encode(), "here") == value


def test_lines_of_json_end_with_a_newline_alone(tmp_path: Path) -> None:
    values = [{"text": "a\u2028b\u2029c\x85d\x1ce"}, ["\U0001f600"], 3]
    path = tmp_path / "lines"
    path.write_bytes(BOM + "\n\n".join(map(json_line, values)).encode("ascii") + b"\r\n")
    assert list(read_json_lines(path)) == [(1, values[0]), (3, values[1]), (5, values[2])]
    path.write_text('"a\u2028b"\n{\n', encoding="utf-8")
    lines = read_json_lines(path)
    assert next(lines) == (1, "a\u2028b")
    with pytest.raises(InputError, match="lines line 2: not JSON"):
        next(lines)


def test_rows_of_csv_keep_the_number_of_their_line(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(BOM + b'a,"b\nc"\r\n\r\nd,e\n')
    assert list(read_csv_rows(path)) == [(1, ["a", "b\nc"]), (4, ["d", "e"])]
    for content, reason in {
        'a,b\n"c,d\n': "line 2: not CSV: unexpected end",
        f"{'x' * 131_073},b": "line 1: not CSV: field",
    }.items():
        path.write_text(content)
        with pytest.raises(InputError, match=reason):
            list(read_csv_rows(path))


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level}\n  <<: [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: " + "[" * 100_000, f"line 1 is nested more than {MOST_DEPTH} deep"),
        ("".join("  " * depth + "a:\n" for depth in range(1_500)), "nested more than"),
        ("- " * 3_000 + "a", "nested more than"),
        (BOMB, "line 5: more than 100,000 values"),
        (MERGED, "more than 100,000 values"),
        ("a: &a [*a]", "line 1: *a is within itself"),
        ("a: &a\n  <<: *a\n", "line 2: *a is within itself"),
        ("a: *nowhere", "line 1 not valid YAML: found undefined alias"),
        ("a: !!bool maybe", "line 1 has the tag tag:yaml.org,2002:bool"),
        ("a:\n  b: !!python/object/apply:os.system [ls]", "line 2 has the tag"),
        ("a: !!map [b]", "line 1 has the tag"),
        ("a: 2024-13-45", "not valid YAML: month must be in 1..12"),
        ("a: " + "9" * 5_000, "not valid YAML: Exceeds the limit"),
        ("a: {b: [1, 0x" + "f" * 6_000 + "]}", "a.b[1] is out of range"),
        ("a: 'x\0y'", "not valid YAML: "),
        ("a: [b", "line 2 not valid YAML: "),
        ("a: 1\na: 2", "line 2 not valid YAML: the key 'a' a second time"),
    ],
)
def test_yaml_beyond_mappings_lists_and_scalars_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SpecError, match=re.escape(reason)) as caught:
        parse_yaml(text, "here")
    assert str(caught.value).startswith("here:")
    assert len(str(caught.value)) < 300


def test_yaml_with_anchors_that_stay_small_is_read() -> None:
    assert parse_yaml("a: &a {x: 1}\nb:\n  <<: *a\n  y: [*a, 2]\n", "here") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": [{"x": 1}, 2]},
    }


def test_a_yaml_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(BOM + b"name: x\n")
    assert read_mapping(path, "a mapping") == {"name": "x"}


def test_arrays_are_read_as_numpy_wrote_them(tmp_path: Path) -> None:
    matrix = np.arange(6, dtype=">f4").reshape(2, 3)
    path = tmp_path / "arrays"
    for stored in (matrix, np.asfortranarray(matrix), np.zeros((0, 3)), np.float64(3)):
        with path.open("wb") as file:
            np.save(file, stored)
        np.testing.assert_array_equal(read_arrays(path)[""], stored)
    with path.open("wb") as file:
        np.savez_compressed(file, a=matrix, b=np.array(["x"]))
    arrays = read_arrays(path)
    assert set(arrays) == {"a", "b"}
    np.testing.assert_array_equal(arrays["a"], matrix)


def npy(header: bytes, content: bytes = b"") -> bytes:
    padded = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\0" + len(padded).to_bytes(2, "little") + padded + content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a .npy or .npz file"),
        (b"PK\x03\x04 and no archive", "not a .npy or .npz file"),
        (
            npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 999), }"),
            "declares more than the file",
        ),
        (
            npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-5, 1), }", bytes(40)),
            "declares more than the file",
        ),
        (npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1), }", bytes(15)), "declares more than the file"),
        (npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"x"), "holds Python objects"),
        (npy(b"{'descr': " + b"(" * 90), "not a .npy or .npz file"),
        (npy(b"[]"), "not a .npy or .npz file"),
    ],
)
def test_damaged_arrays_are_refused_before_memory_is_taken(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "scores.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^--scores {re.escape(str(path))}: .*{re.escape(reason)}"):
        read_arrays(path, option="--scores ")


def test_an_archive_with_a_damaged_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    np.savez(path, scores=np.arange(64.0))
    content = bytearray(path.read_bytes())
    content[300] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="or damaged"):
        read_arrays(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scores.npy", b"garbage")
    with pytest.raises(InputError, match=r"not a \.npy or \.npz file"):
        read_arrays(path)
