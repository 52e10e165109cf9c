"""What the licences of a batch share, and how one of them is put together from the rest.

Salts and digests are base64-coded together, JSON is put together from parts that are known to be canonical, and
what is the same in every licence is written once. Tests hold the result to `sdjwt.issue`, byte for byte.
"""

from __future__ import annotations

import hashlib
import json.encoder
import struct
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, cast

import pybase64

from ledger.encoding import Digest
from ledger.licences.disclosures import DIGEST_SIZE, DISCLOSURE_MAX, SALT_SIZE, SEED_SIZE, expand_seed
from ledger.licences.encoding import TIME_MAX, canonical, parse_any
from ledger.licences.errors import Malformed
from ledger.licences.identifiers import (
    LIST_MAX,
    ROOT,
    SERIAL_MAX,
    STATUS_URN,
    issuer_urn,
    mod37_36_end,
    mod37_36_step,
    require_origin,
    require_type,
    require_uscc,
    require_version,
    type_urn,
)
from ledger.licences.jws import header_part
from ledger.licences.keys import PublicKey
from ledger.licences.schema import FIELDS_MAX, VERSION_MAX, LicenceType, require_name
from ledger.licences.sdjwt import CREDENTIAL_TYP, DISCLOSED_MAX, EVENT_ID_SIZE, INDEX_MAX

TEMPLATE_ID_SIZE: Final = 8
_URL_SAFE_PAIR: Final = b"-_"
_URL_SAFE: Final = bytes.maketrans(b"+/", _URL_SAFE_PAIR)
_quote: Final = json.encoder.encode_basestring  # C; what RFC 8785 §3.2.2.2 asks for


@dataclass(frozen=True, slots=True)
class Template:
    """What the licences of a batch share; a private record is worthless without it, and it names no licence.

    `fields` are the names of the type's salted fields in order, `holder` the key of a licence that names no
    other (the custodian's), `signer` the issuer's public key.
    """

    type_code: str
    type_version: int
    fields: tuple[str, ...]
    issuer: str
    origin: str
    holder: PublicKey
    signer: PublicKey

    def __post_init__(self) -> None:
        require_type(self.type_code)
        require_uscc(self.issuer)
        require_origin(self.origin)
        if not isinstance(self.type_version, int) or not 1 <= self.type_version <= VERSION_MAX:
            raise Malformed("template.version", f"an integer in [1, {VERSION_MAX}]", "something else")
        if not 1 <= len(self.fields) <= FIELDS_MAX or len(set(self.fields)) != len(self.fields):
            raise Malformed("template.fields", f"1 to {FIELDS_MAX}, each once", str(len(self.fields)))
        for name in self.fields:
            require_name(name)

    @classmethod
    def of(
        cls, kind: LicenceType, *, issuer: str, origin: str, holder: PublicKey, signer: PublicKey
    ) -> Template:
        """Return the template of a type's licences by one issuer key in one log."""
        return cls(kind.code, kind.version, kind.names, issuer, origin, holder, signer)

    @property
    def id(self) -> bytes:
        """What its records name it by, 8 bytes."""
        return hashlib.sha256(b"shuyao/v1/template\0" + self.encode()).digest()[:TEMPLATE_ID_SIZE]

    def encode(self) -> bytes:
        """Return the template as RFC 8785 bytes, to be kept beside the records."""
        return canonical(
            {
                "fields": list(self.fields),
                "holder": self.holder.jwk(),
                "issuer": self.issuer,
                "origin": self.origin,
                "signer": self.signer.jwk(),
                "type": self.type_code,
                "type_version": self.type_version,
                "version": 1,
            },
            "template",
        )

    @classmethod
    def decode(cls, data: bytes) -> Template:
        """Read what `encode` wrote.

        Raises:
            LicenceError: it is something else.
        """
        value = parse_any(data, "template", size_max=1 << 16)
        names = {"fields", "holder", "issuer", "origin", "signer", "type", "type_version", "version"}
        if not isinstance(value, dict) or value.keys() != names or value["version"] != 1:
            raise Malformed("template", f"version 1 with the members {sorted(names)}", "something else")
        if not isinstance(value["fields"], list) or not all(
            isinstance(name, str) for name in value["fields"]
        ):
            raise Malformed("template.fields", "an array of strings", "something else")
        return cls(
            type_code=value["type"],
            type_version=value["type_version"],
            fields=tuple(value["fields"]),
            issuer=value["issuer"],
            origin=value["origin"],
            holder=PublicKey.from_jwk(value["holder"]),
            signer=PublicKey.from_jwk(value["signer"]),
        )


