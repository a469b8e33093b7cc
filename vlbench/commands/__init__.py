"""Commands that cli.py registers, one a file; what they need, they import when called."""
