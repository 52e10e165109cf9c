"""Signed events: what happens to a licence, a key or a city after the issue, and the leaf of every signed event.

Source: docs/licence.md §4 and §5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeAlias

from ledger.encoding import Digest
from ledger.licences.encoding import TIME_MAX, b64u, canonical, day_of, last_day_of, parse_b64u
from ledger.licences.errors import Malformed
from ledger.licences.identifiers import (
    issuer_urn,
    parse_issuer_urn,
    parse_status_urn,
    require_origin,
    require_uscc,
    status_urn,
)
from ledger.licences.jws import Jws, parse_jws, sign_jws
from ledger.licences.keys import PublicKey, SigningKey
from ledger.licences.leaf import (
    CHANGE_KINDS,
    FINAL,
    KEY_KINDS,
    LIST_SIZE,
    NO_CODE,
    NO_SLOT,
    TRANSITIONS,
    ZERO,
    Code,
    Kind,
    Leaf,
    require_transition,
)
from ledger.licences.policy import (
    City,
    city_from_keys,
    require_int,
    require_list,
    require_members,
    require_types,
)
from ledger.licences.sdjwt import Claims, parse
from ledger.licences.status import parse_status_token

__all__ = [
    "CHANGE_KINDS",
    "FINAL",
    "KEY_KINDS",
    "NO_CODE",
    "NO_SLOT",
    "TRANSITIONS",
    "AccessBatch",
    "Code",
    "Event",
    "KeyEvent",
    "Kind",
    "Leaf",
    "LicenceEvent",
    "Recognition",
    "SignedEvent",
    "leaf_of_claims",
    "leaf_of_credential",
    "leaf_of_event",
    "leaf_of_status_token",
    "make_event",
    "parse_event",
    "registrar_urn",
    "require_transition",
    "service_urn",
]

EVENT_TYP: Final = "licence-event+jwt"
REGISTRAR_URN: Final = "urn:shuyao:registrar:"
SERVICE_URN: Final = "urn:shuyao:service:"
REASON_MAX: Final = 64
EVENT_SIZE_MAX: Final = 1 << 17
_COMMON: Final = ("evt", "iat", "iss", "jti")
_KINDS: Final = {
    kind.name.lower(): kind for kind in (*CHANGE_KINDS, *KEY_KINDS, Kind.RECOGNISE, Kind.ACCESS_BATCH)
}


def registrar_urn(origin: str) -> str:
    """Name the registrar of a log's city."""
    return REGISTRAR_URN + require_origin(origin)


