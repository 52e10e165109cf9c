"""The history of an issuer's keys, in log order, as its city's registrar signs it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from ledger.licences.encoding import TIME_MAX
from ledger.licences.errors import Malformed
from ledger.licences.identifiers import require_origin, require_uscc
from ledger.licences.jws import Jws, parse_jws, sign_jws
from ledger.licences.keys import PublicKey, SigningKey
from ledger.licences.packing import NOTHING_OPENED, Opened
from ledger.licences.policy import require_int, require_list, require_members, require_types

HISTORY_TYP: Final = "issuer-history+jwt"
KEYS_MAX: Final = 1024
HISTORY_SIZE_MAX: Final = 1 << 20
INDEX_MAX: Final = (1 << 53) - 1
_MEMBERS: Final = ("exp", "iat", "issuer", "keys", "origin", "size")
Inactive = Literal["KeyNotYetActive", "KeyRetired", "KeyCompromised"]


@dataclass(frozen=True, slots=True)
class KeySpan:
    """A key, the types it may sign, and where in the log it was added, retired or declared compromised."""

    public: PublicKey
    types: tuple[str, ...]
    added: int
    retired: int | None = None
    compromised: int | None = None

    def __post_init__(self) -> None:
        require_types("key.types", self.types)
        require_int("key.added", self.added, 0, INDEX_MAX)
        for name, index in (("retired", self.retired), ("compromised", self.compromised)):
            if index is not None:
                require_int(f"key.{name}", index, self.added + 1, INDEX_MAX)

    def why_inactive(self, index: int) -> Inactive | None:
        """Say why the key could not sign the leaf at a log index, None if it could. Source: docs/licence.md §5, key order."""
        if index <= self.added:
            return "KeyNotYetActive"
        if self.compromised is not None and index >= self.compromised:
            return "KeyCompromised"
        if self.retired is not None and index >= self.retired:
            return "KeyRetired"
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        ends = {"retired": self.retired, "compromised": self.compromised}
        known = {name: index for name, index in ends.items() if index is not None}
        return {"added": self.added, "jwk": self.public.jwk(), "types": list(self.types), **known}

    @classmethod
    def from_json(cls, value: object) -> KeySpan:
        """Read the JSON form.

        Raises:
            Malformed: other members, or an index or a type that is none.
            KeyUnsupported: the JWK is of no supported kind.
        """
        ends = [name for name in ("retired", "compromised") if isinstance(value, dict) and name in value]
        given = require_members("key", value, ("added", "jwk", "types", *ends))
        if any(given[name] is None for name in ends):
            raise Malformed("key", "a log index, or no such member", "null")
        types = tuple(require_list("key.types", given["types"]))
        public = PublicKey.from_jwk(given["jwk"])
        return cls(public, types, given["added"], given.get("retired"), given.get("compromised"))


@dataclass(frozen=True, slots=True)
class IssuerHistory:
    """All keys that an issuer ever had, as of a size of the log.

    Attributes:
        issuer: its unified social credit code.
        origin: of the log.
        size: the log's size that this is the history at; events at or after it are not in it.
        issued_at: Unix seconds.
        expires_at: Unix seconds, exclusive.
        keys: in the order in which they were added.
    """

    issuer: str
    origin: str
    size: int
    issued_at: int
    expires_at: int
    keys: tuple[KeySpan, ...]

    def __post_init__(self) -> None:
        require_uscc(self.issuer)
        require_origin(self.origin)
        require_int("history.size", self.size, 0, INDEX_MAX)
        require_int("history.iat", self.issued_at, 0, TIME_MAX)
        require_int("history.exp", self.expires_at, self.issued_at + 1, TIME_MAX)
        if len(self.keys) > KEYS_MAX:
            raise Malformed("history.keys", f"at most {KEYS_MAX}", str(len(self.keys)))
        if any(later.added <= earlier.added for earlier, later in pairwise(self.keys)):
            raise Malformed("history.keys", "keys in the order of their indexes", "another order")
        if len({span.public.key_id for span in self.keys}) != len(self.keys):
            raise Malformed("history.keys", "each key once", "a repeated key")
        for span in self.keys:
            if max(span.added, span.retired or 0, span.compromised or 0) >= self.size:
                raise Malformed("history.keys", f"indexes below the size {self.size}", "a later one")

    def key(self, key_id: bytes) -> KeySpan | None:
        """Return the span of a key by its id, if it is the issuer's."""
        return next((span for span in self.keys if span.public.key_id == key_id), None)

    def sign(self, registrar: SigningKey) -> str:
        """Return the history as a JWS of the city's registrar. Source: docs/licence.md §7."""
        payload = {
            "exp": self.expires_at,
            "iat": self.issued_at,
            "issuer": self.issuer,
            "keys": [span.to_json() for span in self.keys],
            "origin": self.origin,
            "size": self.size,
        }
        return sign_jws(HISTORY_TYP, payload, registrar)


@dataclass(frozen=True, slots=True)
class SignedHistory:
    """A parsed history with its JWS, not verified yet."""

    history: IssuerHistory
    jws: Jws


def parse_history(text: object, opened: Opened = NOTHING_OPENED) -> SignedHistory:
    """Read an issuer history; its signature is not checked.

    Args:
        opened: of the bundle that it comes from.

    Raises:
        Malformed: no JWS of this type, other members, or values that contradict each other.
        KeyUnsupported: a JWK is of no supported kind.
        IdentifierInvalid: the issuer or a type is none.
    """
    jws = parse_jws(text, HISTORY_TYP, opened, size_max=HISTORY_SIZE_MAX)
    given = require_members("history", jws.payload, _MEMBERS)
    spans = require_list("history.keys", given["keys"])
    if len(spans) > KEYS_MAX:
        raise Malformed("history.keys", f"at most {KEYS_MAX}", str(len(spans)))
    history = IssuerHistory(
        given["issuer"],
        given["origin"],
        given["size"],
        given["iat"],
        given["exp"],
        tuple(map(KeySpan.from_json, spans)),
    )
    return SignedHistory(history, jws)


def open_history(text: object, registrar: PublicKey) -> IssuerHistory:
    """Read an issuer history and check that the registrar signed it.

    Raises:
        SignatureInvalid: the registrar did not sign it.
        Malformed: as `parse_history`.
        KeyUnsupported: a JWK is of no supported kind.
        IdentifierInvalid: the issuer or a type is none.
    """
    signed = parse_history(text)
    signed.jws.verify(registrar)
    return signed.history
