"""Exports say what the results say, and no name breaks the table that it stands in."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from markdown_it import MarkdownIt

import vlbench
from tests.nasty import NASTY
from tests.paths import RESULTS
from tests.report.conftest import Command
from tests.report.written import evaluated, failed, folder_of, line, one_restart, summary
from vlbench.errors import InputError
from vlbench.report.export import PLAIN, export_tables, plain_frame, write_parquet
from vlbench.tables.markup import one_line
from vlbench.tables.writers import to_latex, to_markdown

NAMES = [text for name, text in NASTY.items() if name != "surrogate"]  # no file of results holds one


def markdown(results: vlbench.Results, table: str | None = None) -> str:
    return to_markdown(export_tables(results, table))


def latex(results: vlbench.Results, table: str | None = None) -> str:
    return to_latex(export_tables(results, table))


def csv(results: vlbench.Results, table: str = "summary") -> str:
    return plain_frame(results, table).to_csv(index=False)


class Cells(HTMLParser):
    """The words of every cell of a page's tables, a list a row; and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.within = False

    def handle_starttag(self, tag: str, _attributes: Any) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.within = True

    def handle_endtag(self, tag: str) -> None:
        self.within &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.within:
            self.rows[-1][-1] += data


def shown(text: str) -> Cells:
    """As GitHub would show it, whose Markdown is CommonMark with tables and strikethrough."""
    cells = Cells()
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    cells.feed(page.replace("\u200b", ""))  # what keeps GitHub from linking
    return cells


def test_markdown_has_a_row_a_cell_with_its_figures(tmp_path: Path) -> None:
    slow = summary(1255.19, 1118.3, 1621.9)
    folder_of(
        tmp_path, line("a", latency_ms=slow), one_restart("b"), failed("c"), evaluations=[evaluated("a", 0.5, 0.4, 0.6)]
    )
    rows = shown(markdown(vlbench.read(tmp_path))).rows
    assert rows[:4] == [
        ["model", "params M", "GMACs", "peak MiB", "latency ms (95%)", "examples/s", "noise", "shapes test accuracy %"],
        ["a", "111.6", "25.9", "500", "1,255 [1,118, 1,622]", "0.80", "stable", "50.0 [40.0, 60.0]"],
        ["b", "-", "-", "-", "2.00", "500", "-", "-"],
        ["c", "-", "-", "-", "failed", "-", "-", "-"],
    ]


def test_markdown_opens_on_stages_and_notes(tmp_path: Path) -> None:
    text = markdown(vlbench.read(folder_of(tmp_path, line("a"), failed("b"))))
    assert text.count("<details>") == text.count("</details>") == 2
    assert ["a", "2.00", "1.00", "6.00", "8.00", "8.00"] in shown(text).rows
    assert "- b: failed: out of memory: 51 TB" in text
    assert "- Machine: EPYC 7, 2 cores" in text


@pytest.mark.parametrize("name", NAMES)
def test_no_name_means_anything_to_markdown_or_html(tmp_path: Path, name: str) -> None:
    folder_of(tmp_path, line(name), failed("x", error=name), evaluations=[evaluated(name, 0.5)])
    results = vlbench.read(tmp_path)
    told = one_line(name)
    for text, column in ((markdown(results), 0), (markdown(results, "accuracy"), 0), (markdown(results, "stages"), 0)):
        found = shown(text)
        assert found.rows[1][column] == told
        assert {len(row) for row in found.rows[: 2 if column else 1]} == {len(found.rows[0])}
        assert set(found.tags) <= {
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "details",
            "summary",
            "ul",
            "li",
            "span",
        }
    html = MarkdownIt("commonmark").render(markdown(results)).replace("\u200b", "")
    assert f"x: failed: {told}" in re.sub(r"<[^>]*>", "", html).replace("&lt;", "<").replace("&gt;", ">").replace(
        "&quot;", '"'
    ).replace("&amp;", "&")


