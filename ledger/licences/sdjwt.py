"""Credentials: SD-JWT of one profile, issued, presented, bound to their holder, and read (docs/licence.md §3).

What the issuer must show is a plain member of the signed payload, exactly once; a presentation that hides such
a member, or a disclosure that names one at any depth, is refused. Values are kept as they are: no Unicode form
is folded into another.

Source: RFC 9901 §4 (format), §7.1 and §7.3 (verification); RFC 7800 (`cnf`).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger.encoding import Digest
from ledger.licences.disclosures import (
    DIGEST_SIZE,
    DISCLOSURE_MAX,
    SALT_SIZE,
    Resolver,
    digest_of,
    expand_seed,
    open_disclosures,
    require_ascending,
    require_value,
)
from ledger.licences.encoding import TIME_MAX, b64u, canonical, parse_b64u
from ledger.licences.errors import (
    AudienceMismatch,
    BearerForged,
    BearerMissing,
    BearerStale,
    HiddenMandatoryField,
    IdentifierInvalid,
    Malformed,
    NonceMismatch,
    SignatureInvalid,
)
from ledger.licences.identifiers import (
    Identifier,
    issuer_urn,
    parse_issuer_urn,
    parse_status_urn,
    parse_type_urn,
    status_urn,
    type_urn,
)
from ledger.licences.jws import KEY_BINDING_TYP, Jws, parse_jws, sign_jws
from ledger.licences.keys import PublicKey, SigningKey
from ledger.licences.packing import NOTHING_OPENED, Opened
from ledger.licences.schema import MANDATORY, OPTIONAL, VERSION_MAX, LicenceType

CREDENTIAL_TYP: Final = "dc+sd-jwt"
TRANSFER_IN: Final = "transfer_in"
EVENT_ID_SIZE: Final = 16
INDEX_MAX: Final = (1 << 20) - 1
TEXT_MAX: Final = 1 << 17
# 16 KiB are left for the two JWTs: a payload of 64 digests takes 5
DISCLOSED_MAX: Final = TEXT_MAX - (1 << 14)
DISCLOSURES_MAX: Final = 128
BEARER_AGE_MAX_S: Final = 60
_BEARER_MEMBERS: Final = frozenset({"aud", "iat", "nonce", "sd_hash"})
_NONCE_MAX: Final = 512
_ALLOWED: Final = MANDATORY | OPTIONAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What every presentation of a licence shows.

    Times are Unix seconds, `expires_at` is exclusive and None means no end; `index` is the position in status
    list `list` of the log `origin`; `previous` is the leaf hash of the issue that this one replaces, or, with
    `transfer_in`, of the one that another issuer transferred out.
    """

    issuer: str
    type_code: str
    identifier: Identifier
    version: int
    event_id: bytes
    issued_at: int
    not_before: int
    expires_at: int | None
    list: int
    index: int
    origin: str
    holder: PublicKey
    previous: Digest | None = None
    transfer_in: bool = False

    def __post_init__(self) -> None:
        if self.identifier.issuer != self.issuer:
            raise IdentifierInvalid(0, "another issuer than that of the licence")
        if self.identifier.type_code != self.type_code:
            raise IdentifierInvalid(0, "another type than that of the licence")
        _require_integer("ver", self.version, 1, VERSION_MAX)
        _require_bytes("jti", self.event_id, EVENT_ID_SIZE)
        _require_integer("iat", self.issued_at, 0, TIME_MAX)
        _require_integer("nbf", self.not_before, 0, TIME_MAX)
        if self.expires_at is not None:
            _require_integer("exp", self.expires_at, 0, TIME_MAX)
            if self.not_before >= self.expires_at:
                raise Malformed("exp", "a time after nbf", "another")
        _require_integer("idx", self.index, 0, INDEX_MAX)
        status_urn(self.origin, self.list)
        if self.previous is not None:
            _require_bytes("prev", self.previous, 32)
            if not any(self.previous):
                raise Malformed("prev", "a leaf hash", "zeros")
        elif self.transfer_in:
            raise Malformed("evt", "prev beside it", "none")

    def payload(self, digests: Iterable[str]) -> dict[str, Any]:
        """Return the payload that a credential with these digests has."""
        made: dict[str, Any] = {
            "_sd": sorted(digests),
            "_sd_alg": "sha-256",
            "cnf": {"jwk": self.holder.jwk()},
            "iat": self.issued_at,
            "iss": issuer_urn(self.issuer),
            "jti": b64u(self.event_id),
            "lid": self.identifier.text,
            "nbf": self.not_before,
            "status": {"status_list": {"idx": self.index, "uri": status_urn(self.origin, self.list)}},
            "vct": type_urn(self.type_code),
            "ver": self.version,
        }
        if self.expires_at is not None:
            made["exp"] = self.expires_at
        if self.previous is not None:
            made["prev"] = self.previous.hex()
        if self.transfer_in:
            made["evt"] = TRANSFER_IN
        return made

    @classmethod
    def parse(cls, payload: Mapping[str, Any]) -> Claims:
        """Read the members that a credential's payload must have; its digests are not looked at.

        Raises:
            HiddenMandatoryField: one is missing.
            Malformed: one too many, or one that is not what it must be.
            IdentifierInvalid: the identifier is none, or of another issuer or type than `iss` and `vct` say.
            KeyUnsupported: the key in `cnf` is none of ours.
        """
        for name in sorted(MANDATORY - payload.keys()):
            raise HiddenMandatoryField(name)
        if unknown := payload.keys() - _ALLOWED:
            raise Malformed("payload", "no other members", f"{len(unknown)} more")
        if payload["_sd_alg"] != "sha-256":
            raise Malformed("_sd_alg", "sha-256", "another algorithm")
        if payload.get("evt", TRANSFER_IN) != TRANSFER_IN:
            raise Malformed("evt", TRANSFER_IN, "another event")
        listed = _object("status", payload["status"], "status_list")["status_list"]
        status = _object("status.status_list", listed, "idx", "uri")
        origin, number = parse_status_urn(status["uri"])
        return cls(
            issuer=parse_issuer_urn(payload["iss"]),
            type_code=parse_type_urn(payload["vct"]),
            identifier=Identifier.parse(payload["lid"]),
            version=payload["ver"],
            event_id=parse_b64u(payload["jti"], "jti", EVENT_ID_SIZE),
            issued_at=payload["iat"],
            not_before=payload["nbf"],
            expires_at=_optional(payload, "exp"),
            list=number,
            index=status["idx"],
            origin=origin,
            holder=PublicKey.from_jwk(_object("cnf", payload["cnf"], "jwk")["jwk"]),
            previous=_parse_previous(_optional(payload, "prev")),
            transfer_in="evt" in payload,
        )


