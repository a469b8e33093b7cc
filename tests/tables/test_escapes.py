"""Nasty texts in every form of a table: what each reader takes for a command, a link or markup, is none."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import unicodedata
import warnings
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from tests.nasty import NASTY
from vlbench.files.figures import NO_FORMULAS, write_figure
from vlbench.runner.progress import print_above, progress_bars
from vlbench.tables.markup import escape_csv, escape_html, escape_markdown, escape_terminal, escape_xml, visible
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.terminal import to_terminal
from vlbench.tables.writers import to_csv, to_json, to_latex, to_markdown, to_text

TEXTS = pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)


def table_of(text: str) -> Table:
    """With the text as heading, value, caption and note."""
    columns = (TableColumn[str](text, str), TableColumn[str](f"{text} ms", str, str), TableColumn[str]("n", len, str))
    return Table.of(columns, [text, "x"], caption=text, notes=(text,))


def unsafe(text: str) -> set[str]:
    """The characters that act on a terminal or an editor instead of being shown."""
    reorders = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    return {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or sign in reorders} - {
        "\n"
    }


@TEXTS
@pytest.mark.parametrize("width", [2000, 40, 3])
def test_a_terminal_shows_every_sign_and_obeys_none(text: str, width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    console.print(to_terminal([table_of(text)], width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for lines in (shown, to_text([table_of(text)])):
        assert not unsafe(lines)
    if width == 2000:
        assert not any(line.lstrip().startswith("::") for line in shown.splitlines()), "a command of GitHub Actions"
        assert "##[" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\u2028b\u202e\n\t", r"a\u2028b\u202e\n\t"),
        ("caf\udce9 \ud800", r"caf\xe9 \ud800"),
        ("::error::x", r"\x3a:error::x"),
        ("a ##[error]", r"a \x23#[error]"),
        ("ü 中 😀 ± a::b #1 \\x1b", "ü 中 😀 ± a::b #1 \\x1b"),
    ],
)
def test_what_a_terminal_shows(text: str, shown: str) -> None:
    assert escape_terminal(text) == shown


class Parts(HTMLParser):
    """The tags of a page, and its text nodes, among which GitHub looks for names and links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.nodes: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.nodes.append("")
        assert not attributes or tag in ("td", "th"), attributes

    def handle_endtag(self, tag: str) -> None:
        self.nodes.append("")

    def handle_data(self, text: str) -> None:
        self.nodes = [*self.nodes[:-1], self.nodes[-1] + text] if self.nodes else [text]


# https://docs.github.com/get-started/writing-on-github: what its filters and the GFM specification's autolinks match
BY_GITHUB = {
    "a person or team": re.compile(r"@[a-z0-9]", re.IGNORECASE),
    "an issue": re.compile(r"(#|\bGH-)\d", re.IGNORECASE),
    "a link": re.compile(r"\b(https?|ftp)://|\bwww\.[a-z]", re.IGNORECASE),
    "a formula": re.compile(r"\$\S.*\$|\$\$", re.DOTALL),
    "an emoji": re.compile(r":(?!\d\d:)[\w+-]+:"),
    "a commit": re.compile(r"(?<![\w\u200b])[0-9a-f]{7,40}\b", re.IGNORECASE),
}
TAGS = {"table", "thead", "tbody", "tr", "th", "td", "ul", "li", "p", "details", "summary", "span"}


@TEXTS
@pytest.mark.parametrize("folded", [False, True])
def test_github_finds_neither_markup_nor_anything_to_link(text: str, folded: bool) -> None:
    table = table_of(text)
    tables = [Table(caption=text, notes=(text,), folded=True)] if folded else [table]
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(to_markdown(tables))
    parts = Parts(page)
    assert parts.tags <= TAGS
    for what, pattern in BY_GITHUB.items():
        assert not any(pattern.search(node) for node in parts.nodes), what
    read = "".join(parts.nodes).replace("\u200b", "")
    assert read.count(visible(re.sub(r"[ \t-\r]+", " ", text).strip(" "))) >= (2 if folded else 4)