class Row(NamedTuple):
    """One licence to issue. A named tuple, for a million of them a minute; `Assembler` checks it.

    `event_id` (16 bytes) and `seed` (32 bytes) are drawn for this licence alone; `values` are texts in the
    order of the template's fields, None where the licence has none; the rest is as in `sdjwt.Claims`.
    """

    event_id: bytes
    seed: bytes
    serial: str
    version: str
    issued_at: int
    not_before: int
    expires_at: int | None
    status_list: int
    status_index: int
    values: Sequence[str | None]
    holder: PublicKey | None = None
    previous: Digest | None = None
    transfer_in: bool = False


class Assembler:
    """Puts the unsigned parts of a template's licences together."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.template_id = template.id
        count = len(template.fields)
        self._count = count
        self._seeded_salts = struct.Struct(f"{SALT_SIZE}s{DIGEST_SIZE - SALT_SIZE}x" * count)
        # 16 bytes and 2 zeros are coded as 24 characters, the first 22 of them wanted; 32 and a zero as 44, 43 wanted
        self._coded_salts = struct.Struct("22s2x" * count)
        self._coded_digests = struct.Struct("43sx" * count)
        self._names = [b'","%b",' % name.encode("ascii") for name in template.fields]
        self._holder_jwk = canonical(template.holder.jwk(), "jwk")
        self._header = header_part(CREDENTIAL_TYP, template.signer).encode("ascii") + b"."
        self._check_state = mod37_36_step(template.type_code + template.issuer)
        identifier = f"{ROOT}{template.type_code}.{template.issuer}."
        uri = _quote(f"{STATUS_URN}{template.origin}:")[:-1].replace("%", "%%")
        self._payload = (
            '{"_sd":["%b"],"_sd_alg":"sha-256","cnf":{"jwk":%b}%b'
            f',"iat":%d,"iss":"{issuer_urn(template.issuer)}","jti":"%b","lid":"{identifier}%b","nbf":%d%b'
            f',"status":{{"status_list":{{"idx":%d,"uri":{uri}%d"}}}}'
            f',"vct":"{type_urn(template.type_code)}","ver":{template.type_version}}}'
        ).encode("ascii")

    def signing_input(self, row: Row) -> tuple[bytes, list[bytes], list[bytes]]:
        """Return what is signed, the disclosures, and each value that there is as a JSON string.

        Raises:
            Malformed: a value of the row is out of its range.
            IdentifierInvalid: its serial or version is none.
        """
        _require_row(row, self._count)
        digests, disclosures, quoted = self._fields(row)
        serial = row.serial + row.version
        check = mod37_36_end(mod37_36_step(serial, self._check_state))
        jwk = self._holder_jwk if row.holder is None else canonical(row.holder.jwk(), "jwk")
        event = b',"evt":"transfer_in"' if row.transfer_in else b""
        payload = self._payload % (
            digests,
            jwk,
            event if row.expires_at is None else b'%b,"exp":%d' % (event, row.expires_at),
            row.issued_at,
            b64u_bytes(row.event_id),
            f"{row.serial}.{row.version}.{check}".encode("ascii"),
            row.not_before,
            b"" if row.previous is None else b',"prev":"%b"' % row.previous.hex().encode("ascii"),
            row.status_index,
            row.status_list,
        )
        return self._header + b64u_bytes(payload), disclosures, quoted

    def _fields(self, row: Row) -> tuple[bytes, list[bytes], list[bytes]]:
        stream = expand_seed(row.seed, self._count)
        spaced = b"\0\0".join((*self._seeded_salts.unpack(stream), b""))
        salts: Sequence[bytes] = self._coded_salts.unpack(pybase64.b64encode(spaced, _URL_SAFE_PAIR))
        names, values, decoys = self._names, row.values, []
        if None in values:
            held = [i for i, value in enumerate(values) if value is not None]
            lacking = set(range(self._count)).difference(held)
            decoys = [stream[DIGEST_SIZE * i : DIGEST_SIZE * (i + 1)] for i in lacking]
            salts, names = [salts[i] for i in held], [names[i] for i in held]
            values = [values[i] for i in held]
        quoted = _quote_all(values)
        disclosures = _code_all([b'["%b%b%b]' % parts for parts in zip(salts, names, quoted, strict=True)])
        sha256 = hashlib.sha256
        spaced = b"\0".join([*[sha256(disclosure).digest() for disclosure in disclosures], *decoys, b""])
        coded = self._coded_digests.unpack(pybase64.b64encode(spaced, _URL_SAFE_PAIR))
        return b'","'.join(sorted(coded)), disclosures, quoted


@lru_cache(maxsize=256)
def assembler_of(template: Template) -> Assembler:
    """Return the template's assembler, made once."""
    return Assembler(template)


