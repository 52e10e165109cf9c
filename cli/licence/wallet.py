"""What a holder does: keep credentials, present chosen fields of them, and look after their uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from cli.errors import CliError
from cli.licence.client import CityClient
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from ledger.licences.keys import SigningKey


def uses_audience(origin: str) -> str:
    """Return the audience of a presentation that asks for a licence's uses. Source: docs/licence.md §12."""
    return f"urn:shuyao:uses:{origin}"


def erase_audience(origin: str) -> str:
    """Return the audience of a presentation that asks for erasure."""
    return f"urn:shuyao:erase:{origin}"


class Wallet:
    """A holder with its key.

    Args:
        key: the key in `cnf` of the holder's licences.
        now_s: clock, Unix seconds.
    """

    def __init__(self, key: SigningKey, *, now_s: Callable[[], float] = time.time) -> None:
        self.key, self._now_s = key, now_s

    def present(self, credential: str, names: Iterable[str] | None, *, nonce: str, audience: str) -> str:
        """Return a presentation of some fields, or of all, with the proof that this holder bears it.

        Args:
            credential: as the department gave it.
            names: of the fields to disclose; None for all.
            nonce: the verifier's challenge.
            audience: whom it is for.

        Raises:
            CliError: the credential has no such field, or is another holder's.
        """
        from ledger.licences.sdjwt import bind

        shown = credential if names is None else disclose(credential, names)
        try:
            return bind(shown, self.key, nonce=nonce, audience=audience, now_s=int(self._now_s()))
        except LedgerError as err:
            raise CliError(f"presentation: {err}") from err

    def uses(self, client: CityClient, credential: str) -> list[dict[str, Any]]:
        """List who used the licence, and when."""
        audience = uses_audience(client.origin)
        return client.uses(self.present(credential, (), nonce=client.nonce(), audience=audience))

    def erase(self, client: CityClient, credential: str) -> dict[str, Any]:
        """Have the service destroy the credential and all salts."""
        audience = erase_audience(client.origin)
        return client.erase(self.present(credential, (), nonce=client.nonce(), audience=audience))


def disclose(credential: str, names: Iterable[str]) -> str:
    """Return a presentation of some fields without a bearer's proof.

    Raises:
        CliError: no such field.
    """
    from ledger.licences.sdjwt import present

    try:
        return present(credential, names)
    except LedgerError as err:
        raise CliError(f"presentation: {err}") from err


def fields_of(credential: str) -> dict[str, Any]:
    """Return the fields that a credential or presentation discloses, by name.

    Raises:
        CliError: it is none.
    """
    from ledger.licences.sdjwt import parse

    try:
        return dict(parse(credential).disclosed)
    except LedgerError as err:
        raise CliError(f"credential: {err}") from err
