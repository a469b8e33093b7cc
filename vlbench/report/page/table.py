"""The page's table of all measurements: what each column shows, and by what it sorts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vlbench.report import tables
from vlbench.report.efficiency import Roofs, efficiency_columns
from vlbench.report.frames import Results
from vlbench.report.labels import image_words, token_words
from vlbench.report.matched_accuracy import Accuracies, Key
from vlbench.report.tables import timed
from vlbench.runner.records import Accuracy, Result
from vlbench.tables.numbers import bracketed, ends, percent, short_number
from vlbench.tables.table import TableColumn

Number = float | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCell:
    """What a field shows; `order` is what it sorts by, a number in plain units or the words themselves."""

    text: str
    order: Number | str
    hint: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageColumn:
    title: str
    unit: str = ""
    words: bool = False
    setting: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRow:
    """A measurement. `values` are in the order of the columns; the filters use the other fields."""

    number: int
    family: str
    folder: str
    status: str
    device: str
    backend: str
    precision: str
    values: tuple[PageCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    columns: tuple[PageColumn, ...]
    rows: tuple[PageRow, ...]

    def choices(self, name: str) -> list[str]:
        """The values of a filter's field, if there are several."""
        values = list(dict.fromkeys(getattr(row, name) for row in self.rows))
        return values if len(values) > 1 else []


Make = Callable[[str, Result], PageCell]  # of a folder and a result


def build_table(results: Results) -> PageTable:
    """One row per measurement, without empty columns and settings that all measurements share."""
    several = len(results.folders) > 1
    columns = list(_columns(results))
    made = [[make(folder, result) for _, make in columns] for folder, _, result in results.named]
    shown = [index for index, (column, _) in enumerate(columns) if _worth_showing(column, [row[index] for row in made])]
    rows = tuple(
        PageRow(
            number=number,
            family=result.family,
            folder=folder,
            status=result.status,
            device=result.device,
            backend=result.backend,
            precision=result.precision,
            values=(*_names(name, folder if several else None), *(values[index] for index in shown)),
        )
        for number, ((folder, name, result), values) in enumerate(zip(results.named, made, strict=True))
    )
    heads = [PageColumn(title="model", words=True, hint="and what distinguishes it from others of the model")]
    heads += [PageColumn(title="results", words=True, hint="the folder")] if several else []
    return PageTable(columns=(*heads, *(columns[index][0] for index in shown)), rows=rows)


def _names(name: str, folder: str | None) -> Iterator[PageCell]:
    yield PageCell(text=name, order=name)
    if folder is not None:
        yield PageCell(text=folder, order=folder)


def _written(column: TableColumn[Result]) -> Make:
    """As a column of other tables, sorted by its value."""

    def make(_folder: str, result: Result) -> PageCell:
        value = column.get(result)
        return PageCell(text="" if value is None else column.text(value), order=value)

    return make


def _family(result: Result) -> PageCell:
    return PageCell(text=result.family, order=result.family, kind=f"family {result.family}")


def _image(result: Result) -> PageCell:
    return PageCell(text=image_words(result) or "", order=math.prod(result.image_size))


def _tokens(result: Result) -> PageCell:
    return PageCell(text=token_words(result) or "", order=result.text_tokens + (result.image_tokens or 0))


def _latency(result: Result) -> PageCell:
    latency = timed(result)
    if latency:
        return PageCell(text=short_number(latency.median), order=latency.median)
    return PageCell(text=result.status, order=None, hint=result.error or "", kind=f"status {result.status}")


def _interval(result: Result) -> PageCell:
    latency = timed(result)
    if latency is None or latency.ci95 is None:
        return PageCell(text="", order=None)
    low, high = latency.ci95
    return PageCell(text=ends()(latency.ci95), order=(high - low) / latency.median)


def _noise(result: Result) -> PageCell:
    if timed(result) is None or result.noise is None:
        return PageCell(text="", order=None)
    reasons = ". ".join(result.noise.reasons)
    return PageCell(
        text=result.noise.verdict, order=result.noise.verdict, hint=reasons, kind=f"noise {result.noise.verdict}"
    )