@dataclass(frozen=True, slots=True)
class Credential:
    """An issued credential: the signed JWT, and a disclosure for each field that the licence has. Keep it private."""

    jwt: str
    disclosures: tuple[str, ...]

    @property
    def text(self) -> str:
        """The SD-JWT as the holder keeps it: without a KB-JWT, it ends with `~`."""
        return "~".join((self.jwt, *self.disclosures, ""))


@dataclass(frozen=True, slots=True)
class Presented:
    """A parsed credential or presentation; no signature of it is verified yet.

    `disclosed` has the value of each disclosed field by name, `by_name` the disclosure that carries it,
    `hashed_part` everything up to and including the last `~`.
    """

    jwt: Jws
    claims: Claims
    disclosed: dict[str, Any]
    by_name: dict[str, str]
    key_binding: Jws | None
    hashed_part: bytes


def issue(
    claims: Claims, kind: LicenceType, values: Mapping[str, Any], key: SigningKey, *, rand: bytes
) -> Credential:
    """Issue one licence.

    Args:
        claims: what is always visible.
        kind: the type's version that `claims` name.
        values: by field name, what the licence has; a field that is not in it gets a decoy. Any JSON value but
            null.
        key: the issuer's.
        rand: the seed of its salts, 32 bytes (`expand_seed`).

    Raises:
        Malformed: another type or version than the claims', a field that the type has not, or a value that JSON
            cannot carry.
    """
    if (kind.code, kind.version) != (claims.type_code, claims.version):
        raise Malformed("kind", "the type and version of the claims", f"{kind.code} version {kind.version}")
    if unknown := values.keys() - set(kind.names):
        raise Malformed("values", "fields of the type only", f"{len(unknown)} others")
    stream = expand_seed(rand, len(kind.salted))
    disclosures, digests = [], []
    for position, name in enumerate(kind.names):
        own = stream[DIGEST_SIZE * position : DIGEST_SIZE * (position + 1)]
        if name not in values:
            digests.append(b64u(own))
            continue
        require_value(values[name])
        array = canonical([b64u(own[:SALT_SIZE]), name, values[name]], "value")
        if len(array) > DISCLOSURE_MAX:
            raise Malformed(
                "value", f"at most {DISCLOSURE_MAX} bytes with its salt and name", f"{len(array)} bytes"
            )
        disclosures.append(b64u(array))
        digests.append(digest_of(disclosures[-1]))
    if sum(map(len, disclosures)) > DISCLOSED_MAX:
        raise Malformed("values", f"disclosures of at most {DISCLOSED_MAX} characters", "more")
    return Credential(sign_jws(CREDENTIAL_TYP, claims.payload(digests), key), tuple(disclosures))


