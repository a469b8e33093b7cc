"""What is read of a results folder: which lines, whether with their samples, and what a message says of a fault."""

from __future__ import annotations

import gc
import json
import os
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import vlbench
from tests.helpers import write_lines
from tests.report.written import line
from vlbench.errors import InputError
from vlbench.runner.reader import read_results, read_unsampled
from vlbench.runner.records import Result, undisturbed_restarts

SEPARATORS = "\u2028\u2029\x85\v\f\x1c\x1d\x1e"  # all that `str.splitlines` splits at, but no line of JSON does
MANY = 64 << 20


def write(folder: Path, *contents: Any) -> Path:
    return write_lines(folder / "cells.jsonl", contents).parent


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("ascii_alone", [True, False])
def test_a_line_separator_within_a_text_ends_no_line(tmp_path: Path, separator: str, ascii_alone: bool) -> None:
    content = json.dumps(line("a", text=f"A cat{separator}on a mat."), ensure_ascii=ascii_alone)
    (tmp_path / "cells.jsonl").write_text(f"{content}\n{json.dumps(line('b'))}\n", encoding="utf-8", newline="\n")
    for read in (read_results, read_unsampled):
        assert [result.text for result in read(tmp_path)] == [f"A cat{separator}on a mat.", "a text"]


def test_lines_are_written_in_ascii() -> None:
    written = Result.model_validate_json(json.dumps(line("a", text=f"é{SEPARATORS}"))).to_line()
    assert written.isascii()
    assert len(written.splitlines()) == 1
    assert json.loads(written)["text"] == f"é{SEPARATORS}"


@pytest.mark.parametrize("command", [["show"], ["compare"], ["history"], ["export"], ["choose", "--latency-ms", "9"]])
def test_commands_read_what_was_written_with_a_line_separator(tmp_path: Path, command: list[str]) -> None:
    raw = json.dumps(line("a", text="A cat\u2028on a mat."), ensure_ascii=False)
    (tmp_path / "cells.jsonl").write_text(raw + "\n", encoding="utf-8")
    name, *options = command
    process = vlbench(name, tmp_path, *([tmp_path] if name == "compare" else []), *options)
    assert process.returncode in (0, 3), process.stderr  # 3: too few restarts to compare
    assert "a" in process.stdout


def test_samples_are_skipped_where_they_are_not_needed(tmp_path: Path) -> None:
    write(tmp_path, line("a"))
    (sampled,), (unsampled,) = read_results(tmp_path), read_unsampled(tmp_path)
    assert [restart.latency_ms for restart in sampled.restarts] == [(7.0, 9.0)] * 2
    assert not any(hasattr(restart, "latency_ms") for restart in unsampled.restarts)
    assert [restart.warm_up for restart in unsampled.restarts] == [restart.warm_up for restart in sampled.restarts]
    assert len(undisturbed_restarts(unsampled.restarts)) == 2
    without = {"exclude": {"restarts"}}
    assert unsampled.model_dump(**without) == sampled.model_dump(**without)


def test_a_damaged_sample_is_reported_where_samples_are_read(tmp_path: Path) -> None:
    damaged = line("a")
    damaged["restarts"][0]["latency_ms"][1] = "fast"
    write(tmp_path, line("b"), damaged)
    assert [result.model for result in read_unsampled(tmp_path)] == ["b", "a"]
    with pytest.raises(InputError, match=r"line 2: restarts.0.latency_ms.1: Input should be a valid number; restore"):
        read_results(tmp_path)


LATENCY = line("a")["latency_ms"]
BIG = "9" * 5000
FAULTS = {
    '{"schema": 5, "mod': "not JSON; cut off or damaged (EOF while parsing a string)",
    "[]": "schema None, which vlbench never wrote; move the line to another file",
    "[" * 300: "nested more than 200 deep; JSON that vlbench reads is not",
    json.dumps(line("a", batch="one")): "batch: Input should be a valid integer",
    json.dumps(line("a", batch=True)): "batch: Input should be a valid integer",
    json.dumps(line("a", batch=1.5)): "batch: Input should be a valid integer",
    json.dumps(line("a", family=None)): "family: Input should be a valid string",
    json.dumps(line("a", colour="red")): "colour: Extra inputs are not permitted",
    json.dumps({name: value for name, value in line("a").items() if name != "device"}): "device: Field required",
    json.dumps(line("a", latency_ms=LATENCY | {"median": None})): "latency_ms.median: Input should be a valid number",
    json.dumps(line("a", latency_ms=LATENCY | {"median": float("nan")})): "holds NaN, which is not a number of JSON",
    json.dumps(line("a", macs=1)).replace('"macs": 1,', '"macs": 1e999,'): "macs is out of range",
    json.dumps(line("a")).replace("25888869888", BIG): "a number has thousands of digits",
    json.dumps(line("a")).replace('"a text"', r'"\ud800"'): "not JSON; cut off or damaged (",
    json.dumps(line("a")).replace("a text", "\0"): "not JSON; cut off or damaged (control character",
}


