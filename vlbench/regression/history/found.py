"""From `raw` to `found`: whole results only, each once, with what history adds to them; and how series, machines and
figures are named for a reader."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING

from vlbench.regression.history.runs import ADDED, COLUMNS, OPTIONAL, Hardware, SeriesSettings
from vlbench.regression.history.series import Series, line_numbers
from vlbench.runner.schemas import RESULT_SCHEMA, remedy

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


REQUIRED = [name for name in COLUMNS if name not in OPTIONAL]
# `measured_at` in UTC, which it is where it names no zone
MOMENT = r"""
    make_timestamp(epoch_us(TRY_CAST(measured_at || CASE
        WHEN regexp_matches(measured_at, ':\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)$') THEN '' ELSE '+00:00'
    END AS TIMESTAMPTZ)))
"""
NUMBERS = ("cores", "ram_bytes", "threads")  # of the machine


def make_found(connection: DuckDBPyConnection, folders: Mapping[str, str]) -> list[str]:
    """Makes `found`; `folders` names the folder of each file for a reader. Gives a warning for each fault of a file."""
    connection.execute(f"""
        CREATE TABLE checked AS
        SELECT *, rowid AS place, row_number() OVER (PARTITION BY filename ORDER BY rowid) AS position,
               {_fault()} AS fault
        FROM (SELECT *, rowid, {MOMENT} AS moment FROM raw)
    """)
    connection.execute(
        "CREATE TABLE folders AS SELECT unnest(?) AS filename, unnest(?) AS folder",
        [list(folders), list(folders.values())],
    )
    # The same line may lie in two folders, or in a folder and a Parquet file.
    connection.execute(f"""
        CREATE TABLE found AS
        WITH known AS (
            SELECT *, md5(concat_ws('|', cell_hash, moment, status, latency_ms.median, machine->>'gpu', machine->>'cpu',
                                    machine->>'cores', machine->>'ram_bytes', machine->>'threads')) AS key
            FROM checked WHERE fault IS NULL
        ), placed AS (
            SELECT *, first_value(key) OVER (PARTITION BY filename ORDER BY position) AS source,
                   max(moment) OVER (PARTITION BY filename ORDER BY position
                                 ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS ordered_at
            FROM known
        )
        SELECT {", ".join((*COLUMNS, *ADDED))} FROM placed JOIN folders USING (filename)
        QUALIFY row_number() OVER (PARTITION BY key ORDER BY place) = 1
    """)
    return _warnings(connection)


def _fault() -> str:
    """SQL that says what is wrong with a line; NULL where it is a whole result."""
    absent = " ".join(f"WHEN {name} IS NULL THEN 'no {name}'" for name in REQUIRED)
    unknown = " ".join(
        f"WHEN TRY_CAST(machine->>'{name}' AS BIGINT) IS NULL THEN 'no machine.{name}'" for name in NUMBERS
    )
    older, newer = remedy(RESULT_SCHEMA - 1), remedy(RESULT_SCHEMA + 1)
    return f"""
        CASE WHEN model IS NULL AND machine IS NULL AND cell_hash IS NULL
                  THEN 'no whole result; cut off, damaged or not of vlbench'
             WHEN schema < {RESULT_SCHEMA} THEN concat('schema ', schema, '{older}')
             WHEN schema > {RESULT_SCHEMA} THEN concat('schema ', schema, '{newer}')
             {absent}
             WHEN moment IS NULL THEN concat('measured_at ', measured_at, ' is no time')
             WHEN machine->>'cpu' IS NULL THEN 'no machine.cpu'
             {unknown}
             WHEN status = 'ok' AND NOT (latency_ms.median > 0 AND isfinite(latency_ms.median))
                  THEN concat('latency_ms.median ', latency_ms.median, ' is no latency')
        END
    """


def _warnings(connection: DuckDBPyConnection) -> list[str]:
    faults: dict[tuple[str, str], list[int]] = defaultdict(list)
    rows = connection.execute(
        "SELECT filename, fault, position FROM checked WHERE fault IS NOT NULL ORDER BY place"
    ).fetchall()
    for filename, fault, position in rows:
        faults[filename, fault].append(position)
    return [_warning(Path(filename), fault, positions) for (filename, fault), positions in faults.items()]


def _warning(file: Path, fault: str, positions: list[int]) -> str:
    numbers = positions if file.suffix == ".parquet" else line_numbers(file, positions)
    kind = "row" if file.suffix == ".parquet" else "line"
    more = f" and {len(numbers) - 1} more {kind}s" if len(numbers) > 1 else ""
    return f"{file} {kind} {numbers[0]}{more}: {fault}; left out"


OWN = ("image_size", "text_tokens")  # each model has its own, unless told otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """`common` are the settings that all series share; a series is told from others by `settings` and `machine`."""

    common: str
    machines: dict[Hardware, str]
    differing: tuple[str, ...]

    def settings(self, series: Series) -> str:
        return ", ".join(_in_words(series.settings, self.differing))

    def machine(self, series: Series) -> str:
        return self.machines[series.hardware] if len(self.machines) > 1 else ""


def name_all(history: Sequence[Series]) -> Names:
    """Settings are named where they differ; a model's own only where they differ among series of that model."""
    names = [field.name for field in fields(SeriesSettings)]
    differing = tuple(name for name in names if _differs(history, name))
    alike = [name for name in names if len({getattr(series.settings, name) for series in history}) == 1]
    shown = [name for name in alike if name not in ("image_sha256", "text")]
    hardware = dict.fromkeys(series.hardware for series in history)
    return Names(
        common=", ".join(_in_words(history[0].settings, shown)),
        machines={machine: _letters(place) for place, machine in enumerate(sorted(hardware))},
        differing=differing,
    )


def _differs(history: Sequence[Series], name: str) -> bool:
    groups: dict[str, set] = {}
    for series in history:
        groups.setdefault(series.model if name in OWN else "", set()).add(getattr(series.settings, name))
    return any(len(values) > 1 for values in groups.values())


def _in_words(settings: SeriesSettings, names: Sequence[str]) -> list[str]:
    words = {
        "device": settings.device,
        "precision": settings.precision,
        "backend": settings.backend,
        "batch": f"batch {settings.batch}",
        "threads": f"{settings.threads} thread{'s' if settings.threads != 1 else ''}",
        "image_size": "x".join(map(str, settings.image_size)),
        "text_tokens": f"{settings.text_tokens} tokens",
        "image_sha256": f"image {settings.image_sha256[:8]}",
        "text": f'"{settings.text[:24]}{"..." if len(settings.text) > 24 else ""}"',
        "variant": f"variant {settings.variant[:8]}" if settings.variant else "",
    }
    return [words[name] for name in words if name in names and words[name]]


def _letters(place: int) -> str:
    """A to Z, then AA, AB and so on."""
    rest, last = divmod(place, len(ascii_uppercase))
    return (_letters(rest - 1) if rest else "") + ascii_uppercase[last]
