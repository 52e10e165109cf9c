"""What a department does: issue licences, and change their status, with its own key, over a city's service."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cli.errors import CliError
from cli.licence.client import CityClient, Receipt, Speaker
from ledger.errors import LedgerError

if TYPE_CHECKING:
    from ledger.licences.events import Code, Kind
    from ledger.licences.keys import PublicKey, SigningKey
    from ledger.licences.schema import LicenceType
    from ledger.licences.sdjwt import Claims

SERIAL_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SERIAL_SIZE: Final = 20


@dataclass(frozen=True, slots=True)
class Order:
    """One licence to issue.

    Args:
        kind: the type.
        values: the salted fields that the licence has, by name.
        holder: the key in `cnf`.
        serial: of the identifier; drawn when None.
        version: of the identifier, from 1.
        valid_from: Unix seconds; now when None.
        expires_at: Unix seconds, exclusive; None for no end.
    """

    kind: LicenceType
    values: Mapping[str, Any]
    holder: PublicKey
    serial: str | None = None
    version: int = 1
    valid_from: int | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class IssuedLicence:
    """A licence that is logged: the credential for its holder, and where its leaf is."""

    credential: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class LicenceRef:
    """Where a licence stands: its issue's leaf hash, and its status slot."""

    leaf_hash: bytes
    list: int
    index: int


