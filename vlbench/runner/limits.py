"""The largest settings of a measurement. A number beyond them is a slip, or takes longer than anybody waits."""

from __future__ import annotations

MOST_BUDGET_SECONDS = 7 * 24 * 3600.0
MOST_BATCH = 1_000_000
MOST_TEXT_TOKENS = 1_000_000
MOST_THREADS = 1024
MOST_RESTARTS = 10_000
