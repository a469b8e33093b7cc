"""Records of a count by module, by one counter or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlbench.errors import InputError, nearest, quoted
from vlbench.frozen import Frozen

if TYPE_CHECKING:
    import pandas as pd

COUNTERS = ("vlbench", "fvcore", "torch")


class ModuleCount(Frozen):
    """A stage or a module of a model, with all that is inside it.

    Attributes:
        path: the name of a stage, or the path of a module; empty for the whole model. A shared module has its first.
        type: the module's class; empty for a stage of several modules.
        params: elements of its parameters, each parameter once.
        macs: of one forward pass, by counter; None where the counter gave none.
        bytes_moved: what its operators read and write; None without the counter `vlbench`.
    """

    path: str
    type: str
    params: int
    macs: dict[str, int | None]
    bytes_moved: int | None = None


class CounterReport(Frozen):
    """What one counter says of a whole model.

    Attributes:
        macs: None if it could not count the model; `error` says why.
        device: where the counted pass ran; `meta` computes shapes alone. None if none ran.
        macs_by_operator: under the counter's own names of operators.
        skipped: operators that it has no count for, and how often each ran. fvcore lists elementwise ones, too.
        never_called: modules that it saw no call of; only fvcore says so.
    """

    macs: int | None
    device: str | None
    macs_by_operator: dict[str, int]
    skipped: dict[str, int]
    never_called: tuple[str, ...]
    error: str | None


class ModuleCounts(Frozen):
    """Parameters, MACs and bytes moved of a model by module. 1 MAC is 1 multiply-accumulate; FLOPs are 2 x MACs.

    Attributes:
        counters: each counter's report, in the order of their columns.
        stages: of a model that vlbench measures by stage; empty for others.
        modules: the whole model first, then every module inside it.
    """

    counters: dict[str, CounterReport]
    stages: tuple[ModuleCount, ...]
    modules: tuple[ModuleCount, ...]

    @property
    def total(self) -> ModuleCount:
        return self.modules[0]

    def to_depth(self, depth: int) -> tuple[ModuleCount, ...]:
        """The whole model, and the modules at most so many levels inside it."""
        return tuple(row for row in self.modules if not row.path or row.path.count(".") < depth)

    def to_frame(self, depth: int | None = None) -> pd.DataFrame:
        """One row for each module, to a depth or all; the MACs of a counter as `macs_NAME`."""
        import pandas as pd  # noqa: PLC0415  slow to import

        rows = self.modules if depth is None else self.to_depth(depth)
        return pd.DataFrame([plain_row(row) for row in rows]).convert_dtypes()


def plain_row(row: ModuleCount) -> dict[str, str | int | None]:
    """The row's values, the MACs of a counter under `macs_NAME`."""
    macs = {f"macs_{counter}": amount for counter, amount in row.macs.items()}
    return {"path": row.path, "type": row.type, "params": row.params, **macs, "bytes_moved": row.bytes_moved}


def check_counters(names: Sequence[str], option: str = "counters") -> tuple[str, ...]:
    """The names, each once. Raises InputError where there is no such counter, or none is named."""
    for name in names:
        if name not in COUNTERS:
            raise InputError(f"{option}: no counter {quoted(name)}; {nearest(name, COUNTERS)}")
    if not names:
        raise InputError(f"{option}: no counter named; known: {', '.join(COUNTERS)}")
    return tuple(dict.fromkeys(names))