@pytest.mark.parametrize("content", FAULTS, ids=list(FAULTS.values()))
def test_a_damaged_line_is_named_with_what_would_work(tmp_path: Path, content: str) -> None:
    (tmp_path / "cells.jsonl").write_text(f"{json.dumps(line('b'))}\n{content}\n{json.dumps(line('c'))}\n")
    with pytest.raises(InputError) as raised:
        read_unsampled(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}/cells.jsonl line 2: ")
    assert FAULTS[content] in message
    assert re.search("another file|write a number|bits work$", message), "what would work"
    assert "delete" not in message
    assert len(message.removeprefix(str(tmp_path))) < 250


@pytest.mark.parametrize(
    ("before", "after"), [("\ufeff", ""), ("", "\r"), ("\n\n", "\n \t\n")], ids=["BOM", "CRLF", "blank lines"]
)
def test_a_good_line_is_read_whatever_an_editor_put_around_it(tmp_path: Path, before: str, after: str) -> None:
    content = f"{before}{json.dumps(line('a'))}{after}\n{json.dumps(line('b'))}{after}\n"
    (tmp_path / "cells.jsonl").write_text(content, encoding="utf-8", newline="")
    assert [result.model for result in read_results(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    content = json.dumps(line("é"), ensure_ascii=False) + "\n"
    (tmp_path / "cells.jsonl").write_bytes((2 * content).encode(encoding))
    with pytest.raises(InputError, match="line 1: not JSON; cut off or damaged"):
        read_results(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cells.jsonl")
    with pytest.raises(InputError, match=r"cells.jsonl: is a pipe, not a file"):
        read_results(tmp_path)


def test_a_line_without_end_takes_no_memory_without_end(tmp_path: Path) -> None:
    with (tmp_path / "cells.jsonl").open("wb") as file:
        file.truncate(MANY + 1)
    with pytest.raises(InputError, match=f"cells.jsonl line 1: longer than {MANY:,} bytes"):
        read_results(tmp_path)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(tmp_path: Path, enabled: bool) -> None:
    write(tmp_path, line("a"), {"schema": 5})
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(InputError):
            read_results(tmp_path)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_reading_without_samples_takes_memory_for_the_summaries_alone(tmp_path: Path) -> None:
    content = line("a")
    content["restarts"] = [content["restarts"][0] | {"latency_ms": [1.5 + sample for sample in range(5_000)]}] * 10
    write(tmp_path, *[content] * 10)
    kept_bytes = {}
    for read in (read_results, read_unsampled):
        tracemalloc.start()
        kept = read(tmp_path)
        kept_bytes[read] = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(kept) == 10
    assert kept_bytes[read_unsampled] < kept_bytes[read_results] / 10


@pytest.mark.parametrize(
    "arguments", [("show", "--format", "json"), ("export", "--table", "samples", "--format", "csv")]
)
def test_a_damaged_sample_is_named_before_anything_is_printed(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    damaged = line("b")
    damaged["restarts"][1] = damaged["restarts"][1] | {"latency_ms": [7.0, "nine"]}
    write(tmp_path, line("a"), damaged, line("c"))
    command, *options = arguments
    done = vlbench(command, str(tmp_path), *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path}/cells.jsonl line 2: restarts.1.latency_ms.1: " in done.stderr


@pytest.mark.parametrize("cut_off", [False, True])
def test_show_prints_every_result_with_its_samples_as_json(tmp_path: Path, cut_off: bool) -> None:
    write(tmp_path, line("a"), line("b"))
    if cut_off:
        with (tmp_path / "cells.jsonl").open("a") as file:
            file.write('{"schema": 5, "model": "c')
    done = vlbench("show", str(tmp_path), "--format", "json")
    shown = [Result.model_validate(content) for content in json.loads(done.stdout)]
    assert shown == read_results(tmp_path, lambda _: None)
    assert done.stderr.count("cut off in the middle") == cut_off
