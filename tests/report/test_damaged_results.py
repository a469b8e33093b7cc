"""Damaged results folders: every command that reads one shows the rest, or ends in one line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.report.written import line
from vlbench.errors import InputError
from vlbench.regression.compare.comparison import compare
from vlbench.regression.compare.tables import comparison_markdown
from vlbench.regression.history.reading import read_runs
from vlbench.regression.history.series import build_series
from vlbench.regression.history.tables import history_json, history_tables
from vlbench.report.choice_tables import choice_json, choice_tables
from vlbench.report.choosing import Requirements, choose
from vlbench.report.draw_figure import draw, parse_figure
from vlbench.report.export import export_tables, plain_frame
from vlbench.report.frames import read
from vlbench.report.page.page import render
from vlbench.report.requirements import ModelBudget
from vlbench.report.tables import result_tables, results_csv, results_json
from vlbench.runner.reader import read_results, read_unsampled
from vlbench.tables.writers import frame_to_csv, to_latex, to_markdown, to_text

SEED, FOLDERS, BATCHES = 18, 500, 10
DRAWN_EVERY = 25  # folders: pages and figures take a second
VALUES: list[Any] = [None, True, 0, -1, 1.5, 10**18, 10**400, 1e-300, 1e300, "", "x", "\u2028", "=1+1", "8.0", [], [[]]]
VALUES += [{}, {"a": 1}, [None], [1.0, 2.0, 3.0], [-1.0], ["x"], [10**30], "x" * 5000, float("nan"), float("inf")]
ENCODINGS = ("utf-8-sig", "utf-16", "utf-32", "latin-1", "cp500")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a value, with each of its keys or indices."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def damaged_value(content: Any, source: random.Random) -> str:
    container, key = source.choice(list(places(content)))
    action = source.randrange(4)
    if action == 0:
        del container[key]
    elif action == 1 and isinstance(container, dict):
        container[f"{key} "] = container[key]
    elif action == 2:
        container[key] = json.loads("[" * 150 + "]" * 150)
    else:
        container[key] = source.choice(VALUES)
    return json.dumps(content, ensure_ascii=source.random() < 0.5)


def damaged_bytes(content: bytes, source: random.Random) -> bytes:
    start, length = source.randrange(len(content)), source.randrange(1, 40)
    noise = source.choice([b"", source.randbytes(length), b"\0" * length, b"\n", b"[" * 300, b"9" * 5000, b"NaN"])
    return content[:start] + noise + content[start + length * source.randrange(2) :]


def damaged(source: random.Random) -> bytes:
    contents: list[Any] = [deepcopy(line(model, batch=batch)) for model in "ab" for batch in (1, 2)]
    lines = [json.dumps(content) for content in contents]
    chosen = source.randrange(len(lines))
    for _ in range(source.choice((1, 1, 3))):
        lines[chosen] = damaged_value(contents[chosen], source)
    kind = source.randrange(6)
    text = "\n".join(lines) + "\n"
    if kind == 0:
        return damaged_bytes(text.encode(errors="surrogatepass"), source)
    if kind == 1:
        return text.encode(source.choice(ENCODINGS), errors="replace")
    return text.encode(errors="surrogatepass")


def show(folder: Path) -> None:
    results = read_unsampled(folder, lambda _: None)
    for write in (to_text, to_markdown, to_latex):
        write(result_tables(results))
    results_csv(results)
    "".join(results_json(read_results(folder, lambda _: None)))


def export(folder: Path) -> None:
    results = read(folder)
    to_markdown(export_tables(results))
    for table in ("summary", "stages", "samples"):
        frame_to_csv(plain_frame(results, table))


def compare_with_good(folder: Path) -> None:
    good, other = read_unsampled(folder / "good"), read_unsampled(folder, lambda _: None)
    for base, head in ((good, other), (other, good), (other, other)):
        comparison = compare(base, head, force=True)
        comparison_markdown(comparison)
        comparison.to_json()


def choose_within(folder: Path) -> None:
    choice = choose(read(folder), ModelBudget(latency_ms=8, memory_gb=1), Requirements(batch=1), None)
    to_text(choice_tables(choice))
    choice_json(choice)


def history(folder: Path) -> None:
    series = build_series(read_runs(folder / "cells.jsonl").runs, threshold=0.03)
    to_text(history_tables(series, 0.03))
    history_json(series, 0.03)


def page(folder: Path) -> None:
    render(read(folder))


def figures(folder: Path) -> None:
    for name in ("stages", "roofline", "scaling"):
        draw(parse_figure(name), read(folder), folder / "figure.svg")


COMMANDS: tuple[Callable[[Path], None], ...] = (show, export, compare_with_good, choose_within, history)


def fault_of(command: Callable[[Path], None], folder: Path) -> str | None:
    """What a user should not see; None if all is well."""
    try:
        command(folder)
    except InputError as error:
        message = str(error)
        is_one_line = len(message.splitlines()) == 1 and len(message.replace(str(folder), "")) <= 300
        return None if is_one_line and "delete" not in message else f"message {message!r}"
    except Exception as error:
        return repr(error)[:300]
    return None


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_results_are_shown_as_far_as_they_are_good_or_refused_in_one_line(tmp_path: Path, batch: int) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "cells.jsonl").write_text(json.dumps(line("a")) + "\n" + json.dumps(line("b")) + "\n")
    faults = {}
    for number in range(batch, FOLDERS, BATCHES):
        content = damaged(random.Random(SEED + number))
        (tmp_path / "cells.jsonl").write_bytes(content)
        drawn = (page, figures) if number % DRAWN_EVERY == 0 else ()
        for command in (*COMMANDS, *drawn):
            if fault := fault_of(command, tmp_path):
                faults[number, command.__name__] = fault
    assert faults == {}
