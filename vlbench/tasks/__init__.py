"""Data sets in their official formats, the metrics of their tasks, and blind baselines."""