def service_urn(origin: str) -> str:
    """Name the service that runs a log."""
    return SERVICE_URN + require_origin(origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenceEvent:
    """A licence is suspended, resumed, revoked or transferred out, by its issuer.

    Attributes:
        kind: one of `CHANGE_KINDS`.
        event_id: 16 random bytes.
        issued_at: Unix seconds.
        issuer: its unified social credit code.
        licence: leaf hash of the licence's issue, 32 bytes.
        origin: of the log.
        list: the licence's status list.
        index: in that list.
        code: its status after the event.
        reason: up to 64 printable characters; no personal data.
    """

    kind: Kind
    event_id: bytes
    issued_at: int
    issuer: str
    licence: bytes
    origin: str
    list: int
    index: int
    code: Code
    reason: str = ""

    def __post_init__(self) -> None:
        _require_common(self.event_id, self.issued_at)
        require_uscc(self.issuer)
        if self.kind not in CHANGE_KINDS or self.code not in TRANSITIONS[self.kind][1]:
            raise Malformed("event.code", f"a code that {self.kind.name} sets", f"{self.code:#x}")
        if len(self.licence) != 32 or self.licence == ZERO:
            raise Malformed("event.lic", "a leaf hash", f"{len(self.licence)} bytes")
        require_int("event.idx", self.index, 0, LIST_SIZE - 1)
        status_urn(self.origin, self.list)
        if len(self.reason) > REASON_MAX or not self.reason.isprintable():
            raise Malformed("event.reason", f"up to {REASON_MAX} printable characters", "something else")

    def payload(self) -> dict[str, Any]:
        """Return the members of the JWS's payload."""
        return {
            **_common(self.kind, self.event_id, self.issued_at, issuer_urn(self.issuer)),
            "code": int(self.code),
            "lic": self.licence.hex(),
            "reason": self.reason,
            "status": {"status_list": {"idx": self.index, "uri": status_urn(self.origin, self.list)}},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEvent:
    """An issuer's key is added, retired or declared compromised, by the registrar.

    `public` and `types` are given exactly when the key is added, `key` (32 bytes) exactly when it is not.
    """

    kind: Kind
    event_id: bytes
    issued_at: int
    origin: str
    issuer: str
    public: PublicKey | None = None
    types: tuple[str, ...] = ()
    key: bytes | None = None

    def __post_init__(self) -> None:
        _require_common(self.event_id, self.issued_at)
        require_uscc(self.issuer)
        require_origin(self.origin)
        if self.kind not in KEY_KINDS:
            raise Malformed("event.evt", "an event about a key", self.kind.name)
        adds = self.kind is Kind.KEY_ADD
        if adds != (self.public is not None) or adds != bool(self.types) or adds != (self.key is None):
            raise Malformed("event", "a JWK and types to add a key, else its id", "another set")
        if self.key is not None and len(self.key) != 32:
            raise Malformed("event.key", "32 bytes", f"{len(self.key)} bytes")
        require_types("event.types", self.types)

    @property
    def key_id(self) -> Digest:
        """The id of the key that the event is about."""
        return self.public.key_id if self.public is not None else Digest(self.key or b"")

    def subject(self) -> dict[str, Any]:
        """Return the members that the leaf has as well."""
        if self.public is not None:
            return {"issuer": self.issuer, "jwk": self.public.jwk(), "types": list(self.types)}
        return {"issuer": self.issuer, "key": self.key_id.hex()}

    def payload(self) -> dict[str, Any]:
        """Return the members of the JWS's payload."""
        return {
            **_common(self.kind, self.event_id, self.issued_at, registrar_urn(self.origin)),
            **self.subject(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """A city recognises another one's log until `expires_at` (Unix seconds, exclusive), for the types that `city` names.

    `size` and `root` are of a checkpoint of that log which the registrar has seen.
    """

    event_id: bytes
    issued_at: int
    expires_at: int
    origin: str
    city: City
    size: int
    root: bytes

    def __post_init__(self) -> None:
        _require_common(self.event_id, self.issued_at)
        require_int("event.exp", self.expires_at, self.issued_at + 1, TIME_MAX)
        require_origin(self.origin)
        require_int("event.size", self.size, 0, (1 << 53) - 1)
        if self.city.types is None:
            raise Malformed("event.types", "the types that are recognised", "all")
        if self.city.origin == self.origin:
            raise Malformed("event.city", "another log", "the log itself")
        if len(self.root) != 32:
            raise Malformed("event.root", "32 bytes", f"{len(self.root)} bytes")

    kind = Kind.RECOGNISE

    def subject(self) -> dict[str, Any]:
        """Return the member `city`, which the leaf has as well."""
        return {**self.city.keys_json(), "size": self.size, "root": b64u(self.root)}

    def payload(self) -> dict[str, Any]:
        """Return the members of the JWS's payload."""
        common = _common(Kind.RECOGNISE, self.event_id, self.issued_at, registrar_urn(self.origin))
        return {**common, "city": self.subject(), "exp": self.expires_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessBatch:
    """The RFC 6962 root (32 bytes) over `count` access records, by the service."""

    event_id: bytes
    issued_at: int
    origin: str
    root: bytes
    count: int

    def __post_init__(self) -> None:
        _require_common(self.event_id, self.issued_at)
        require_origin(self.origin)
        require_int("event.count", self.count, 1, NO_SLOT)
        if len(self.root) != 32:
            raise Malformed("event.root", "32 bytes", f"{len(self.root)} bytes")

    kind = Kind.ACCESS_BATCH

    def payload(self) -> dict[str, Any]:
        """Return the members of the JWS's payload."""
        common = _common(Kind.ACCESS_BATCH, self.event_id, self.issued_at, service_urn(self.origin))
        return {**common, "count": self.count, "root": self.root.hex()}


Event: TypeAlias = LicenceEvent | KeyEvent | Recognition | AccessBatch


@dataclass(frozen=True, slots=True)
class SignedEvent:
    """A parsed event with its JWS, not verified yet."""

    event: Event
    jws: Jws

    def leaf(self) -> Leaf:
        """Return the event's leaf. Source: docs/licence.md §5."""
        event = self.event
        last_day = last_day_of(event.expires_at) if isinstance(event, Recognition) else last_day_of(None)
        changes = event if isinstance(event, LicenceEvent) else None
        return Leaf(
            kind=event.kind,
            event_id=event.event_id,
            key_id=self.jws.key_id,
            evidence=sha256(self.jws.text.encode("ascii")).digest(),
            list=changes.list if changes else NO_SLOT,
            index=changes.index if changes else NO_SLOT,
            code=int(changes.code) if changes else NO_CODE,
            event_day=day_of(event.issued_at),
            last_day=last_day,
            previous=changes.licence if changes else ZERO,
            extra=_extra(event),
        )


def make_event(event: Event, key: SigningKey) -> str:
    """Sign an event: of a licence by its issuer, of a key or a city by the registrar, an access batch by the service."""
    return sign_jws(EVENT_TYP, event.payload(), key)


def parse_event(text: object) -> SignedEvent:
    """Read a signed event; its signature is not checked.

    Raises:
        Malformed: no JWS of this type, other members than the event has, or a value outside its type.
        KeyUnsupported: a JWK is of no supported kind.
        IdentifierInvalid: an issuer or a type is none.
        QuorumSplits: a recognised city asks for too few cosignatures.
    """
    jws = parse_jws(text, EVENT_TYP, size_max=EVENT_SIZE_MAX)
    name = jws.payload.get("evt")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise Malformed("event.evt", f"one of {', '.join(_KINDS)}", "another event")
    return SignedEvent(_READERS[kind](kind, jws.payload), jws)


def leaf_of_event(text: str) -> Leaf:
    """Return the leaf of a signed event.

    Raises:
        LicenceError: as `parse_event`.
    """
    return parse_event(text).leaf()


def leaf_of_claims(jws: Jws, claims: Claims) -> Leaf:
    """Return the leaf of a credential that is parsed already.

    Args:
        jws: the issuer-signed JWT.
        claims: what it claims.

    Raises:
        Malformed: `evt` and `prev` do not fit each other.
    """
    return Leaf(
        kind=_licence_kind(jws.payload),
        event_id=claims.event_id,
        key_id=jws.key_id,
        evidence=sha256(jws.text.encode("ascii")).digest(),
        list=claims.list,
        index=claims.index,
        code=int(Code.VALID),
        event_day=day_of(claims.issued_at),
        last_day=last_day_of(claims.expires_at),
        previous=claims.previous or ZERO,
        type_code=claims.type_code,
    )


def leaf_of_credential(text: str) -> Leaf:
    """Return the leaf of a credential or a presentation of it: only the bytes before the first `~` count.

    Raises:
        LicenceError: the credential is malformed.
    """
    presented = parse(text.partition("~")[0] + "~")
    return leaf_of_claims(presented.jwt, presented.claims)


def leaf_of_status_token(text: str) -> Leaf:
    """Return the leaf of a status token.

    Raises:
        Malformed: it is none.
    """
    return parse_status_token(text).leaf()


def _licence_kind(payload: Mapping[str, Any]) -> Kind:
    if "prev" not in payload:
        return Kind.ISSUE
    return Kind.TRANSFER_IN if "evt" in payload else Kind.SUPERSEDE


def _common(kind: Kind, event_id: bytes, issued_at: int, iss: str) -> dict[str, Any]:
    return {"evt": kind.name.lower(), "iat": issued_at, "iss": iss, "jti": b64u(event_id)}


def _require_common(event_id: bytes, issued_at: int) -> None:
    if len(event_id) != 16:
        raise Malformed("event.jti", "16 bytes", f"{len(event_id)} bytes")
    require_int("event.iat", issued_at, 0, TIME_MAX)


def _extra(event: Event) -> bytes:
    if isinstance(event, AccessBatch):
        return event.root + event.count.to_bytes(4, "big")
    return canonical(event.subject(), "extra") if isinstance(event, KeyEvent | Recognition) else b""


def _hex(value: object, field: str) -> bytes:
    if not isinstance(value, str) or len(value) != 64 or value.strip("0123456789abcdef"):
        raise Malformed(field, "64 lower-case hex digits", "something else")
    return bytes.fromhex(value)


def _origin_of(value: object, prefix: str) -> str:
    if not isinstance(value, str) or not value.startswith(prefix):
        raise Malformed("event.iss", f"a name that begins with {prefix}", "another signer")
    return require_origin(value[len(prefix) :])


def _licence_event(kind: Kind, payload: Mapping[str, Any]) -> LicenceEvent:
    given = require_members("event", payload, (*_COMMON, "code", "lic", "reason", "status"))
    status = require_members("event.status", given["status"], ("status_list",))
    slot = require_members("event.status_list", status["status_list"], ("idx", "uri"))
    origin, number = parse_status_urn(slot["uri"])
    code, reason = given["code"], given["reason"]
    if isinstance(code, bool) or not isinstance(code, int) or code not in TRANSITIONS[kind][1]:
        raise Malformed("event.code", f"a code that {kind.name} sets", repr(code)[:40])
    if not isinstance(reason, str):
        raise Malformed("event.reason", "a string", type(reason).__name__)
    return LicenceEvent(
        kind=kind,
        event_id=parse_b64u(given["jti"], "event.jti", 16),
        issued_at=given["iat"],
        issuer=parse_issuer_urn(given["iss"]),
        licence=_hex(given["lic"], "event.lic"),
        origin=origin,
        list=number,
        index=slot["idx"],
        code=Code(code),
        reason=reason,
    )


def _key_event(kind: Kind, payload: Mapping[str, Any]) -> KeyEvent:
    adds = kind is Kind.KEY_ADD
    given = require_members("event", payload, (*_COMMON, "issuer", *(("jwk", "types") if adds else ("key",))))
    return KeyEvent(
        kind=kind,
        event_id=parse_b64u(given["jti"], "event.jti", 16),
        issued_at=given["iat"],
        origin=_origin_of(given["iss"], REGISTRAR_URN),
        issuer=require_uscc(given["issuer"]),
        public=PublicKey.from_jwk(given["jwk"]) if adds else None,
        types=tuple(require_list("event.types", given["types"])) if adds else (),
        key=None if adds else _hex(given["key"], "event.key"),
    )


def _recognition(_: Kind, payload: Mapping[str, Any]) -> Recognition:
    given = require_members("event", payload, (*_COMMON, "city", "exp"))
    if not isinstance(given["city"], Mapping):
        raise Malformed("event.city", "an object", type(given["city"]).__name__)
    keys = dict(given["city"])
    size, root = keys.pop("size", None), keys.pop("root", None)
    return Recognition(
        event_id=parse_b64u(given["jti"], "event.jti", 16),
        issued_at=given["iat"],
        expires_at=given["exp"],
        origin=_origin_of(given["iss"], REGISTRAR_URN),
        city=city_from_keys(keys, name="", anchor=None),
        size=require_int("event.size", size, 0, (1 << 53) - 1),
        root=parse_b64u(root, "event.root", 32),
    )


def _access_batch(_: Kind, payload: Mapping[str, Any]) -> AccessBatch:
    given = require_members("event", payload, (*_COMMON, "count", "root"))
    return AccessBatch(
        event_id=parse_b64u(given["jti"], "event.jti", 16),
        issued_at=given["iat"],
        origin=_origin_of(given["iss"], SERVICE_URN),
        root=_hex(given["root"], "event.root"),
        count=given["count"],
    )


_READERS: Final[dict[Kind, Callable[[Kind, Mapping[str, Any]], Event]]] = {
    **dict.fromkeys(CHANGE_KINDS, _licence_event),
    **dict.fromkeys(KEY_KINDS, _key_event),
    Kind.RECOGNISE: _recognition,
    Kind.ACCESS_BATCH: _access_batch,
}
