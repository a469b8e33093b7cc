"""Suites whose arms are trained: planned, trained, held against a reference arm and against the papers."""