def parse(text: object, opened_parts: Opened = NOTHING_OPENED) -> Presented:
    """Read a credential or a presentation. Its form is checked in full, its signatures are not.

    Args:
        opened_parts: of the bundle that it comes from.

    Raises:
        Malformed: no SD-JWT of this profile; a repeated or unreferenced disclosure, a repeated digest.
        HiddenMandatoryField: a member that the issuer must show is missing, or a disclosure names one.
        IdentifierInvalid: a name in it is not well-formed.
        KeyUnsupported: the key in `cnf` is none of ours.
    """
    if not isinstance(text, str) or len(text) > TEXT_MAX or not text.isascii():
        raise Malformed("credential", f"an ASCII string of at most {TEXT_MAX} characters", "something else")
    if "~" not in text:
        raise Malformed("credential", "an SD-JWT, which has a ~ after its JWT", "none")
    head, *disclosures, last = text.split("~")
    if len(disclosures) > DISCLOSURES_MAX:
        raise Malformed("credential", f"at most {DISCLOSURES_MAX} disclosures", str(len(disclosures)))
    jwt = parse_jws(head, CREDENTIAL_TYP, opened_parts)
    opened = open_disclosures(disclosures, opened_parts)
    claims = Claims.parse(jwt.payload)
    require_ascending(jwt.payload["_sd"])
    resolver = Resolver(opened)
    disclosed = resolver.members({"_sd": jwt.payload["_sd"]}, 0)
    if unused := opened.keys() - resolver.used:
        raise Malformed("disclosures", "each referenced by a digest", f"{len(unused)} unreferenced")
    by_name = {opened[digest][0][1]: opened[digest][1] for digest in jwt.payload["_sd"] if digest in opened}
    key_binding = parse_jws(last, KEY_BINDING_TYP, opened_parts) if last else None
    return Presented(
        jwt, claims, disclosed, by_name, key_binding, text[: len(text) - len(last)].encode("ascii")
    )


def present(credential: str, names: Iterable[str]) -> str:
    """Return a presentation that discloses only the named fields, without a KB-JWT.

    A field is disclosed in one piece: what an issuer salted inside it, which this profile does not, stays hidden.

    Raises:
        Malformed: a field that this credential cannot disclose; else as `parse`.
    """
    presented, wanted = parse(credential), frozenset(names)
    if missing := wanted - presented.by_name.keys():
        raise Malformed("names", "fields that the credential discloses", f"{len(missing)} others")
    shown = (text for name, text in presented.by_name.items() if name in wanted)
    return "~".join((presented.jwt.text, *shown, ""))