def _efficiency_columns(roofs: Roofs) -> Iterator[tuple[PageColumn, Make]]:
    for column in efficiency_columns(roofs):
        title, is_share, _ = column.name.partition(" %")
        yield PageColumn(title=title, unit="%" if is_share else "", hint=HINTS[column.name]), _written(column)


HINTS = {
    "examples/s": "examples of a pass over its latency",
    "MFU %": "model FLOPs utilisation: FLOPs of a pass a second, as a share of the fastest kernel measured here",
    "bandwidth %": "bytes that operators read and write a second, as a share of the fastest copy measured here; caches "
    "can lift it above 100%",
    "J a pass": "energy of a pass of the whole batch",
    "J an example": "energy of a pass over its examples",
    "GPU busy %": "share of a pass in which the GPU computes; the host launches in the rest",
}


def _accuracy_columns(results: Results) -> Iterator[tuple[PageColumn, Make]]:
    accuracies = Accuracies(results.folders)
    return (_accuracy_column(key, accuracies) for key in accuracies.keys_of(results.named))


def _accuracy_column(key: Key, accuracies: Accuracies) -> tuple[PageColumn, Make]:
    task, split, metric = key
    hint = f"{metric} on {task} {split}, with its 95% interval"
    column = PageColumn(title=f"{task} {split}", unit="%", hint=hint)
    return column, lambda folder, result: _accuracy(accuracies.of(key, folder, result))


def _accuracy(accuracy: Accuracy | None) -> PageCell:
    if accuracy is None:
        return PageCell(text="", order=None)
    mark = f" ({accuracy.untrained})" if accuracy.untrained else ""
    return PageCell(text=bracketed(accuracy.value, accuracy.ci95, percent) + mark, order=accuracy.value)


def _worth_showing(column: PageColumn, values: Sequence[PageCell]) -> bool:
    texts = {value.text for value in values}
    return texts != {""} and not (column.setting and len(texts) == 1)


def _of(make: Callable[[Result], PageCell]) -> Make:
    return lambda _, result: make(result)


def _columns(results: Results) -> Iterator[tuple[PageColumn, Make]]:
    yield PageColumn(title="family", words=True, hint="how it sees: patch, grid or region"), _of(_family)
    yield PageColumn(title="latency", unit="ms", hint="median over restarts, end to end"), _of(_latency)
    yield (
        PageColumn(title="95% interval", unit="ms", hint="of the median; sorts by its relative width"),
        _of(_interval),
    )
    yield from _accuracy_columns(results)
    yield PageColumn(title="noise", words=True, hint="whether something disturbed it"), _of(_noise)
    yield from _efficiency_columns(results.roofs)
    prepared = "median time to read, decode, resize and tokenise one example, before the pass and not part of it"
    yield PageColumn(title="input", unit="ms", hint=prepared), _written(tables.INPUT)
    yield PageColumn(title="params", unit="M"), _written(tables.PARAMS)
    macs = PageColumn(title="MACs", unit="G", hint="multiply-accumulates of a pass; FLOPs are twice as many")
    yield macs, _written(tables.GMACS)
    yield PageColumn(title="peak memory", unit="MiB"), _written(tables.PEAK)
    yield PageColumn(title="image", unit="px", hint="height x width of what the model reads"), _of(_image)
    yield PageColumn(title="tokens", hint="text + image, as the transformer sees them"), _of(_tokens)
    yield PageColumn(title="batch", setting=True), _written(TableColumn("", lambda result: result.batch, "{:,}".format))
    yield PageColumn(title="device", words=True, setting=True), _written(TableColumn("", lambda result: result.device))
    for column in tables.EXECUTED:
        yield PageColumn(title=column.name, words=True, setting=True), _written(column)
    yield (
        PageColumn(title="threads", setting=True),
        _written(TableColumn("", lambda result: result.machine.threads, str)),
    )
    yield PageColumn(title="restarts", hint="fresh processes that were timed"), _written(tables.RESTARTS)
