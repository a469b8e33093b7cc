"""Benchmark suites: the schema of `benchmarks/*.yaml`, their columns and claims, how they are measured and judged."""
