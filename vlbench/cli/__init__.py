"""The command line: one file per command. A command imports what it needs when called, so that `--help` answers at
once."""
