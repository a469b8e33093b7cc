"""The pytest plugin: the fixture `vlbench`, whose `assert_not_slower` fails a test if a function became slower."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from vlbench.regression.live.record import LiveComparison


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vlbench", "tests of speed (vlbench)")
    group.addoption(
        "--vlbench-budget", type=float, metavar="SECONDS", help="Time of each comparison, whatever the test says."
    )
    group.addoption("--vlbench-skip", action="store_true", help="Skip all tests that use the fixture vlbench.")
    group.addoption("--vlbench-strict", action="store_true", help="Fail instead of skipping if there is no verdict.")


@pytest.fixture
def vlbench(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Speed:
    """Compares the speed of functions: `vlbench.assert_not_slower(function, baseline)`."""
    if request.config.getoption("--vlbench-skip"):
        pytest.skip("--vlbench-skip")
    return Speed(request.config, record_property)


class Speed:
    """The value of the fixture `vlbench`."""

    def __init__(self, config: pytest.Config, record_property: Callable[[str, object], None]) -> None:
        self.config, self.record_property = config, record_property

    def assert_not_slower(
        self,
        function: Callable[[], object],
        baseline: Callable[[], object] | str,
        *,
        threshold: str | float = "5%",
        budget_seconds: float = 30,
        threads: int = 1,
    ) -> None:
        """Fails the test if `function` is slower than `baseline`; skips the rest of the test if there is no verdict.

        Both are called in fresh processes, in lockstep, as in `vlbench ab`; this process only waits.

        Args:
            function: defined at the top level of a module, without arguments.
            baseline: another such function, or the git revision from which the same function is taken.
            threshold: the slowdown to detect, `5%` or 0.05.
            budget_seconds: for measuring; `--vlbench-budget` overrides it.
            threads: of PyTorch and OpenMP in the processes that measure.
        """
        __tracebackhide__ = True
        from vlbench.errors import InputError, WorkerError
        from vlbench.regression.live.functions import compare_functions

        budget = self.config.getoption("--vlbench-budget")
        try:
            live = compare_functions(
                function,
                baseline,
                threshold=threshold,
                budget_seconds=budget if budget is not None else budget_seconds,
                threads=threads,
                root=self.config.rootpath,
            )
        except (InputError, WorkerError) as error:
            _fail(f"vlbench: {error}")
        self._judge(live)

    def _judge(self, live: LiveComparison) -> None:
        """By latency only; memory is checked by `vlbench ab`."""
        __tracebackhide__ = True
        (cell,), (workload,) = live.comparison.cells, live.workloads
        verdict, why = workload.judge(cell)
        self.record_property("vlbench_verdict", verdict)
        self.record_property("vlbench_base_ms", cell.base_ms)
        self.record_property("vlbench_head_ms", cell.head_ms)
        self.record_property("vlbench_replicates", cell.restarts[0])
        if cell.effect:
            for name in ("ratio", "low", "high"):
                self.record_property(f"vlbench_{name}", getattr(cell.effect, name))
        if verdict == "slower" or (verdict == "unknown" and self.config.getoption("--vlbench-strict")):
            _fail(_table(live))
        if verdict == "unknown":
            pytest.skip(f"vlbench cannot tell whether {cell.cell} is slower: {why}")


def _fail(message: str) -> NoReturn:
    __tracebackhide__ = True
    pytest.fail(message, pytrace=False)


def _table(live: LiveComparison) -> str:
    from io import StringIO

    from rich.console import Console

    from vlbench.regression.compare.tables import comparison_tables
    from vlbench.tables.terminal import to_terminal

    text = StringIO()
    Console(file=text, width=200, color_system=None).print(to_terminal(comparison_tables(live.comparison)))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