@dataclass(frozen=True, slots=True)
class FoundLicence:
    """A licence of this department as the service has it: where its leaf is, and its status code."""

    index: int
    ref: LicenceRef
    code: Code

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> FoundLicence:
        """Read an item of the service's answer.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        from ledger.licences.leaf import Code

        status = item["status"]
        ref = LicenceRef(bytes.fromhex(item["leaf"]), int(status["list"]), int(status["index"]))
        return cls(int(item["index"]), ref, Code(status["code"]))


class Department:
    """One issuer at one city.

    Args:
        uscc: its unified social credit code.
        key: an active key of it.
        client: of the city's service.
        now_s: clock, Unix seconds.

    Raises:
        CliError: from each method, when the service refuses.
    """

    def __init__(
        self,
        uscc: str,
        key: SigningKey,
        client: CityClient,
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        from ledger.licences.identifiers import issuer_urn

        self.uscc, self.key, self.client, self._now_s = uscc, key, client, now_s
        self.speaker = Speaker(issuer_urn(uscc), key)
        self.origin = client.origin

    def issue(
        self, order: Order, *, previous: bytes | None = None, is_transfer: bool = False
    ) -> IssuedLicence:
        """Issue a licence and log it.

        Args:
            order: what to issue.
            previous: leaf hash of the issue that this one supersedes, or takes over from another city.
            is_transfer: whether it is taken over.
        """
        slot = self.client.reserve(self.speaker, 1)[0]
        credential = self.sign(order, slot, previous=previous, is_transfer=is_transfer)
        return IssuedLicence(credential, self.client.submit(credential))

    def sign(
        self,
        order: Order,
        slot: tuple[int, int],
        *,
        previous: bytes | None = None,
        is_transfer: bool = False,
    ) -> str:
        """Sign a licence for a reserved slot, without logging it.

        Raises:
            CliError: a value is outside its type.
        """
        from ledger.licences.sdjwt import issue

        try:
            claims = self._claims(order, slot, previous, is_transfer)
            return issue(claims, order.kind, order.values, self.key, rand=secrets.token_bytes(32)).text
        except LedgerError as err:
            raise CliError(f"licence: {err}") from err

    def _claims(
        self, order: Order, slot: tuple[int, int], previous: bytes | None, is_transfer: bool
    ) -> Claims:
        from ledger.encoding import Digest
        from ledger.licences.identifiers import Identifier
        from ledger.licences.sdjwt import Claims

        now = int(self._now_s())
        serial = order.serial or "".join(secrets.choice(SERIAL_ALPHABET) for _ in range(SERIAL_SIZE))
        return Claims(
            issuer=self.uscc,
            type_code=order.kind.code,
            identifier=Identifier(order.kind.code, self.uscc, serial, f"{order.version:03d}"),
            version=order.kind.version,
            event_id=secrets.token_bytes(16),
            issued_at=now,
            not_before=now if order.valid_from is None else order.valid_from,
            expires_at=order.expires_at,
            list=slot[0],
            index=slot[1],
            origin=self.origin,
            holder=order.holder,
            previous=None if previous is None else Digest(previous),
            transfer_in=is_transfer,
        )

    # --- what happens to a licence later ---------------------------------------------------------------------

    def suspend(self, licence: LicenceRef, reason: str = "") -> Receipt:
        """Suspend a licence."""
        from ledger.licences.events import Code, Kind

        return self.change(Kind.SUSPEND, Code.SUSPENDED, licence, reason)

    def resume(self, licence: LicenceRef, reason: str = "") -> Receipt:
        """Make a suspended licence valid again."""
        from ledger.licences.events import Code, Kind

        return self.change(Kind.RESUME, Code.VALID, licence, reason)

    def revoke(self, licence: LicenceRef, code: Code, reason: str = "") -> Receipt:
        """Revoke a licence for good."""
        from ledger.licences.events import Kind

        return self.change(Kind.REVOKE, code, licence, reason)

    def transfer_out(self, licence: LicenceRef, reason: str = "") -> Receipt:
        """Let another city take a licence over."""
        from ledger.licences.events import Code, Kind

        return self.change(Kind.TRANSFER_OUT, Code.TRANSFERRED, licence, reason)

    # --- what it issued before -------------------------------------------------------------------------------

    def find(self, identifier: str) -> list[FoundLicence]:
        """Return where this department's licences with an identifier stand, ascending; erased ones are not found.

        Raises:
            CliError: it is no identifier, or the service refuses.
        """
        from ledger.licences.identifiers import Identifier

        try:
            Identifier.parse(identifier)
        except LedgerError as err:
            raise CliError(f"identifier: {err}") from err
        answer = self.client.find(self.speaker, identifier)
        try:
            return [FoundLicence.from_json(item) for item in answer["items"]]
        except (KeyError, TypeError, ValueError) as err:
            raise CliError(f"{self.client.url} does not answer as it should: {type(err).__name__}") from err

    def fetch(self, found: FoundLicence) -> str:
        """Return the credential of a licence that was found; the holder's list of uses says that it was fetched.

        Raises:
            CliError: it was erased, or the service gives another one.
        """
        credential = str(self.client.fetch(self.speaker, found.ref.leaf_hash).get("credential"))
        if ref_of(credential) != found.ref:
            raise CliError(f"{self.client.url} gives another credential than that of leaf {found.index}")
        return credential

    def erase(self, licence: LicenceRef) -> dict[str, Any]:
        """Have the service destroy a licence's credential and salts; what is logged stays, unlinkable."""
        return self.client.erase_as_issuer(self.speaker, licence.leaf_hash)

    def change(self, kind: Kind, code: Code, licence: LicenceRef, reason: str) -> Receipt:
        """Sign and log one event of a licence."""
        return self.client.submit(self.sign_change(kind, code, licence, reason))

    def sign_change(self, kind: Kind, code: Code, licence: LicenceRef, reason: str = "") -> str:
        """Sign one event of a licence, without logging it.

        Raises:
            CliError: a value is outside its type.
        """
        from ledger.licences.events import LicenceEvent, make_event

        try:
            event = LicenceEvent(
                kind=kind,
                event_id=secrets.token_bytes(16),
                issued_at=int(self._now_s()),
                issuer=self.uscc,
                licence=licence.leaf_hash,
                origin=self.origin,
                list=licence.list,
                index=licence.index,
                code=code,
                reason=reason,
            )
        except LedgerError as err:
            raise CliError(f"event: {err}") from err
        return make_event(event, self.key)


def ref_of(credential: str) -> LicenceRef:
    """Return where a credential's licence stands, computed from the credential alone.

    Raises:
        CliError: it is no credential.
    """
    from ledger.licences.events import leaf_of_credential

    try:
        leaf = leaf_of_credential(credential)
    except LedgerError as err:
        raise CliError(f"credential: {err}") from err
    return LicenceRef(leaf.hash, leaf.list, leaf.index)
