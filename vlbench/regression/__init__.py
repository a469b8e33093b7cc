"""Regressions of latency: two results folders (`compare`), two versions measured live (`live`), many runs."""
