"""What a page says first: the few sentences that a reader would carry away."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from vlbench.report.frames import Results
from vlbench.runner.execution import is_reference, runtime_of
from vlbench.runner.records import Result
from vlbench.tables.numbers import counted, percent, short_number


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
    measurements = [result for *_, result in results.named]
    if measurements:
        machines = len({result.machine.in_few_words() for result in measurements})
        models = len({result.model for result in measurements})
        words = f"measurement{'s' if len(measurements) > 1 else ''} of {models} model{'s' if models > 1 else ''} on "
        yield Headline(figure=f"{len(measurements):,}", words=f"{words}{machines} machine{'s' if machines > 1 else ''}")


def _fastest(results: Results) -> Iterator[Headline]:
    """Of one folder, machine and setting alone: others do not compare. Contended measurements do not count."""
    measured = [(name, result) for _, name, result in results.named if result.status == "ok" and result.latency_ms]
    timed = [(name, result) for name, result in measured if not result.contended]
    left_out = counted(len(measured) - len(timed), "contended measurement")
    without = f", without {left_out}" if len(timed) < len(measured) else ""
    alike = {(folder, _setting(result)) for folder, _, result in results.named if result.status == "ok"}
    if len(timed) < 2 or len(alike) > 1:
        return
    fastest, slowest = (f(timed, key=lambda pair: _median(pair[1])) for f in (min, max))
    ms = short_number(_median(fastest[1]))
    yield Headline(
        figure=f"{ms} ms", words=f"a pass of {fastest[0]}, the fastest here{without}", kind=fastest[1].family
    )
    ratio = _median(slowest[1]) / _median(fastest[1])
    if ratio >= 1.1:
        yield Headline(
            figure=f"{ratio:,.0f} times" if ratio >= 100 else f"{ratio:.3g} times",
            words=f"the time of the fastest: {slowest[0]}, the slowest here{without}",
            kind=slowest[1].family,
        )


def _setting(result: Result) -> Hashable:
    executed = result.backend, result.precision, result.scope
    return result.machine.model_dump_json(), result.device, *executed, result.batch, result.l2


def _median(result: Result) -> float:
    return result.latency_ms.median if result.latency_ms else float("inf")


def _most_accurate(results: Results) -> Iterator[Headline]:
    evaluations = [evaluation for folder in results.folders for evaluation in folder.evaluations]
    tasks = {(each.accuracy.task, each.accuracy.split, each.accuracy.metric) for each in evaluations}
    if len(tasks) == 1:
        best = max(evaluations, key=lambda evaluation: evaluation.accuracy.value)
        mark = f" ({best.untrained})" if best.untrained else ""
        plain = is_reference(runtime_of(best), best.precision)
        model = best.model if plain else f"{best.model}, {best.backend} {best.precision}"
        words = f"{best.accuracy.metric} on {best.accuracy.task} {best.accuracy.split}, {model}{mark}"
        yield Headline(figure=f"{percent(best.accuracy.value)}%", words=words, kind=best.family)


def _trouble(results: Results) -> Iterator[Headline]:
    failed = sum(result.status != "ok" for *_, result in results.named)
    if failed:
        yield Headline(figure=f"{failed:,}", words="could not be measured; the reasons are below", kind="bad")
