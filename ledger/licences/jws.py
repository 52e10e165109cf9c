"""Compact JWS in its one accepted form: canonical base64url of canonical JSON, and no header member too many.

Source: RFC 7515 §3.1, §7.1; RFC 8725 (what goes wrong otherwise); docs/licence.md §2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, cast

from ledger.encoding import Digest
from ledger.licences.encoding import b64u, canonical, parse_any, parse_b64u, parse_canonical, require_b64u
from ledger.licences.errors import Malformed, SignatureInvalid
from ledger.licences.keys import ALGORITHMS, SIGNATURE_SIZE, Algorithm, PublicKey, SigningKey
from ledger.licences.packing import NOTHING_OPENED, Opened

KEY_BINDING_TYP: Final = "kb+jwt"
SIZE_MAX: Final = 1 << 16
_HEADER_MAX: Final = 512


class _JsonParser(Protocol):
    def __call__(self, data: bytes, field: str, *, size_max: int) -> Any: ...


@dataclass(frozen=True, slots=True)
class Jws:
    """A parsed JWS, not verified yet: its form is right, its signature unchecked.

    `kid` is empty in a KB-JWT, whose key is named by the credential. `text` is the JWS as it was read.
    """

    text: str
    typ: str
    alg: Algorithm
    kid: str
    payload: dict[str, Any]
    signature: bytes

    @property
    def header(self) -> dict[str, str]:
        """The protected header."""
        named = {"kid": self.kid} if self.typ != KEY_BINDING_TYP else {}
        return {"alg": self.alg, "typ": self.typ, **named}

    @property
    def signing_input(self) -> bytes:
        """The bytes under the signature: header and payload with the dot between them."""
        return self.text[: self.text.rindex(".")].encode("ascii")

    @property
    def key_id(self) -> Digest:
        """The key id that `kid` names, 32 bytes.

        Raises:
            Malformed: a KB-JWT names no key.
        """
        return _key_id(self.kid)

    def verify(self, key: PublicKey) -> None:
        """Check the signature under the key that it must be by.

        Raises:
            SignatureInvalid: the header names another key or algorithm, or the signature does not verify.
        """
        self.verify_over(self.signing_input, key)

    def verify_over(self, signing_input: bytes | memoryview, key: PublicKey) -> None:
        """Check the signature, where the caller has the bytes under it already: a long text need not be copied for them.

        Raises:
            SignatureInvalid: as `verify`.
        """
        if self.alg != key.alg or (self.typ != KEY_BINDING_TYP and self.kid != key.kid):
            raise SignatureInvalid(f"{self.typ} (another key or algorithm in its header)")
        try:
            key.verify(signing_input, self.signature)
        except SignatureInvalid as err:
            raise SignatureInvalid(self.typ) from err


def header_part(typ: str, key: PublicKey) -> str:
    """Return the first part of a JWS of this type by this key."""
    header = {"alg": key.alg, "typ": typ}
    if typ != KEY_BINDING_TYP:
        header["kid"] = key.kid
    return b64u(canonical(header, "header"))


def sign_jws(typ: str, payload: Mapping[str, Any], key: SigningKey) -> str:
    """Sign a payload.

    Args:
        typ: the header's `typ`; `kb+jwt` is the one type without `kid`.
        payload: what has an RFC 8785 form.

    Raises:
        Malformed: the payload has no such form.
    """
    signing_input = f"{header_part(typ, key.public)}.{b64u(canonical(payload, 'payload'))}"
    return f"{signing_input}.{b64u(key.sign(signing_input.encode('ascii')))}"


def parse_jws(text: object, typ: str, opened: Opened = NOTHING_OPENED, *, size_max: int = SIZE_MAX) -> Jws:
    """Read a JWS of one type. Nothing is verified.

    A KB-JWT comes from the holder's wallet and is hashed by nobody, so any JSON form of it is accepted; of
    everything else only RFC 8785 bytes.

    Args:
        typ: the only `typ` that is accepted: a JWS of one kind never passes for another.
        opened: parts that are parsed already, and known to be in their one form.
        size_max: characters.

    Raises:
        Malformed: too long, not three parts, a part that is not in its one form, a header with other members,
            another `typ`, or an algorithm that is none of ours (`none` is not).
    """
    if not isinstance(text, str):
        raise Malformed("JWS", "a string", type(text).__name__)
    if len(text) > size_max:
        raise Malformed("JWS", f"at most {size_max} characters", f"{len(text)} characters")
    parts = text.split(".")
    if len(parts) != 3:
        raise Malformed("JWS", "three parts", f"{len(parts)} parts")
    alg, kid = _parse_header(parts[0], typ)
    payload = opened.get(parts[1])
    if payload is None:
        payload = _json_of(typ)(parse_b64u(parts[1], "payload"), "payload", size_max=size_max)
    if not isinstance(payload, dict):
        raise Malformed("payload", "an object", type(payload).__name__)
    return Jws(text, typ, alg, kid, payload, parse_b64u(parts[2], "signature", SIGNATURE_SIZE))


@lru_cache(maxsize=1024)  # that of a credential is asked for twice, and its issuer has many
def _key_id(kid: str) -> Digest:
    return Digest(parse_b64u(kid, "kid", 32))


def _json_of(typ: str) -> _JsonParser:
    return parse_any if typ == KEY_BINDING_TYP else parse_canonical


@lru_cache(maxsize=1024)  # all licences of an issuer have one header
def _parse_header(part: str, typ: str) -> tuple[Algorithm, str]:
    header = _json_of(typ)(parse_b64u(part, "header"), "header", size_max=_HEADER_MAX)
    names = {"alg", "typ"} if typ == KEY_BINDING_TYP else {"alg", "kid", "typ"}
    if not isinstance(header, dict) or header.keys() != names:
        raise Malformed("header", f"the members {sorted(names)}", "another set")
    if header["typ"] != typ:
        raise Malformed("header.typ", typ, "another type")
    if header["alg"] not in ALGORITHMS:
        raise Malformed("header.alg", f"one of {ALGORITHMS}", "another algorithm")
    kid = header.get("kid", "")
    if kid or typ != KEY_BINDING_TYP:
        require_b64u(kid, "header.kid", 32)
    return cast(Algorithm, header["alg"]), kid
