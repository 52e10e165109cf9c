"""Errors of the command line: each is shown as one line, never as a stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CliError(Exception):
    """Something the user can act on; the message is the whole story."""


class ProcessFailed(CliError):
    """A process that we started ended, or did not become ready in time."""


@contextmanager
def named() -> Iterator[None]:
    """Show what the packages below refuse as one line.

    Raises:
        CliError: with the refusal's class and message.
    """
    from client.errors import ClientError
    from holder.errors import HolderError
    from ledger.errors import LedgerError
    from privacy.errors import PrivacyError

    try:
        yield
    except (ClientError, HolderError, LedgerError, PrivacyError) as err:
        raise CliError(f"{type(err).__name__}: {err}") from err
