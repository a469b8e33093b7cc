"""The result of measuring one model in Python: a record that shows itself as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from vlbench.report.notes import notes
from vlbench.report.tables import result_tables
from vlbench.runner.records import Result
from vlbench.tables.markup import escape_html
from vlbench.tables.writers import to_text

if TYPE_CHECKING:
    import pandas as pd

END_TO_END = "end to end"


class Measurement(Result):
    """A result, as `vlbench run` writes it, that a notebook shows as a table and a terminal as text.

    Attributes:
        in_this_process: why it was measured in the process that asked, and not in fresh ones; None if it was not.
    """

    in_this_process: str | None = Field(default=None, exclude=True)

    @classmethod
    def of(cls, result: Result, in_this_process: str | None = None) -> Measurement:
        return cls.model_construct(**dict(result), in_this_process=in_this_process)

    def to_frame(self) -> pd.DataFrame:
        """A row for each stage and one for the whole pass: milliseconds and their 95% interval, parameters, MACs and
        bytes moved. A value that is unknown is missing."""
        import pandas as pd  # noqa: PLC0415  slow to import

        stages = self.latency_ms_by_stage or {}
        latencies = {END_TO_END: self.latency_ms, **{name: stages[name] for name in stages if name != "total"}}
        counts = {
            "params": (self.params_total, self.params_by_stage),
            "macs": (self.macs, self.macs_by_stage),
            "bytes_moved": (self.bytes_moved, self.bytes_moved_by_stage),
        }
        rows = [
            {
                "stage": name,
                "latency_ms": latency and latency.median,
                "latency_ms_low": latency and latency.ci95 and latency.ci95[0],
                "latency_ms_high": latency and latency.ci95 and latency.ci95[1],
                **{
                    key: whole if name == END_TO_END else (each or {}).get(name)
                    for key, (whole, each) in counts.items()
                },
            }
            for name, latency in latencies.items()
        ]
        return pd.DataFrame(rows).set_index("stage").convert_dtypes()

    def __repr__(self) -> str:
        return to_text(result_tables([self], self._where)).rstrip()

    __str__ = __repr__

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{escape_html(line)}</li>" for line in (*notes([self]), *self._where))
        table = self.to_frame().to_html(na_rep="", float_format="{:.4g}".format)
        return f"<p><b>{escape_html(self.model)}</b></p>{table}<ul>{lines}</ul>"

    @property
    def _where(self) -> tuple[str, ...]:
        if self.in_this_process is None:
            return ()
        return (f"Measured in this process, once, so that its latency has no interval: {self.in_this_process}",)
