"""The page's table of all cells: what each column shows, and by what it sorts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vlbench.measure.statistics import LatencySummary
from vlbench.report import tables
from vlbench.report.frames import Accuracies, Key, Results
from vlbench.runner.records import Accuracy, Result

Number = float | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What a field shows; `order` is what it sorts by, a number in plain units or the words themselves."""

    text: str
    order: Number | str
    hint: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumn:
    title: str
    unit: str = ""
    words: bool = False
    setting: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """A cell. `values` are in the order of the columns; the rest is what the filters look at."""

    number: int
    family: str
    folder: str
    status: str
    device: str
    precision: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    columns: tuple[TableColumn, ...]
    rows: tuple[TableRow, ...]

    def choices(self, name: str) -> list[str]:
        """What the rows hold of a filter's field, where there is something to choose."""
        found = list(dict.fromkeys(getattr(row, name) for row in self.rows))
        return found if len(found) > 1 else []


Make = Callable[[str, Result], Value]  # of a folder and a result


def build_table(results: Results) -> Table:
    """A row a cell. Columns that no cell has anything for are left out, and settings that all cells share."""
    several = len(results.folders) > 1
    accuracies = Accuracies(results.folders)
    asked = [_accuracy_column(key, accuracies) for key in accuracies.keys_of(results.named)]
    columns = [*COLUMNS[:LEADING], *asked, *COLUMNS[LEADING:]]
    made = [[make(folder, one) for _, make in columns] for folder, _, one in results.named]
    kept = [place for place, (column, _) in enumerate(columns) if _worth_showing(column, [row[place] for row in made])]
    rows = tuple(
        TableRow(
            number=number,
            family=one.family,
            folder=folder,
            status=one.status,
            device=one.device,
            precision=one.precision,
            values=(*_names(name, folder if several else None), *(values[place] for place in kept)),
        )
        for number, ((folder, name, one), values) in enumerate(zip(results.named, made, strict=True))
    )
    heads = [TableColumn(title="model", words=True, hint="and what tells it from the model's other cells")]
    heads += [TableColumn(title="results", words=True, hint="the folder")] if several else []
    return Table(columns=(*heads, *(columns[place][0] for place in kept)), rows=rows)


def _names(name: str, folder: str | None) -> Iterator[Value]:
    yield Value(text=name, order=name)
    if folder is not None:
        yield Value(text=folder, order=folder)


def _scaled(value: int | None, unit: float, digits: int) -> Value:
    return Value(text=tables.scaled(value, unit, digits) or "", order=value)


def _family(one: Result) -> Value:
    return Value(text=one.family, order=one.family, kind=f"family {one.family}")


def _image(one: Result) -> Value:
    return Value(text="x".join(map(str, one.image_size)), order=math.prod(one.image_size))


def _tokens(one: Result) -> Value:
    image = "?" if one.image_tokens is None else f"{one.image_tokens:,}"
    return Value(text=f"{one.text_tokens:,}+{image}", order=one.text_tokens + (one.image_tokens or 0))


def _macs(one: Result) -> Value:
    return _scaled(one.macs, 1e9, 1)


def timed(one: Result) -> LatencySummary | None:
    return one.latency_ms if one.status == "ok" else None


def _latency(one: Result) -> Value:
    latency = timed(one)
    if latency:
        return Value(text=tables.short_figure(latency.median), order=latency.median)
    return Value(text=one.status, order=None, hint=one.error or "", kind=f"status {one.status}")


def _interval(one: Result) -> Value:
    latency = timed(one)
    if latency is None or latency.ci95 is None:
        return Value(text="", order=None)
    low, high = latency.ci95
    text = f"{tables.short_figure(low)} to {tables.short_figure(high)}"
    return Value(text=text, order=(high - low) / latency.median)


def _restarts(one: Result) -> Value:
    latency = timed(one)
    count = len(latency.by_restart) if latency else None
    return Value(text=str(count or ""), order=count)


def _noise(one: Result) -> Value:
    if timed(one) is None or one.noise is None:
        return Value(text="", order=None)
    reasons = ". ".join(one.noise.reasons)
    return Value(text=one.noise.verdict, order=one.noise.verdict, hint=reasons, kind=f"noise {one.noise.verdict}")


def _accuracy_column(key: Key, accuracies: Accuracies) -> tuple[TableColumn, Make]:
    task, split, metric = key
    hint = f"{metric} on {task} {split}, with its bootstrap 95% interval"
    column = TableColumn(title=f"{task} {split}", unit="%", hint=hint)
    return column, lambda folder, one: _accuracy(accuracies.of(key, folder, one.spec_hash))


def _accuracy(accuracy: Accuracy | None) -> Value:
    if accuracy is None:
        return Value(text="", order=None)
    low, high = accuracy.ci95 or (None, None)
    interval = f" [{tables.percent(low)}, {tables.percent(high)}]" if accuracy.ci95 else ""
    return Value(text=f"{tables.percent(accuracy.value)}{interval}", order=accuracy.value)


def _worth_showing(column: TableColumn, values: Sequence[Value]) -> bool:
    texts = {value.text for value in values}
    return texts != {""} and not (column.setting and len(texts) == 1)


def _of(make: Callable[[Result], Value]) -> Make:
    return lambda _, one: make(one)


def _word(word: str) -> Value:
    return Value(text=word, order=word)


def _columns() -> Iterator[tuple[TableColumn, Make]]:
    yield TableColumn(title="family", words=True, hint="how it sees: patch, grid or region"), _of(_family)
    yield TableColumn(title="latency", unit="ms", hint="median over restarts, end to end"), _of(_latency)
    yield (
        TableColumn(title="95% interval", unit="ms", hint="of the median; sorts by its relative width"),
        _of(_interval),
    )
    yield TableColumn(title="noise", words=True, hint="whether something disturbed it"), _of(_noise)
    yield TableColumn(title="params", unit="M"), _of(lambda one: _scaled(one.params_total, 1e6, 1))
    yield (
        TableColumn(title="MACs", unit="G", hint="multiply-accumulates of a pass; FLOPs are twice as many"),
        _of(_macs),
    )
    yield TableColumn(title="peak memory", unit="MiB"), _of(lambda one: _scaled(one.peak_memory_bytes, 2**20, 0))
    yield TableColumn(title="image", unit="px", hint="height x width of what the model reads"), _of(_image)
    yield TableColumn(title="tokens", hint="text + image, as the transformer sees them"), _of(_tokens)
    batch = TableColumn(title="batch", setting=True)
    yield batch, _of(lambda one: Value(text=f"{one.batch:,}", order=one.batch))
    yield TableColumn(title="device", words=True, setting=True), _of(lambda one: _word(one.device))
    yield TableColumn(title="precision", words=True, setting=True), _of(lambda one: _word(one.precision))
    threads = TableColumn(title="threads", setting=True)
    yield threads, _of(lambda one: Value(text=str(one.machine.threads), order=one.machine.threads))
    yield TableColumn(title="restarts", hint="fresh processes that were timed"), _of(_restarts)


COLUMNS = tuple(_columns())
LEADING = 3  # accuracy stands beside the latency
