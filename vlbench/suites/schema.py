"""A suite, one file in `benchmarks/`: rows to measure, columns to print, the figures and the claims of a paper."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, model_validator

from vlbench.errors import nearest, quoted
from vlbench.frozen import Frozen
from vlbench.measuring.records import Precision, Scope
from vlbench.runner.backends import BACKENDS
from vlbench.specs.bounds import Amount, not_truth
from vlbench.suites.expressions import ClaimComparison, Expression, Name, parse, parse_comparison
from vlbench.suites.quantities import origin

Category = Literal["params", "flops", "latency", "parts"]
CATEGORIES: tuple[Category, ...] = ("params", "flops", "latency", "parts")
MOST_SCORES = 100_000_000  # of all boxes for all classes, 400 MB
NotNegative = Annotated[float, BeforeValidator(not_truth), Field(ge=0, le=1e6)]
Batch = Annotated[int, Field(strict=True, ge=1, le=65_536)]
Seconds = Annotated[float, BeforeValidator(not_truth), Field(gt=0, le=1e6)]


def _known_backend(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"no backend {name!r}; {nearest(name, BACKENDS)}")
    return name


BackendName = Annotated[str, AfterValidator(_known_backend)]
Reported = Annotated[int | FiniteFloat | str, BeforeValidator(not_truth)]


class Source(Frozen):
    """The paper that a suite reproduces, and where in it."""

    paper: str
    arxiv: str = ""
    where: str = ""
    note: str = ""


class SuiteSettings(Frozen):
    """The settings of a suite. Options of the command line override them."""

    budget_seconds: Seconds = 45


class Suppression(Frozen):
    """Non-maximum suppression alone, on random boxes and scores."""

    boxes: Amount
    classes: Amount
    iou: Annotated[float, Field(gt=0, lt=1)] = 0.3

    @model_validator(mode="after")
    def _scores_fit_into_memory(self) -> Suppression:
        if self.boxes * self.classes > MOST_SCORES:
            raise ValueError(f"{self.boxes:,} boxes x {self.classes:,} classes; up to {MOST_SCORES:,} scores work")
        return self


class Row(Frozen):
    """A model to measure, or a suppression.

    Attributes:
        model: a name in the catalogue, or the path of a YAML file relative to the suite.
        set: fields of the model to change, by dotted keys.
        precision, backend, scope: in the place of those of the command line.
        budget_seconds: in the place of the suite's.
        reported: the paper's figures, by column.
        tolerance: in the place of the columns' own.
        erratum: what is wrong with a figure in the paper, by column.
    """

    label: str = Field(min_length=1)
    model: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    batch: Batch = 1
    precision: Precision | None = None
    backend: BackendName | None = None
    scope: Scope | None = None
    budget_seconds: Seconds | None = None
    suppression: Suppression | None = None
    reported: dict[str, Reported] = Field(default_factory=dict)
    tolerance: dict[str, NotNegative] = Field(default_factory=dict)
    erratum: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_one_subject(self) -> Row:
        if (self.model is None) == (self.suppression is None):
            raise ValueError(f"row {self.label!r} needs either model or suppression")
        if self.suppression and (self.set or self.batch != 1 or self.precision or self.backend or self.scope):
            raise ValueError(f"row {self.label!r}: set, batch, precision, backend and scope apply to models only")
        return self


class Column(Frozen):
    """A figure of every row. `tolerance` is relative to the reported figure; a timed column has none."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    quantity: str
    cells: Category
    unit: str = ""
    tolerance: NotNegative | None = None
    digits: Annotated[int, Field(ge=0, le=9)] = 1

    @property
    def expression(self) -> Expression:
        return parse(self.quantity)

    @model_validator(mode="after")
    def _quantity_is_known(self) -> Column:
        timed = any(origin(name.path) == "latency" for name in self.expression.names)
        if timed != (self.cells == "latency"):
            kind = "latency" if timed else "params, flops or parts"
            raise ValueError(f"column {self.name!r} is {self.quantity}, so its cells must be {kind}, not {self.cells}")
        if timed and self.tolerance is not None:
            raise ValueError(f"column {self.name!r}: a latency has no tolerance; machines differ")
        return self


