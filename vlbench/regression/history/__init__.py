"""Latency over many runs: reads results folders or a DuckDB file, and finds where a series changed."""
