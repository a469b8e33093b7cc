"""Counts by stage or by module, and what each counter left out, as a table, JSON and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vlbench.measuring.module_counts import CounterReport, ModuleCount, ModuleCounts, plain_row
from vlbench.specs import Size
from vlbench.tables.numbers import counted, scaled
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.writers import to_csv, to_json

CONVENTION = "1 MAC = 1 multiply-accumulate; FLOPs = 2 x MACs; each parameter counts once"
BY_ELEMENT = ("norm", "pool", "upsample", "grid_sampler")  # parts of the names of what fvcore counts by element
MOST_NAMED = 8  # operators or modules in a note


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedModel:
    """A model, its input, and its counts, or why it cannot be counted."""

    model: str
    batch: int
    image_size: Size
    text_tokens: int
    counts: ModuleCounts | str

    @property
    def input(self) -> str:
        height, width = self.image_size
        pixels = f" of {height}x{width} pixels" if height else ""
        words = f" with {self.text_tokens} text tokens" if self.text_tokens else ""
        return f"{counted(self.batch, 'example')}{pixels}{words}"


@dataclass(frozen=True, slots=True)
class _Row:
    model: str
    module: ModuleCount


def count_tables(models: Sequence[CountedModel], depth: int | None) -> list[Table]:
    """The totals and stages of each model, or with a depth its modules down to there; 0 gives totals alone."""
    rows = [_Row(model.model, row) for model in models for row in _shown(model, depth) if _is_counted(row)]
    columns = [
        *([TableColumn[_Row]("model", lambda row: row.model)] if len(models) > 1 else []),
        TableColumn[_Row]("stage" if depth is None else "module", lambda row: row.module.path or "total"),
        *([TableColumn[_Row]("class", lambda row: row.module.type)] if depth else []),
        TableColumn[_Row]("params M", lambda row: row.module.params, scaled(1e6, 2), latex="parameters (M)"),
        *_counter_columns(_counters(models)),
        TableColumn[_Row](
            "moved MB", lambda row: _mega(row.module.bytes_moved), scaled(1, 1), latex="bytes moved (MB)"
        ),
    ]
    caption = "; ".join([*dict.fromkeys(f"{model.model}: {model.input}" for model in models), CONVENTION])
    if len(models) > 1:
        caption = CONVENTION
    return [Table.of(columns, rows, caption=caption, notes=tuple(_notes(models)))]


def _counters(models: Sequence[CountedModel]) -> tuple[str, ...]:
    return next((tuple(model.counts.counters) for model in models if not isinstance(model.counts, str)), ())


def _counter_columns(counters: Sequence[str]) -> Iterator[TableColumn[_Row]]:
    """The MACs of each counter, and what they are of the first one's."""
    for name in counters:
        heading = "GMACs" if len(counters) == 1 else f"{name} GMACs"
        yield TableColumn[_Row](heading, partial(_macs, name), scaled(1e9, 3))
    for name in counters[1:]:
        yield TableColumn[_Row](f"{name} / {counters[0]}", partial(_ratio, name, counters[0]), "{:.4f}".format)


def _macs(counter: str, row: _Row) -> int | None:
    return row.module.macs[counter]


def _ratio(counter: str, first: str, row: _Row) -> float | None:
    macs, base = row.module.macs[counter], row.module.macs[first]
    return macs / base if macs is not None and base else None


def _mega(amount: int | None) -> float | None:
    return None if amount is None else amount / 1e6


def _shown(model: CountedModel, depth: int | None) -> tuple[ModuleCount, ...]:
    if isinstance(model.counts, str):
        return ()
    return (model.counts.total, *model.counts.stages) if depth is None else model.counts.to_depth(depth)


def _is_counted(row: ModuleCount) -> bool:
    """Whether there is anything to show; an Identity or a Dropout has nothing."""
    return not row.path or bool(row.params or row.bytes_moved or any(row.macs.values()))


def _notes(models: Sequence[CountedModel]) -> Iterator[str]:
    for model in models:
        prefix = f"{model.model}: " if len(models) > 1 else ""
        if isinstance(model.counts, str):
            yield f"{model.model}: not counted: {model.counts}"
            continue
        for name, report in model.counts.counters.items():
            for note in _notes_of(report):
                yield f"{prefix}{name} {note}"


def _notes_of(report: CounterReport) -> Iterator[str]:
    if report.error:
        yield f"could not count it: {report.error}"
    if report.skipped:
        yield f"skipped {_listed(f'{name} x{times}' for name, times in report.skipped.items())}"
    by_element = {
        name: macs for name, macs in report.macs_by_operator.items() if any(part in name for part in BY_ELEMENT)
    }
    if by_element:
        yield f"also counts {_listed(f'{name} {scaled(1e9, 3)(macs)} G' for name, macs in by_element.items())}"
    if report.never_called:
        yield f"saw no call of {_listed(report.never_called)}"


def _listed(words: Iterable[str]) -> str:
    words = list(words)
    more = [f"and {len(words) - MOST_NAMED} more"] if len(words) > MOST_NAMED else []
    return ", ".join([*words[:MOST_NAMED], *more])


def counts_json(models: Sequence[CountedModel]) -> str:
    """Everything, every module at every depth included."""
    return to_json([_described(model) for model in models])


def _described(model: CountedModel) -> Mapping[str, Any]:
    given = {"batch": model.batch, "image_size": list(model.image_size), "text_tokens": model.text_tokens}
    failed = isinstance(model.counts, str)
    counts = {"error": model.counts} if isinstance(model.counts, str) else model.counts.model_dump(mode="json")
    return {"model": model.model, "status": "error" if failed else "ok", **given, **counts}


def counts_csv(models: Sequence[CountedModel], depth: int | None) -> str:
    """The rows of the table in plain units."""
    return to_csv({"model": model.model, **plain_row(row)} for model in models for row in _shown(model, depth))
