"""Runs measurements: a fresh worker process for each restart of a cell, and one line for each result."""
