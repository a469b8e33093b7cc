"""Benchmark suites, as data: `benchmarks/*.yaml`, their schema, and the expressions of their columns and claims."""
