"""What a holder does: keep credentials, present chosen fields of them, and look after their uses."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from cli.errors import CliError
from cli.licence.client import CityClient
from cli.licence.fields import names_of, titles_of
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
            names: names or titles of the fields to disclose; None for all.
            nonce: the verifier's challenge.
            audience: whom it is for.

        Raises:
            CliError: the credential has no such field, or is another holder's.
        """
        from ledger.licences.sdjwt import bind

        shown = credential if names is None else disclose(credential, names)
        self._require_own(shown)
        try:
            return bind(shown, self.key, nonce=nonce, audience=audience, now_s=int(self._now_s()))
        except LedgerError as err:
            raise CliError(f"presentation: {err}") from err

    def _require_own(self, credential: str) -> None:
        """Refuse a licence that this key could not show as its bearer's.

        Raises:
            CliError: it is another holder's, or a presentation that was bound to a verifier already.
        """
        from ledger.licences.sdjwt import parse

        try:
            presented = parse(credential)
        except LedgerError as err:
            raise CliError(f"credential: {err}") from err
        named, own = presented.claims.holder.kid, self.key.public.kid
        if named != own:
            raise CliError(
                f"this key is not the holder's: the licence names the key {named}, this one is {own}"
            )
        if presented.key_binding is not None:
            raise CliError("this is a presentation made for one verifier: make another out of the credential")

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

    Args:
        credential: as the department gave it, or a presentation of it.
        names: names or titles of the fields to disclose.

    Raises:
        CliError: it is no credential, or has no such field.
    """
    from ledger.licences.sdjwt import parse, present

    try:
        presented = parse(credential)
        titles = titles_of(presented.claims.type_code)
        known = dict.fromkeys((*titles, *presented.by_name))  # in the type's order: digests have none
        permitted = {name: titles.get(name, name) for name in known if name in presented.by_name}
        return present(credential, names_of(names, permitted))
    except LedgerError as err:
        raise CliError(f"presentation: {err}") from err


def issuer_hash(credential: str) -> str:
    """Return the hex by which a use is known in which the issuer fetched the credential. Source: docs/licence.md §12.

    Raises:
        CliError: it is no credential.
    """
    from ledger.licences.identifiers import issuer_urn
    from ledger.licences.sdjwt import parse

    try:
        return hashlib.sha256(issuer_urn(parse(credential).claims.issuer).encode()).hexdigest()
    except LedgerError as err:
        raise CliError(f"credential: {err}") from err


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
