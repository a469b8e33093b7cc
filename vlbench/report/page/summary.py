"""What a page says first: the few sentences that a reader would carry away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vlbench.report.frames import Results
from vlbench.runner.records import Result
from vlbench.tables.numbers import percent, short_number


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """A figure in large type, and what it is of."""

    figure: str
    words: str
    kind: str = ""


def headlines(results: Results) -> list[Headline]:
    """At most five, each of something measured."""
    return [*_measured(results), *_fastest(results), *_most_accurate(results), *_trouble(results)]


def _measured(results: Results) -> Iterator[Headline]:
    cells = [one for *_, one in results.named]
    if cells:
        machines = len({one.machine.in_few_words() for one in cells})
        models = len({one.model for one in cells})
        words = f"cell{'s' if len(cells) > 1 else ''} of {models} model{'s' if models > 1 else ''} on "
        yield Headline(figure=f"{len(cells):,}", words=f"{words}{machines} machine{'s' if machines > 1 else ''}")


def _fastest(results: Results) -> Iterator[Headline]:
    """Of one folder, machine and setting alone: others do not compare."""
    timed = [(name, one) for _, name, one in results.named if one.status == "ok" and one.latency_ms]
    alike = {(folder, _setting(one)) for folder, _, one in results.named if one.status == "ok"}
    if len(timed) < 2 or len(alike) > 1:
        return
    fastest, slowest = (f(timed, key=lambda pair: _median(pair[1])) for f in (min, max))
    ms = short_number(_median(fastest[1]))
    yield Headline(figure=f"{ms} ms", words=f"a pass of {fastest[0]}, the fastest here", kind=fastest[1].family)
    ratio = _median(slowest[1]) / _median(fastest[1])
    if ratio >= 1.1:
        yield Headline(
            figure=f"{ratio:,.0f} times" if ratio >= 100 else f"{ratio:.3g} times",
            words=f"as long takes {slowest[0]}, the slowest",
            kind=slowest[1].family,
        )


def _setting(one: Result) -> tuple[str, ...]:
    return one.machine.model_dump_json(), one.device, one.precision, str(one.batch)


def _median(one: Result) -> float:
    return one.latency_ms.median if one.latency_ms else float("inf")


def _most_accurate(results: Results) -> Iterator[Headline]:
    evaluations = [one for folder in results.folders for one in folder.evaluations]
    tasks = {(one.accuracy.task, one.accuracy.split, one.accuracy.metric) for one in evaluations}
    if len(tasks) == 1:
        best = max(evaluations, key=lambda one: one.accuracy.value)
        words = f"{best.accuracy.metric} on {best.accuracy.task} {best.accuracy.split}, {best.model}"
        yield Headline(figure=f"{percent(best.accuracy.value)}%", words=words, kind=best.family)


def _trouble(results: Results) -> Iterator[Headline]:
    failed = sum(one.status != "ok" for *_, one in results.named)
    if failed:
        yield Headline(figure=f"{failed:,}", words="could not be measured; the reasons are below", kind="bad")
