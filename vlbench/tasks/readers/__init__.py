"""Readers of data sets in their official file formats. Each checks what it reads; its errors name the file and line."""
