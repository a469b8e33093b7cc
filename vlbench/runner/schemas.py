"""Versions of the lines of a results folder, and of the protocol between a worker and its client.

Each side of a live comparison reports its `PROTOCOL` before anything is measured.
"""

from __future__ import annotations

from typing import Any

from vlbench.errors import InputError

SCHEMA = 4
RESTARTS_SINCE = 3  # restarts have been written as they are now since that schema


def upgraded(content: Any, where: str) -> dict[str, Any]:
    """A line of any schema so far, as one of the present. Raises InputError for another."""
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
        known = ", ".join(map(str, range(1, SCHEMA)))
        raise InputError(f"{where}: schema {schema}; this vlbench reads schemas {known} and {SCHEMA}")
    if schema < SCHEMA:  # up to schema 3 no bytes were counted
        content = {key: value for key, value in content.items() if key != "uncounted_operators"} | {"schema": SCHEMA}
    if schema >= RESTARTS_SINCE:
        return content
    try:
        return _one_process_as_a_restart(content)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: damaged, its latencies are none of schema {schema}; delete the line") from error


def _one_process_as_a_restart(content: dict[str, Any]) -> dict[str, Any]:
    """Up to schema 2 one process measured a cell: a single restart, which carries no interval."""
    latency = content.get("latency_ms")
    if "cell" in content:  # a suppression, its latencies by method
        restart = {"latency_ms": _samples(latency), "measured_at": content["measured_at"]}
        return content | {"latency_ms": _summaries(latency), "restarts": [restart] if latency else []}
    by_stage, warm_up = content.get("latency_ms_by_stage"), content.pop("warm_up", None)
    if not latency:
        return content
    restart = {
        "latency_ms": latency["samples"],
        "latency_ms_by_stage": _samples(by_stage),
        "warm_up": warm_up or {"n": 0, "steady": False},
        "measured_at": content["measured_at"],
    }
    return content | {
        "latency_ms": _summary(latency),
        "latency_ms_by_stage": _summaries(by_stage) if by_stage else by_stage,
        "restarts": [restart],
    }


def _summary(old: dict[str, Any]) -> dict[str, Any]:
    return {key: old[key] for key in ("median", "p90", "p99", "n")} | {"ci95": None, "by_restart": [old["median"]]}


def _summaries(old: dict[str, Any] | None) -> dict[str, Any]:
    return {name: _summary(latency) for name, latency in (old or {}).items()}


def _samples(old: dict[str, Any] | None) -> dict[str, Any]:
    return {name: latency["samples"] for name, latency in (old or {}).items()}


CACHE_MS = 100  # a shorter pass feels that something else had the caches before it; a longer one refills them
PROTOCOL = 1  # one more whenever an action that live comparisons use changes
