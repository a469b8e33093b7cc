"""Reproduces the papers' tables: gathers what a suite needs, and says of each cell and claim how it stands."""