def _quote_all(values: Sequence[str | None]) -> list[bytes]:
    """Return the values as JSON strings, coded at once: JSON writes no NUL as it is, so it can part them."""
    if not values:
        return []
    try:
        return "\0".join(map(_quote, cast(Sequence[str], values))).encode().split(b"\0")
    except (TypeError, UnicodeEncodeError) as err:
        raise Malformed("values", "texts without lone surrogates", "something else") from err


def _code_all(arrays: list[bytes]) -> list[bytes]:
    """Return the disclosures that carry these JSON arrays."""
    if not arrays:
        return []
    if max(map(len, arrays)) > DISCLOSURE_MAX:
        raise Malformed("values", f"at most {DISCLOSURE_MAX} bytes each with salt and name", "more")
    joined = b"~".join([b2a_base64(array, newline=False) for array in arrays]).translate(_URL_SAFE, b"=")
    if len(joined) - len(arrays) + 1 > DISCLOSED_MAX:
        raise Malformed("values", f"disclosures of at most {DISCLOSED_MAX} characters", "more")
    return joined.split(b"~")


def b64u_bytes(data: bytes) -> bytes:
    """Write base64url without padding, as bytes."""
    return pybase64.b64encode(data, _URL_SAFE_PAIR).rstrip(b"=")


def _require_row(row: Row, count: int) -> None:
    """Refuse a row that `sdjwt.Claims` would refuse; characters of the serial are checked where it is coded."""
    expires = TIME_MAX if row.expires_at is None else row.expires_at
    if not (0 <= row.issued_at <= TIME_MAX and 0 <= row.not_before <= TIME_MAX and 0 <= expires <= TIME_MAX):
        raise Malformed("row times", f"Unix seconds up to {TIME_MAX}", "others")
    if row.expires_at is not None and row.not_before >= expires:
        raise Malformed("exp", "a time after nbf", "another")
    if not (0 <= row.status_list <= LIST_MAX and 0 <= row.status_index <= INDEX_MAX):
        raise Malformed(
            "status", "a list and an index in their ranges", f"{row.status_list}, {row.status_index}"
        )
    if len(row.event_id) != EVENT_ID_SIZE or len(row.seed) != SEED_SIZE or len(row.values) != count:
        raise Malformed("row", f"an id of 16 bytes, a seed of 32 and {count} values", "other lengths")
    if not 1 <= len(row.serial) <= SERIAL_MAX:
        raise Malformed("serial", f"1 to {SERIAL_MAX} characters", str(len(row.serial)))
    if row.version != "001":
        require_version(row.version)
    if row.transfer_in if row.previous is None else len(row.previous) != 32 or not any(row.previous):
        raise Malformed("prev", "a leaf hash of 32 bytes, always beside transfer_in", "something else")
