"""Runs measurements: one fresh worker process a cell, one line a result."""
