"""Which runtime converts which model: the table of docs/runtimes.md.

    python -m benchmarks.harness.list_runtimes [--models NAMES] [--backends NAMES] [--page FILE]

Each model is tiny, with random weights, and converted stage by stage in fp32 on the CPU, which takes 5 to 60 s. The
page gets the new entries and keeps the others; without --page they are only printed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from vlbench.errors import first_line
from vlbench.inputs import read_example, short_text
from vlbench.measuring.machine import describe_machine
from vlbench.runner.convert import convert_cell, why_not_measured
from vlbench.runner.plan import RunSettings, expand
from vlbench.specs import AnySpec
from vlbench.specs.catalog import catalog, resolve

CONVERTERS = ("onnxruntime", "openvino", "compile")
NOT_TRIED = "not tried"
TABLE = re.compile(r"^\| model \|.*\n(?:\|.*\n)+", re.MULTILINE)

Outcomes = Mapping[str, Mapping[str, str]]  # by model and by backend


def outcome(spec: AnySpec, backend: str) -> str:
    """`equal`, and the stages that stay in PyTorch; or why there is no latency."""
    example = read_example(None, short_text([spec]))
    settings = RunSettings(device="cpu", threads=1, backend=backend)
    (cell,) = expand([spec], example, settings, describe_machine(threads=1, gpu=None))
    torch.compiler.reset()  # what it compiled for another model, whose folder is gone
    with TemporaryDirectory() as folder:
        try:
            conversion = convert_cell(cell, Path(folder))
        except Exception as error:  # of a runtime, anything; the others go on
            return f"fails: {first_line(error)}".replace("|", "/")[:160]
    if reason := why_not_measured(conversion):
        return f"invalid: {reason}"
    eager = ", ".join(conversion.eager_stages)
    return f"equal; in PyTorch: {eager}" if eager else "equal"


def read_table(page: str) -> dict[str, dict[str, str]]:
    """What the page's table says, by model and backend."""
    (table,) = TABLE.findall(page)
    header, _, *rows = [[item.strip() for item in line.strip("|").split("|")] for line in table.splitlines()]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


def table_of(outcomes: Outcomes) -> str:
    """The Markdown table, with a row for each model of the catalogue."""
    rows = [("model", *CONVERTERS), ("---",) * (1 + len(CONVERTERS))]
    for name in sorted(catalog()):
        rows.append((name, *(outcomes.get(name, {}).get(backend, NOT_TRIED) for backend in CONVERTERS)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def with_table(page: str, outcomes: Outcomes) -> str:
    """The page with these outcomes in place of those that it has."""
    known = read_table(page)
    merged = {name: {**known.get(name, {}), **outcomes.get(name, {})} for name in {*known, *outcomes}}
    return TABLE.sub(lambda _: table_of(merged), page)


def main() -> int:
    parser = argparse.ArgumentParser(description="Which runtime converts which model.")
    parser.add_argument("--models", default="*", help="names or globs, separated by commas (default: all)")
    parser.add_argument("--backends", default=",".join(CONVERTERS), help="separated by commas (default: all three)")
    parser.add_argument("--page", type=Path, help="a page whose table gets the outcomes")
    options = parser.parse_args()
    for spec in resolve(options.models):
        for backend in options.backends.split(","):
            result = outcome(spec.tiny(), backend)
            print(f"{spec.name} {backend}: {result}", flush=True)
            if options.page:
                page = options.page.read_text(encoding="utf-8")
                options.page.write_text(with_table(page, {spec.name: {backend: result}}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