def test_of_several_folders_each_row_says_of_which(tmp_path: Path) -> None:
    for name in "xy":
        folder_of(tmp_path / name, line("a"), line("a", cell_hash="b", batch=8))
    text = markdown(vlbench.read(tmp_path))
    assert [row[:2] for row in shown(text).rows[:5]] == [
        ["folder", "model"],
        ["x", "a, batch 1"],
        ["x", "a, batch 8"],
        ["y", "a, batch 1"],
        ["y", "a, batch 8"],
    ]
    assert "- y: Machine: EPYC 7" in text
    assert "{llrrrrrl}" in latex(vlbench.read(tmp_path))


def check_latex(text: str) -> list[list[str]]:
    """Environments and braces are balanced, and each row of a table has as many cells as it has columns; its rows."""
    code = "\n".join(one for one in text.splitlines() if not one.startswith("%"))
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", code):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    plain = re.sub(r"\\[\\{}$&%#_]", "", code)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert not re.search(r"[#%^~<>|\"]", plain.replace("\\", ""))
    found = []
    for alignment, body in re.findall(
        r"\\begin\{tabular\}\{([lr]+)\}\n\\toprule\n(.*?)\n\\bottomrule", code, re.DOTALL
    ):
        rows = [one for one in body.splitlines() if one != r"\midrule"]
        assert all(one.endswith(r" \\") for one in rows)
        cells = [re.split(r"(?<!\\) & ", one.removesuffix(r" \\")) for one in rows]
        assert {len(row) for row in cells} == {len(alignment)}
        assert not any(row[0].startswith(("[", "*")) for row in cells)
        found += cells
    return found


def test_latex_has_units_intervals_a_caption_and_a_label(tmp_path: Path) -> None:
    folder_of(tmp_path, line("a_b", latency_ms=summary(1255.19, 1118.3, 1621.9)), failed("c"))
    text = latex(vlbench.read(tmp_path))
    rows = check_latex(text)
    assert rows[:3] == [
        ["model", "parameters (M)", "MACs (G)", "peak memory (MiB)", "latency (ms)", "examples/s", "noise"],
        [r"a\_b", "$111.6$", "$25.9$", "$500$", r"$1\,255\,[1\,118, 1\,622]$", "$0.80$", "stable"],
        ["c", "--", "--", "--", "failed", "--", "--"],
    ]
    assert text.startswith("% needs \\usepackage{booktabs}\n")
    assert r"\caption{One forward pass on EPYC 7, 2 cores, 2 threads (cpu, fp32, batch 1): " in text
    assert r"\label{tab:vlbench-summary}" in text
    assert r"\label{tab:vlbench-stages}" in text
    assert "% c: failed: out of memory: 51 TB" in text
    assert "siunitx" not in text


@pytest.mark.parametrize("name", NAMES)
def test_no_name_means_anything_to_latex(tmp_path: Path, name: str) -> None:
    folder_of(tmp_path, line(name), failed("x", error="first\nsecond & {"), evaluations=[evaluated(name, 0.5)])
    for table in (None, "accuracy", "stages"):
        text = latex(vlbench.read(tmp_path), table)
        first = check_latex(text)[1][0]
        words = {r"\textbackslash": "\\", r"\textasciitilde": "~", r"\textasciicircum": "^", r"\textbar": "|"}
        words |= {r"\textless": "<", r"\textgreater": ">", r"\textasciigrave": "`"}
        first = first.replace(r"\symbol{34}", "\x0034;")
        for command, sign in words.items():
            first = first.replace(f"{command}{{}}", f"\0{ord(sign)};")
        first = re.sub(r"\\([%&_#${}])", lambda found: f"\0{ord(found[1])};", first).replace("{", "").replace("}", "")
        assert re.sub("\0(\\d+);", lambda found: chr(int(found[1])), first) == one_line(name)
    assert "% x: failed: first second & {" in latex(vlbench.read(tmp_path))


@pytest.mark.parametrize("folder", ["epyc-2-cores", "epyc-2-cores/shapes", "xeon-2-cores/batch", "xeon-2-cores"])
@pytest.mark.parametrize("table", [None, *PLAIN])
def test_published_results_are_exported(folder: str, table: str | None) -> None:
    results = vlbench.read(RESULTS / folder)
    if table and (table == "samples" or not len(plain_or_none(results, table))):
        with pytest.raises(InputError, match=f"--table {table}[: ]"):
            latex(results, table)
        return
    assert len(check_latex(latex(results, table))) > 1
    assert len({len(row) for row in shown(markdown(results, table)).rows}) <= 2


def plain_or_none(results: vlbench.Results, table: str) -> pd.DataFrame:
    return results.cells if table == "summary" else getattr(results, table)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex")
def test_latex_compiles(tmp_path: Path) -> None:
    folder_of(tmp_path, *(line(name) for name in NASTY))
    body = latex(vlbench.read(tmp_path))
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    (tmp_path / "page.tex").write_text(head + body + "\\end{document}\n")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_csv_is_the_cells_in_plain_units_with_their_accuracies(tmp_path: Path) -> None:
    lines = [evaluated("a", 0.5, 0.25, 0.75), evaluated("a", 0.125, task="nlvr2", split="dev")]
    results = vlbench.read(folder_of(tmp_path, line("a"), failed("b"), evaluations=lines))
    text = csv(results)
    assert ",25888869888," in text
    found = pd.read_csv(io.StringIO(text))
    more = ["nlvr2_dev_accuracy", "shapes_test_accuracy"]
    assert list(found.columns) == [
        *results.cells.columns,
        *(name + end for name in more for end in ("", "_low", "_high")),
    ]
    first, second = found.to_dict("records")
    assert (first["latency_ms"], first["latency_ms_low"], first["peak_memory_bytes"]) == (8.0, 7.0, 500 * 2**20)
    assert [first[name] for name in ("shapes_test_accuracy", "shapes_test_accuracy_low")] == [0.5, 0.25]
    assert first["nlvr2_dev_accuracy"] == 0.125
    assert pd.isna(second["latency_ms"])
    assert second["error"] == "out of memory: 51 TB"
    assert len(pd.read_csv(io.StringIO(csv(results, "samples")))) == len(results.samples) == 12
    assert list(pd.read_csv(io.StringIO(csv(results, "stages"))).columns) == list(results.stages.columns)


def test_an_accuracy_is_joined_from_another_folder_but_the_own_one_comes_first(tmp_path: Path) -> None:
    folder_of(tmp_path / "cells", line("a"), line("b"), evaluations=[evaluated("a", 0.5)])
    folder_of(tmp_path / "later", evaluations=[evaluated(name, 0.75, measured_at="9999") for name in "ab"])
    found = plain_frame(vlbench.read(tmp_path), "summary")
    assert list(found["shapes_test_accuracy"]) == [0.5, 0.75]


KINDS = {"string": "VARCHAR", "Int64": "BIGINT", "float64": "DOUBLE", "boolean": "BOOLEAN"}


@pytest.mark.parametrize("table", ["samples", "summary", "stages", "accuracy"])
def test_parquet_holds_the_frame(tmp_path: Path, table: str) -> None:
    folder = folder_of(tmp_path, line("a'; drop"), one_restart("b"), failed("c"), evaluations=[evaluated("b", 1.0)])
    results, path = vlbench.read(folder), tmp_path / "it's.parquet"
    frame = plain_frame(results, table)
    assert write_parquet(results, path, table) == len(frame)
    found = duckdb.read_parquet(str(path))
    kinds = dict(zip(found.columns, map(str, found.types), strict=True))
    assert kinds == {name: KINDS[str(kind)] for name, kind in frame.dtypes.items()}
    rows = [tuple(None if pd.isna(value) else value for value in row) for row in frame.itertuples(index=False)]
    assert found.fetchall() == rows


def test_pandas_reads_the_same_kinds(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    results = vlbench.read(RESULTS / "epyc-2-cores")
    write_parquet(results, tmp_path / "samples.parquet")
    found = pd.read_parquet(tmp_path / "samples.parquet", dtype_backend="numpy_nullable")
    kinds = {name: str(kind).replace("Float", "float") for name, kind in found.dtypes.items()}
    assert kinds == {name: str(kind) for name, kind in results.samples.dtypes.items()}
    same = found.astype(dict(results.samples.dtypes))
    pd.testing.assert_frame_equal(same, results.samples, check_column_type=False)


def test_what_cannot_be_exported_is_told_in_one_line(tmp_path: Path) -> None:
    results = vlbench.read(folder_of(tmp_path, line("a")))
    for form, table in ((markdown, "samples"), (latex, "samples"), (csv, "accuracy"), (markdown, "claims")):
        with pytest.raises(InputError, match=f"--table {table}[: ]") as told:
            form(results, table)
        assert "\n" not in str(told.value)
    with pytest.raises(InputError, match="cannot be written"):
        write_parquet(results, tmp_path / "absent" / "x.parquet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "cells.jsonl").touch()
    for form in (markdown, latex, csv):
        with pytest.raises(InputError, match="vlbench run writes some"):
            form(vlbench.read(tmp_path / "empty"))


def test_accuracies_alone_are_a_table_too() -> None:
    rows = shown(markdown(vlbench.read(RESULTS / "epyc-2-cores" / "easy-vqa"))).rows
    assert rows[0][:4] == ["model", "task", "split", "metric"]
    assert rows[1][:4] == ["vilt-b32-tiny", "easy-vqa", "test", "accuracy"]


def test_the_command_writes_what_the_file_ends_in(tmp_path: Path, vlbench_command: Command) -> None:
    folder_of(tmp_path / "shapes", line("a"))
    results = vlbench.read(tmp_path / "shapes")
    done = vlbench_command("export", "./shapes")
    assert (done.exit_code, done.stdout, done.stderr) == (0, markdown(results), "")
    for name, write in (("t.tex", latex), ("t.csv", csv), ("t.md", markdown)):
        done = vlbench_command("export", "./shapes", "-o", name)
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"written: {name}\n")
        assert (tmp_path / name).read_text() == write(results)
    done = vlbench_command("export", "./shapes", "-o", "t.parquet")
    assert (done.exit_code, done.stderr) == (0, "written: t.parquet, 12 rows\n")
    done = vlbench_command("export", "./shapes", "--format", "csv", "--table", "samples", "-o", "x.md")
    assert len(pd.read_csv(tmp_path / "x.md")) == 12


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("export shapes --format csv", "No such option: --format; .* is ./shapes"),
        ("export shapes --table summary", "No such option: --table; .* is ./shapes"),
        ("export there --split val", "No such option: --split; the generated world is `vlbench export shapes`"),
        ("export shapes", "Missing option '--out'"),
        ("export absent", "absent: is not a folder of results"),
        ("export there --format parquet", "--format parquet: is no text to print; add -o FILE"),
        ("export there --format json", "Invalid value for '--format': 'json'"),
        ("export there -o absent/t.md", "-o absent/t.md: no folder absent; make it first"),
        ("export there -o there", "-o there: is a folder; name a file in it"),
        (
            "export there --table samples",
            "--table samples has one row per sample, too many for Markdown or LaTeX; use --format csv or parquet",
        ),
        ("export", "Missing argument 'RESULTS'"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, vlbench_command: Command, arguments: str, told: str) -> None:
    folder_of(tmp_path / "there", line("a"))
    done = vlbench_command(*arguments.split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.match(f"vlbench: .*{told}", done.stderr)
    assert done.stderr.count("\n") == 1


def test_help_tells_both_uses_apart(vlbench_command: Command) -> None:
    of_results = vlbench_command("export", "--help").stdout
    of_world = vlbench_command("export", "shapes", "--help").stdout
    assert "--format" in of_results
    assert "vlbench export shapes" in of_results
    assert "--scenes" not in of_results
    assert "--scenes" in of_world
    assert "./shapes" in of_world
    assert "--format" not in of_world
