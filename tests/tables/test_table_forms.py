"""One table in every form: text and numbers, gaps, empty columns, notes, and terminals of any width."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import partial

import pandas as pd
import pytest
from rich.console import Console

from vlbench.tables.numbers import bracketed, counted, ends, scaled, short_number, signed_percent
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.terminal import print_tables, to_terminal
from vlbench.tables.writers import csv_pieces, to_csv, to_json, to_latex, to_markdown, to_text


@dataclass(frozen=True)
class Model:
    name: str
    latency_ms: float | None
    interval: tuple[float, float] | None
    verdict: str


MODELS = (Model("a_b|c", 1255.19, (1118.3, 1621.9), "slower"), Model("d", None, None, "same"))
COLUMNS = (
    TableColumn[Model]("model", lambda model: model.name),
    TableColumn[Model]("ms", lambda model: model.latency_ms, short_number, latex="latency (ms)"),
    TableColumn[Model]("95% interval", lambda model: model.interval, ends(), shown="wide"),
    TableColumn[Model]("verdict", lambda model: model.verdict, styles={"slower": "bold red"}),
    TableColumn[Model]("nothing", lambda _: None),
    TableColumn[Model]("kind", lambda _: "file", shown="files"),
)
TABLE = Table.of(COLUMNS, MODELS, caption="Two models", notes=("100% of *them*",))


def printed(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(to_terminal([table], width))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]


def test_values_keep_their_types() -> None:
    frame = TABLE.frame
    assert list(frame.columns) == ["model", "ms", "95% interval", "verdict", "nothing", "kind"]
    assert frame.loc[0, "ms"] == 1255.19
    assert frame.loc[0, "95% interval"] == (1118.3, 1621.9)
    assert frame.loc[1, "ms"] is None


def test_a_column_of_what_items_hold() -> None:
    held = COLUMNS[1].of(lambda pair: pair[1])
    assert [held.get(pair) for pair in (("x", MODELS[0]), ("y", None))] == [1255.19, None]


def test_markdown() -> None:
    assert to_markdown([TABLE]).splitlines() == [
        "Two models",
        "",
        "| model   |    ms |   95% interval | verdict    | kind   |",
        "|:--------|------:|---------------:|:-----------|:-------|",
        "| a_b\\|c  | 1,255 | 1,118 to 1,622 | **slower** | file   |",
        "| d       |     - |              - | same       | file   |",
        "",
        "- 100% of \\*them\\*",
    ]
    folded = Table(caption="More", notes=("a",), folded=True)
    assert to_markdown([Table(), folded]) == "<details><summary>More</summary>\n\n- a\n\n</details>\n"


def test_latex() -> None:
    lines = to_latex([TABLE]).splitlines()
    assert lines[:4] == [r"% needs \usepackage{booktabs}", "% Two models", r"\begin{tabular}{lrrll}", r"\toprule"]
    assert lines[4] == r"model & latency (ms) & 95\% interval & verdict & kind \\"
    assert r"a\_b\textbar{}c & $1\,255$ & 1,118 to 1,622 & slower & file \\" in lines
    assert r"d & -- & -- & same & file \\" in lines
    assert lines[-1] == "% 100% of *them*"
    labelled = to_latex([Table(caption="50%", label="t")])
    assert "\\caption{50\\%}\n\\label{tab:t}" in labelled


def test_a_wide_terminal_shows_a_row_per_item() -> None:
    assert printed(TABLE, 80).splitlines() == [
        "Two models",
        "model     ms    95% interval  verdict",
        "a_b|c  1,255  1,118 to 1,622  slower",
        "d          -               -  same",
        "100% of *them*",
    ]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (30, ["model     ms  verdict", "a_b|c  1,255  slower", "d          -  same"]),
        (20, ["slower  a_b|c", "    ms 1,255", "same    d"]),
    ],
)
def test_a_narrow_terminal_shows_less_and_then_lines(width: int, lines: list[str]) -> None:
    assert printed(TABLE, width).splitlines()[1:-1] == lines


def test_columns_are_left_out_from_the_right_until_the_table_fits() -> None:
    """31 letters wide, then 24, then 17."""
    columns = [TableColumn[str](name, lambda _: "five5", shown="wide") for name in ("a", "b", "c")]
    table = Table.of([TableColumn[str]("name", str), *columns, TableColumn[str]("last", lambda _: "y")], ["x"])
    shown = [printed(table, width).splitlines()[0].split() for width in (31, 30, 24, 23, 17)]
    assert shown == [
        *(["name", "a", "b", "c", "last"], ["name", "a", "b", "last"], ["name", "a", "b", "last"]),
        *(["name", "a", "last"], ["name", "a", "last"]),
    ]


def add(end: str, start: str) -> str:
    return start + end


def test_a_table_of_many_columns_is_turned() -> None:
    columns = [TableColumn[str](f"column {end}", partial(add, end), str) for end in "abcd"]
    table = Table.of([TableColumn[str]("item", str), *columns], ["x", "y"])
    assert printed(table, 16).splitlines() == ["           x   y", *(f"column {one}  x{one}  y{one}" for one in "abcd")]


def test_without_rich() -> None:
    table = Table.of(COLUMNS[:2], MODELS)
    assert to_text([table]) == "model     ms\na_b|c  1,255\nd          -\n"


def test_a_file_has_no_styles_and_no_folded_line(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_tables([Table(notes=("word " * 100,))], tmp_path / "table.txt")
    (line,) = (tmp_path / "table.txt").read_text().splitlines()
    assert line.strip() == ("word " * 100).strip()


def test_csv_and_json_are_of_plain_values() -> None:
    records = [{"a": 1, "b": {"ci95": [1.5, 2.5], "by_restart": [1.0], "c": {"d": None}}}, {"a": None, "b": {"c": {}}}]
    assert to_csv(records).splitlines() == ["a,b.ci95_low,b.ci95_high,b.c.d", "1,1.5,2.5,", ",,,"]
    assert json.loads(to_json({"a": [1, None]})) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        to_json(float("nan"))


def test_numbers() -> None:
    assert [short_number(value) for value in (1255.19, 12.44, 0.857)] == ["1,255", "12.4", "0.86"]
    assert [scaled(1e9, 1)(value) for value in (25_888_869_888, 98_123_456, 0)] == ["25.9", "0.0981", "0.0"]
    assert [signed_percent(value) for value in (0.104, -0.0001)] == ["+10.4%", "+0.0%"]
    assert bracketed(2.25, (2.19, 2.6)) == "2.25 [2.19, 2.60]"
    assert [bracketed(2.25, unknown) for unknown in (None, (None, None), (float("nan"), 3.0))] == ["2.25"] * 3
    assert [counted(count, "thread") for count in (1, 2)] == ["1 thread", "2 threads"]


def test_csv_in_pieces_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"=name": ["a", "=1+1", None, "b\x1b", "a"], "n": pd.array([1, 2, None, 4, 5], "Int64")})
    whole = "'=name,n\na,1\n'=1+1,2\n,\nb\\x1b,4\na,5\n"
    for rows in (1, 2, 5, 9):
        monkeypatch.setattr("vlbench.tables.writers.ROWS_OF_A_PIECE", rows)
        assert "".join(csv_pieces(frame)) == whole
    assert "".join(csv_pieces(frame.iloc[:0])) == "'=name,n\n"
