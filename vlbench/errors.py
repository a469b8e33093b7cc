"""Errors that a user can mend: the command line prints them as one line and exits with 2."""


class InputError(Exception):
    """Bad input. The message says where, what is wrong, and what would work."""


class SpecError(InputError):
    """A model or suite file that does not describe something vlbench can build."""