def bind(presentation: str, holder: SigningKey, *, nonce: str, audience: str, now_s: int) -> str:
    """Add the proof that the bearer holds the key in `cnf`, for one verifier and one challenge.

    Args:
        presentation: without a KB-JWT.
        nonce: the verifier's challenge.
        audience: whom it is for.
        now_s: Unix time.

    Raises:
        Malformed: there is a KB-JWT already, or the credential names another key; else as `parse`.
    """
    presented = parse(presentation)
    if presented.key_binding is not None or presented.claims.holder != holder.public:
        raise Malformed("presentation", "one without a KB-JWT that names the holder's key in cnf", "another")
    _require_text("nonce", nonce)
    _require_text("aud", audience)
    payload = {"aud": audience, "iat": now_s, "nonce": nonce, "sd_hash": _hash(presented)}
    return presentation + sign_jws(KEY_BINDING_TYP, payload, holder)


def verify_bearer(
    presented: Presented, *, nonce: str, audience: str, now_s: int, age_max_s: int = BEARER_AGE_MAX_S
) -> int:
    """Check that who presents the licence holds the key in `cnf`, here and now.

    The credential itself must be verified apart: `cnf` is worth what the issuer's signature is.

    Returns:
        When the bearer signed, Unix seconds.

    Raises:
        BearerMissing: there is no KB-JWT.
        BearerForged: it has another form, is by another key, or is bound to other disclosures.
        NonceMismatch: it answers another challenge.
        AudienceMismatch: it is for another verifier.
        BearerStale: it is older or newer than `age_max_s`.
    """
    if presented.key_binding is None:
        raise BearerMissing("the presentation has no KB-JWT")
    payload = presented.key_binding.payload
    try:
        presented.key_binding.verify(presented.claims.holder)
        _object("KB-JWT", payload, *_BEARER_MEMBERS)
        _require_integer("KB-JWT iat", payload["iat"], 0, TIME_MAX)
    except (SignatureInvalid, Malformed) as err:
        raise BearerForged("the KB-JWT is malformed or not by the key in cnf") from err
    if not _same(payload["sd_hash"], _hash(presented)):
        raise BearerForged("the KB-JWT is bound to another presentation")
    if not _same(payload["nonce"], nonce):
        raise NonceMismatch("the KB-JWT answers another nonce than the expected one")
    if not _same(payload["aud"], audience):
        raise AudienceMismatch("the KB-JWT is for another audience than the expected one")
    signed_at: int = payload["iat"]
    if abs(now_s - signed_at) > age_max_s:
        raise BearerStale(now_s - signed_at, age_max_s)
    return signed_at


# --- members ---------------------------------------------------------------------------------------------


def _hash(presented: Presented) -> str:
    return b64u(hashlib.sha256(presented.hashed_part).digest())


def _same(actual: object, expected: str) -> bool:
    return isinstance(actual, str) and hmac.compare_digest(
        actual.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass")
    )


def _object(field: str, value: object, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise Malformed(field, f"an object with exactly {', '.join(sorted(names))}", "something else")
    return value


def _optional(payload: Mapping[str, Any], name: str) -> Any:
    if name not in payload:
        return None
    if payload[name] is None:
        raise Malformed(name, "a value, or no member at all", "null")
    return payload[name]


def _parse_previous(text: object) -> Digest | None:
    if text is None:
        return None
    if not isinstance(text, str) or len(text) != 64 or text.strip("0123456789abcdef"):
        raise Malformed("prev", "64 lower-case hex digits", "something else")
    return Digest(bytes.fromhex(text))


def _require_integer(field: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Malformed(field, f"an integer in [{low}, {high}]", type(value).__name__)


def _require_bytes(field: str, value: object, size: int) -> None:
    if not isinstance(value, bytes) or len(value) != size:
        raise Malformed(field, f"{size} bytes", "another length or type")


def _require_text(field: str, text: object) -> None:
    if not isinstance(text, str) or not 1 <= len(text) <= _NONCE_MAX:
        raise Malformed(field, f"1 to {_NONCE_MAX} characters", "something else")
