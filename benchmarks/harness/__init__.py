"""Measures vlbench itself against its peers; each script prints ratios from one interleaved run and its bar."""
