"""Compares two results or two functions in Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from vlbench.errors import InputError
from vlbench.regression.compare.comparison import compare as compare_results
from vlbench.regression.compare.outcomes import Comparison, Thresholds, parse_threshold
from vlbench.regression.compare.tables import comparison_tables
from vlbench.regression.live.functions import compare_functions
from vlbench.runner.records import Result
from vlbench.tables.writers import to_text


class ModuleComparison(Comparison):
    """A comparison that shows itself as a table; `verdict` is `regression`, `no regression` or `cannot tell`."""

    def __repr__(self) -> str:
        return to_text(comparison_tables(self)).rstrip()

    __str__ = __repr__


def compare(base: Result, head: Result, *, threshold: str | float = "5%", force: bool = False) -> ModuleComparison:
    """Compares two results, such as those of `vlbench.measure` for two modules.

    Raises InputError where machines or settings differ, unless forced, or the threshold is no share.

    Args:
        base: the result that `head` is compared to.
        head: the newer result.
        threshold: the slowdown that matters, `5%` or 0.05.
        force: compare although machines or settings differ.
    """
    try:
        thresholds = Thresholds(default=parse_threshold(threshold))
    except ValueError as error:
        raise InputError(f"threshold={threshold!r}: {error}") from error
    same_name = base.model_copy(update={"model": head.model})
    names = (base.model, head.model) if base.model != head.model else ("base", "head")
    return ModuleComparison.model_construct(
        **dict(compare_results([same_name], [head], names=names, thresholds=thresholds, force=force))
    )


def assert_not_slower(
    head: Result | Callable[[], object],
    base: Result | Callable[[], object] | str,
    *,
    threshold: str | float = "5%",
    budget_seconds: float = 30,
    threads: int = 1,
) -> None:
    """Raises AssertionError if `head` is slower than `base`; warns where that cannot be decided.

    Results are compared as they are. Functions are called in fresh processes, in lockstep, as `vlbench ab` does.

    Raises InputError as `compare` and the fixture `vlbench` of pytest do.

    Args:
        head: a result, or a function without arguments at the top of a module.
        base: the same; for a function also the git revision from which it is taken.
        threshold: the slowdown that matters, `5%` or 0.05.
        budget_seconds: for measuring functions.
        threads: of PyTorch, for functions.
    """
    if isinstance(head, Result) and isinstance(base, Result):
        comparison = compare(base, head, threshold=threshold)
        (cell,) = comparison.cells
        verdict, why = cell.verdict, cell.reason
    elif callable(head) and (callable(base) or isinstance(base, str)):
        live = compare_functions(head, base, threshold=threshold, budget_seconds=budget_seconds, threads=threads)
        comparison = ModuleComparison.model_construct(**dict(live.comparison))
        (cell,), (workload,) = live.comparison.cells, live.workloads
        verdict, why = workload.judge(cell)
    else:
        raise InputError("assert_not_slower compares two results, or a function with another or with a git revision")
    if verdict == "slower":
        raise AssertionError(repr(comparison))
    if verdict == "unknown":
        warnings.warn(f"vlbench cannot tell whether {cell.cell} is slower: {why}", stacklevel=2)
