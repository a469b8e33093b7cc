"""Readers of data sets in their official file layouts; each checks what it reads, and names file and line."""
