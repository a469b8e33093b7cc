"""A comparison as JUnit XML, which CI services show among the tests."""

from __future__ import annotations

from xml.etree import ElementTree

from vlbench.regression.compare.outcomes import CellOutcome, Comparison, Gate
from vlbench.regression.compare.tables import headline, latencies, note_lines
from vlbench.tables.markup import escape_xml


def junit(comparison: Comparison) -> str:
    """One test case per latency and per gate: a regression fails, an unknown verdict is skipped."""
    suite = ElementTree.Element("testsuite", name="vlbench compare")
    for cell in comparison.cells:
        _latency(suite, cell)
        for gate in cell.gates:
            _gate(suite, cell, gate)
    for side, names in (("BASE", comparison.only_in_base), ("HEAD", comparison.only_in_head)):
        for name in names:
            _case(suite, name, "latency", skipped=f"only in {side}")
    counts = {outcome: str(len(suite.findall(f"*/{outcome}"))) for outcome in ("failure", "skipped")}
    suite.attrib |= {
        "tests": str(len(suite)),
        "failures": counts["failure"],
        "errors": "0",
        "skipped": counts["skipped"],
    }
    ElementTree.SubElement(suite, "system-out").text = escape_xml(
        "\n".join([headline(comparison), *note_lines(comparison)])
    )
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _latency(suite: ElementTree.Element, cell: CellOutcome) -> None:
    moved = f"; what moved: {cell.moved.text}" if cell.moved else ""
    _case(
        suite,
        cell.cell,
        "latency",
        failure=f"slower: {latencies(cell)}{moved}" if cell.verdict == "slower" else None,
        skipped=f"unknown: {cell.reason}" if cell.verdict == "unknown" else None,
        output=f"{cell.verdict}: {latencies(cell)}{moved}",
        seconds=(cell.head_ms or 0) / 1e3,
    )


def _gate(suite: ElementTree.Element, cell: CellOutcome, gate: Gate) -> None:
    _case(
        suite,
        cell.cell,
        gate.figure,
        failure=gate.message if gate.verdict == "regression" else None,
        skipped=gate.message if gate.verdict == "not compared" else None,
        output=f"{gate.verdict}: {gate.message}",
    )


def _case(
    suite: ElementTree.Element,
    cell: str,
    name: str,
    *,
    failure: str | None = None,
    skipped: str | None = None,
    output: str = "",
    seconds: float = 0.0,
) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=escape_xml(f"vlbench.{cell}"), name=name, time=f"{seconds:.6f}"
    )
    for kind, message in (("failure", failure), ("skipped", skipped)):
        if message is not None:
            ElementTree.SubElement(case, kind, message=escape_xml(message)).text = escape_xml(message)
    if output and not len(case):
        ElementTree.SubElement(case, "system-out").text = escape_xml(output)
