"""Errors of the command line: each is shown as one line, never as a stack."""


class CliError(Exception):
    """Something the user can act on; the message is the whole story."""


class ProcessFailed(CliError):
    """A process that we started ended, or did not become ready in time."""
