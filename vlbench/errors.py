"""Errors that the command line prints as one line: what a user can mend (exit code 2), and a worker that failed (1)."""


class InputError(Exception):
    """Bad input. The message says where, what is wrong, and what would work."""


class SpecError(InputError):
    """A model or suite file that does not describe something vlbench can build."""


class WorkerError(Exception):
    """A measuring process ended without a result; the message is the reason."""


class HeadError(WorkerError):
    """Of two sides, the one that may be worse cannot be measured, while the other can."""