def test_markdown_that_means_nothing_stays_as_it_is() -> None:
    for text in ("12:30:45 2026-01-31T23:59:59", "a_b c-d 1.5% (x) 'y' \"z\"", "CPU @ 2.20GHz", "C# and 5 :", "a: b"):
        assert escape_markdown(text) == text
        assert html.unescape(escape_html(text)) == text


@TEXTS
def test_a_spreadsheet_sees_no_formula(text: str) -> None:
    rows = list(csv.reader(io.StringIO(to_csv([{text: text, "n": -2.5}, {text: None, "n": 1.0}]), newline="")))
    assert [len(row) for row in rows] == [2, 2, 2]
    for cell in (rows[0][0], rows[1][0]):
        assert cell[:1] not in set("=+-@\t\r\n\uff1d") or cell == "---"
        assert not unsafe(cell)
    assert rows[1][1] == "-2.5"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+1", "'+1+1"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", r"'\t=1"),
        ("\r=1", r"'\r=1"),
        ("\n=1", "'\n=1"),
        ("---", "'---"),
        ("-2.5", "-2.5"),
        ("+1e-3", "+1e-3"),
        ("vilt-b32", "vilt-b32"),
    ],
)
def test_an_apostrophe_makes_text_of_a_formula(text: str, cell: str) -> None:
    assert escape_csv(text) == cell


@TEXTS
def test_json_is_exact_and_of_visible_ascii(text: str) -> None:
    written = to_json({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert written.isascii()
    assert not unsafe(written)


@TEXTS
def test_xml_holds_no_character_that_it_forbids(text: str) -> None:
    element = ElementTree.Element("a", b=escape_xml(text))
    element.text = escape_xml(text)
    read = ElementTree.fromstring(ElementTree.tostring(element, encoding="unicode").encode())
    assert read.text == escape_xml(text)


@TEXTS
def test_latex_has_no_line_and_no_command_of_a_text(text: str) -> None:
    lines = to_latex([table_of(text)]).splitlines()
    assert not unsafe("".join(lines))
    assert len(lines) == 12, "the text adds no line"
    commands = set(re.findall(r"\\[a-zA-Z]+", "\n".join(line for line in lines if not line.startswith("%"))))
    assert commands <= {
        *(r"\begin", r"\end", r"\toprule", r"\midrule", r"\bottomrule", r"\symbol"),
        *(
            rf"\text{name}"
            for name in ("backslash", "asciitilde", "asciicircum", "bar", "less", "greater", "asciigrave")
        ),
    }


@TEXTS
def test_a_figure_shows_every_sign_and_no_formula(text: str, tmp_path: Path) -> None:
    with plt.rc_context({**NO_FORMULAS, "svg.fonttype": "none"}):
        picture, axes = plt.subplots()
        axes.set_yticks([0, 1], [text, "x"])
        axes.set_title(text)
        axes.plot([0, 1], label=f"{text}.")
        axes.legend()
        with warnings.catch_warnings(action="ignore"):  # fonts lack some of the signs
            write_figure(picture, tmp_path / "figure.svg")
        plt.close(picture)
    root = ElementTree.parse(tmp_path / "figure.svg").getroot()
    words = " ".join(part.strip() for part in root.itertext())
    assert not unsafe(words)
    for line in re.split("[\r\n]", text):
        assert words.count(escape_xml(line).strip().replace("  ", " ")) >= 3


@TEXTS
def test_progress_shows_every_sign_and_obeys_none(text: str) -> None:
    console = Console(file=io.StringIO(), width=2000, force_terminal=True, color_system=None)
    with progress_bars("{task.fields[words]}", console=console) as bars:
        bars.add_task(text, words=text, total=1)
        print_above(bars, text)
        bars.refresh()
    shown = re.sub(r"\x1b\[[\d?]*[A-Za-z]|\r", "", console.file.getvalue())  # type: ignore[attr-defined]
    assert not unsafe(shown)
    assert escape_terminal(text).strip() in shown
