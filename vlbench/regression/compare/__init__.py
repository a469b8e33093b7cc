"""Compares two sets of results: effects with exact intervals, verdicts, and how they are reported."""