class Claim(Frozen):
    """A statement of a paper, in our words, and as a comparison of columns."""

    text: str
    where: str = ""
    expr: str

    @property
    def comparison(self) -> ClaimComparison:
        return parse_comparison(self.expr)

    @model_validator(mode="after")
    def _expr_parses(self) -> Claim:
        self.comparison  # noqa: B018  raises where it does not
        return self


class Figure(Frozen):
    """How a suite is drawn.

    Attributes:
        kind: `stages` stacks the columns in one bar per row, next to a panel of `total`; `lines` draws the columns over
            `x`, with one panel per value of `facet`; `bars` draws one panel per column, measured next to reported.
    """

    kind: Literal["stages", "lines", "bars"]
    columns: tuple[str, ...] = Field(min_length=1)
    x: str | None = None
    total: str | None = None
    facet: str | None = None
    log: bool = False

    @model_validator(mode="after")
    def _lines_have_an_x(self) -> Figure:
        if (self.kind == "lines") != (self.x is not None):
            raise ValueError("a figure of kind lines needs x; no other kind has x")
        return self


class Suite(Frozen):
    """One suite. Every name that its parts refer to is checked."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    source: Source
    settings: SuiteSettings = SuiteSettings()
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()
    figure: Figure

    @model_validator(mode="before")
    @classmethod
    def _draws_bars_by_default(cls, content: Any) -> Any:
        """A suite without a figure is drawn as bars of its first three columns that are not of the category `parts`."""
        if not isinstance(content, dict) or "figure" in content or not isinstance(content.get("columns"), list):
            return content
        columns = [column for column in content["columns"] if isinstance(column, dict) and "name" in column]
        drawn = [column["name"] for column in columns if column.get("cells") != "parts"]
        if not drawn:
            drawn = [column["name"] for column in columns]
        return content | {"figure": {"kind": "bars", "columns": drawn[:3]}}

    @model_validator(mode="after")
    def _names_are_known(self) -> Suite:
        columns = unique("column", [column.name for column in self.columns])
        unique("column's title", [column.title for column in self.columns])
        labels = unique("row", [row.label for row in self.rows])
        for column in self.columns:
            _check_rows(f"column {column.name!r}", column.expression.names, labels)
        for row in self.rows:
            for field in ("reported", "tolerance", "erratum"):
                for name in getattr(row, field):
                    _check_name(f"row {row.label!r}, {field}", "column", name, columns)
            for name, value in row.reported.items():
                column = self.column(name)
                exact = isinstance(value, str) or column.cells == "latency"
                if not exact and row.tolerance.get(name, column.tolerance) is None:
                    raise ValueError(f"row {row.label!r}: {name} is reported, but has no tolerance")
        for claim in self.claims:
            _check_claim(claim, columns, labels)
        drawn = (*self.figure.columns, self.figure.x, self.figure.total, self.figure.facet)
        for name in filter(None, drawn):
            _check_name("figure", "column", name, columns)
        return self

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def _check_claim(claim: Claim, columns: list[str], labels: list[str]) -> None:
    where = f"claim {quoted(claim.expr)}"
    for name in claim.comparison.names:
        _check_name(where, "column", name.path, columns)
        if name.row is None:
            raise ValueError(f'{where}: {name.path} needs a row, as in {name.path}["{labels[0]}"]')
    _check_rows(where, claim.comparison.names, labels)


def _check_rows(where: str, names: Iterable[Name], labels: list[str]) -> None:
    for name in names:
        if name.row is not None:
            _check_name(where, "row", name.row, labels)


def _check_name(where: str, kind: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise ValueError(f"{where}: no {kind} {quoted(name)}; {nearest(name, known)}")


def unique(kind: str, names: list[str]) -> list[str]:
    """The names. Raises ValueError where one occurs twice."""
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise ValueError(f"more than one {kind} is called {', '.join(sorted(duplicates))}")
    return names
