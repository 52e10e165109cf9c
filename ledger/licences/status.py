"""Status lists: which slot a licence has, four bits for each, and the signed tokens that publish them.

Source: docs/licence.md §6; draft-ietf-oauth-status-list (Token Status List); W3C Bitstring Status List v1.0.
"""

from __future__ import annotations

import binascii
import gzip
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256, shake_256
from types import MappingProxyType
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pybase64
from zlib_ng import zlib_ng

from ledger.encoding import Digest
from ledger.licences.encoding import TIME_MAX, b64u, day_of, parse_b64u
from ledger.licences.errors import Malformed, StatusListDamaged
from ledger.licences.identifiers import parse_status_urn, require_origin, status_urn
from ledger.licences.jws import Jws, parse_jws, sign_jws
from ledger.licences.keys import PublicKey, SigningKey
from ledger.licences.leaf import LIST_BITS, LIST_SIZE, NO_SLOT, Code, Kind, Leaf
from ledger.licences.packing import Opened
from ledger.licences.policy import require_int
from ledger.log.tree import leaf_hash, root_of

STATUS_TYP: Final = "statuslist+jwt"
BITSTRING_TYP: Final = "vc+jwt"
STATUS_BITS: Final = 4
LIST_BYTES: Final = LIST_SIZE // 2
TOKEN_MAX: Final = 1 << 20
ROUNDS: Final = 8
_HALF_BITS: Final = LIST_BITS // 2
_HALF: Final = 1 << _HALF_BITS
_URLSAFE: Final = b"-_"
_ZLIB_HEADER: Final = (
    2  # bytes; the checksum after the stream covers all of it, so who reads one entry cannot use it
)
# at once while one entry is looked for: memory that the allocator keeps, instead of pages that the system has to clear every time
_PIECE, _UNPACKED = 1 << 15, 1 << 17
# unpacks at twice the speed of the system's zlib and refuses what that refuses, which cannot be said of every fast one
_UnpackError: Final = cast(type[Exception], zlib_ng.error)
_LEVEL: Final = 9  # a list is packed once, read by every verifier: twice the time for 7 % less to hash and a fifth less to unpack
_TTL_MAX: Final = 366 * 86_400
_FREE: Final = bytes([Code.NOT_ISSUED * 0x11])
_EMPTY_PAYLOAD: Final = "e30"
_EMPTY_OPENED: Final[Opened] = MappingProxyType({_EMPTY_PAYLOAD: {}})
_NUMBER: Final = rb"(0|[1-9][0-9]{0,14})"
_HEAD: Final = re.compile(
    rb'\{"digest":"([A-Za-z0-9_-]{43})","exp":%b,"iat":%b,"jti":"([A-Za-z0-9_-]{22})","status_list":\{"bits":4,"lst":"'
    % (_NUMBER, _NUMBER)
)
_TAIL: Final = re.compile(rb'"\},"sub":"(urn:shuyao:status:[!#-\[\]-~]+)","ttl":%b\}' % _NUMBER)
_MESSAGES: Final = {
    Code.VALID: "valid",
    Code.REVOKED: "revoked",
    Code.SUSPENDED: "suspended",
    Code.NOT_ISSUED: "not issued",
    Code.CANCELLED: "cancelled",
    Code.LAPSED: "lapsed otherwise than by date",
    Code.TRANSFERRED: "transferred",
    Code.WITHDRAWN: "withdrawn",
    Code.OTHER: "other",
}

# --- slots -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=128)
def _round_tables(key: bytes, number: int) -> npt.NDArray[np.uint32]:
    """Return F_r(x) of one list, as an array [8, 1024]."""
    if len(key) != 32:
        raise Malformed("slot key", "32 bytes", f"{len(key)} bytes")
    require_int("status list", number, 0, NO_SLOT - 1)
    seeds = (b"shuyao/v1/slot" + key + number.to_bytes(4, "big") + bytes([r]) for r in range(ROUNDS))
    drawn = b"".join(shake_256(seed).digest(2 * _HALF) for seed in seeds)
    return np.frombuffer(drawn, dtype=">u2").astype(np.uint32).reshape(ROUNDS, _HALF) % _HALF


def slot(key: bytes, n: int) -> tuple[int, int]:
    """Return the status list and the index of the n-th licence of a log, from 0.

    Args:
        key: 32 bytes, the service's secret: without it nobody can tell the order in which licences were issued.
        n: below 2^52.

    Raises:
        Malformed: another length of key, or n out of range.
    """
    require_int("licence number", n, 0, (1 << 52) - 1)
    number, x = n >> LIST_BITS, n & (LIST_SIZE - 1)
    left, right = x >> _HALF_BITS, x & (_HALF - 1)
    for table in _round_tables(key, number):
        left, right = right, left ^ int(table[right])
    return number, left << _HALF_BITS | right


def slots(key: bytes, first: int, count: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Return the lists and the indexes of the licences `first` … `first + count - 1`, as `slot` has them.

    Raises:
        Malformed: another length of key, or a number out of range.
    """
    require_int("licence number", first, 0, (1 << 52) - 1)
    require_int("licence count", count, 0, (1 << 52) - 1 - first)
    numbers = np.arange(first, first + count, dtype=np.uint64)
    lists = (numbers >> np.uint64(LIST_BITS)).astype(np.uint32)
    inside = (numbers & np.uint64(LIST_SIZE - 1)).astype(np.uint32)
    indexes = np.empty(count, dtype=np.uint32)
    for number in range(first >> LIST_BITS, ((first + count - 1) >> LIST_BITS) + 1 if count else 0):
        low = max(0, (number << LIST_BITS) - first)
        high = min(count, ((number + 1) << LIST_BITS) - first)
        left, right = inside[low:high] >> _HALF_BITS, inside[low:high] & (_HALF - 1)
        for table in _round_tables(key, number):
            left, right = right, left ^ table[right]
        indexes[low:high] = left << _HALF_BITS | right
    return lists, indexes


# --- bits ------------------------------------------------------------------------------------------------


class StatusBits:
    """Four bits for each of 2^20 licences, 512 KiB; entry i is the low half of byte i/2 for even i, else the high half.

    Args:
        data: the 2^19 bytes to start from; by default nothing is issued.

    Raises:
        Malformed: another length.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes | None = None) -> None:
        if data is not None and len(data) != LIST_BYTES:
            raise Malformed("status bits", f"{LIST_BYTES} bytes", f"{len(data)} bytes")
        self._data = np.frombuffer(bytearray(_FREE * LIST_BYTES if data is None else data), dtype=np.uint8)

    def get(self, index: int) -> int:
        """Return the code of one entry.

        Raises:
            Malformed: no such index.
        """
        require_int("status index", index, 0, LIST_SIZE - 1)
        return _nibble(int(self._data[index >> 1]), index)

    def set(self, index: int, code: int) -> None:
        """Write the code of one entry.

        Raises:
            Malformed: no such index, or no such code.
        """
        require_int("status index", index, 0, LIST_SIZE - 1)
        self.set_many(np.array([index]), code)

    def set_many(self, indexes: npt.NDArray[Any] | Sequence[int], code: int) -> None:
        """Write one code into many entries.

        Raises:
            Malformed: an index outside, or no such code.
        """
        at = np.asarray(indexes, dtype=np.int64)
        if at.size and not 0 <= int(at.min()) <= int(at.max()) < LIST_SIZE:
            raise Malformed("status index", f"integers in [0, {LIST_SIZE - 1}]", "one outside")
        code = _code(code)
        for parity, kept in ((0, 0xF0), (1, 0x0F)):  # two entries share a byte: one half after the other
            found = at[at & 1 == parity] >> 1
            self._data[found] = (self._data[found] & kept) | (code << 4 * parity)

    def counts(self) -> dict[Code, int]:
        """Return how many entries have each code; codes without an entry are left out."""
        tally = np.bincount(self._data & 0xF, minlength=16) + np.bincount(self._data >> 4, minlength=16)
        return {_code(code): int(n) for code, n in enumerate(tally) if n}

    @property
    def digest(self) -> Digest:
        """SHA-256 of the bytes."""
        return Digest(sha256(self._data.data).digest())

    def to_bytes(self) -> bytes:
        """Return the 2^19 bytes."""
        return self._data.tobytes()


def _nibble(byte: int, index: int) -> int:
    return byte >> 4 if index & 1 else byte & 0xF


def _code(value: int) -> Code:
    try:
        return Code(value)
    except ValueError as err:
        raise Malformed("status code", "one of the nine codes", repr(value)[:20]) from err


# --- tokens ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusClaims:
    """What a status token says besides the bits: whose list, and for how long. Times are Unix seconds."""

    origin: str
    list: int
    event_id: bytes
    issued_at: int
    expires_at: int
    ttl_s: int

    def __post_init__(self) -> None:
        status_urn(self.origin, self.list)
        if len(self.event_id) != 16:
            raise Malformed("token.jti", "16 bytes", f"{len(self.event_id)} bytes")
        require_int("token.iat", self.issued_at, 0, TIME_MAX)
        require_int("token.exp", self.expires_at, self.issued_at + 1, TIME_MAX)
        require_int("token.ttl", self.ttl_s, 1, _TTL_MAX)

    @property
    def uri(self) -> str:
        """The list's name."""
        return status_urn(self.origin, self.list)


@dataclass(frozen=True, slots=True)
class StatusToken:
    """A parsed status token, not verified yet.

    Attributes:
        claims: what it says besides the bits.
        digest: SHA-256 of the unpacked bits, as the token says.
        jws: the token with its signature; its payload is left empty, since nearly all of it is one long string.
        packed: the bits as a zlib stream.
        encoded: the token's text as bytes: encoded once, signed and hashed as they are.
    """

    claims: StatusClaims
    digest: bytes
    jws: Jws
    packed: bytes
    encoded: bytes = field(repr=False)

    def verify(self, service: PublicKey) -> None:
        """Check that the service signed the token.

        Raises:
            SignatureInvalid: it did not.
        """
        self.jws.verify_over(memoryview(self.encoded)[: self.encoded.rindex(b".")], service)

    def leaf(self) -> Leaf:
        """Return the token's leaf. Source: docs/licence.md §5."""
        return Leaf(
            kind=Kind.STATUS_LIST,
            event_id=self.claims.event_id,
            key_id=self.jws.key_id,
            evidence=sha256(self.encoded).digest(),
            list=self.claims.list,
            event_day=day_of(self.claims.issued_at),
            extra=self.digest,
        )

    def code(self, index: int) -> int:
        """Return one entry, unpacking the list only as far as that and without a checksum, which only its end has.

        Raises:
            Malformed: no such index.
            StatusListDamaged: the list does not unpack so far.
        """
        require_int("status index", index, 0, LIST_SIZE - 1)
        if not self._has_header:
            raise StatusListDamaged(f"status list: expected a zlib stream of {LIST_BYTES} bytes")
        return _nibble(_unpacked_byte(self.packed, index >> 1), index)

    @property
    def _has_header(self) -> bool:
        """Whether the packed bits begin as a zlib stream does (RFC 1950 §2.2): deflate, check bits, no dictionary."""
        head = self.packed[:_ZLIB_HEADER]
        return (
            len(head) == _ZLIB_HEADER
            and head[0] & 0x8F == 8
            and int.from_bytes(head, "big") % 31 == 0
            and not head[1] & 0x20
        )

    def bits(self) -> StatusBits:
        """Return the whole list.

        Raises:
            StatusListDamaged: it does not unpack to its length or not to its digest, or something follows it.
        """
        data, ended = _unpack(zlib_ng.decompressobj(), self.packed, LIST_BYTES + 1)
        if len(data) != LIST_BYTES or not ended:
            raise StatusListDamaged(f"status list: expected a zlib stream of {LIST_BYTES} bytes and no more")
        if sha256(data).digest() != self.digest:
            raise StatusListDamaged("status list: the unpacked bits have another digest than the token says")
        return StatusBits(data)


def _unpacked_byte(packed: bytes, at: int) -> int:
    """Return one unpacked byte, having unpacked what comes before it and kept none of that.

    Raises:
        StatusListDamaged: it is no zlib stream, or one of fewer bytes.
    """
    stream, left = zlib_ng.decompressobj(-zlib_ng.MAX_WBITS), at + 1
    pieces = (packed[start : start + _PIECE] for start in range(_ZLIB_HEADER, len(packed), _PIECE))
    piece: bytes | None = next(pieces, b"")
    while piece is not None:
        wanted = min(left, _UNPACKED)
        data, _ = _unpack(stream, piece, wanted)
        left -= len(data)
        if not left:
            return data[-1]
        # as much as was wanted: there may be more of it without more input; less: the input is used up, or the stream has ended
        piece = stream.unconsumed_tail if len(data) == wanted else next(pieces, None)
    raise StatusListDamaged(f"status list: expected a zlib stream of {LIST_BYTES} bytes")


def _unpack(stream: Any, packed: bytes, size_max: int) -> tuple[bytes, bool]:
    """Return at most the first `size_max` unpacked bytes, and whether the stream ended there with nothing after it.

    Raises:
        StatusListDamaged: it is no such stream.
    """
    try:
        data = stream.decompress(packed, size_max)
    except _UnpackError as err:
        raise StatusListDamaged("status list: expected a zlib stream") from err
    return data, stream.eof and not stream.unused_data


def _decode(text: bytes, start: int, end: int, what: str) -> bytes:
    """Decode base64url without padding in its one form: at these sizes the standard library takes a millisecond, encoding it again too.

    Args:
        text: has it from `start` to `end`.

    Raises:
        Malformed: another alphabet or length, or bits left over that are not zero.
    """
    whole = end - (end - start) % 4
    rest = text[whole:end]
    try:
        # of the other alphabet, which this decoder lets through with a warning
        if text.find(b"+", start, end) >= 0 or text.find(b"/", start, end) >= 0:
            raise binascii.Error
        data = pybase64.b64decode(memoryview(text)[start:whole], _URLSAFE, validate=True)
        last = pybase64.b64decode(rest + b"=" * (-len(rest) % 4), _URLSAFE, validate=True)
    except binascii.Error as err:
        raise Malformed(what, "base64url without padding", "something else") from err
    # every whole group of four characters has one form; what is left over may have bits that are not zero, or be padding
    if len(data) != (whole - start) // 4 * 3 or pybase64.b64encode(last, _URLSAFE).rstrip(b"=") != rest:
        raise Malformed(what, "base64url in its one form", "another form")
    return data + last


def status_token(bits: StatusBits, claims: StatusClaims, key: SigningKey) -> str:
    """Sign a status list as the service.

    Returns:
        The Token Status List in JWT form, docs/licence.md §6.
    """
    payload = {
        "digest": b64u(bits.digest),
        "exp": claims.expires_at,
        "iat": claims.issued_at,
        "jti": b64u(claims.event_id),
        "status_list": {"bits": STATUS_BITS, "lst": b64u(zlib.compress(bits.to_bytes(), _LEVEL))},
        "sub": claims.uri,
        "ttl": claims.ttl_s,
    }
    return sign_jws(STATUS_TYP, payload, key)


def parse_status_token(text: object) -> StatusToken:
    """Read a status token; neither its signature nor the list inside is checked.

    The payload is matched, not parsed as JSON: it has one form, and most of it is one string.

    Raises:
        Malformed: too long, no JWS of this type, or other members.
    """
    if not isinstance(text, str) or len(text) > TOKEN_MAX or not text.isascii():
        raise Malformed("status token", f"a JWS of at most {TOKEN_MAX} characters", "something else")
    encoded = text.encode("ascii")
    first = encoded.find(b".")  # not split: that copies 40,000 characters and more
    last = encoded.find(b".", first + 1)
    if first < 0 or last < 0:
        raise Malformed("status token", "three parts", "fewer")
    header, signature = text[:first], text[last + 1 :]
    jws = parse_jws(f"{header}.{_EMPTY_PAYLOAD}.{signature}", STATUS_TYP, _EMPTY_OPENED)
    payload = _decode(encoded, first + 1, last, "status token")
    head = _HEAD.match(payload)
    end = payload.find(b'"', head.end()) if head else -1
    tail = _TAIL.fullmatch(payload, end) if end >= 0 else None
    if head is None or tail is None:
        raise Malformed("status token", "the members of a status token in RFC 8785 form", "another form")
    origin, number = parse_status_urn(tail[1].decode("ascii"))
    claims = StatusClaims(
        origin=origin,
        list=number,
        event_id=parse_b64u(head[4].decode("ascii"), "token.jti", 16),
        issued_at=int(head[3]),
        expires_at=int(head[2]),
        ttl_s=int(tail[2]),
    )
    digest = parse_b64u(head[1].decode("ascii"), "token.digest", 32)
    whole = Jws(text, STATUS_TYP, jws.alg, jws.kid, {}, jws.signature)
    return StatusToken(claims, digest, whole, _decode(payload, head.end(), end, "token.lst"), encoded)


def bitstring_credential(bits: StatusBits, claims: StatusClaims, key: SigningKey) -> str:
    """Sign the same list as a W3C BitstringStatusListCredential, for verifiers that know that form only.

    Source: W3C Bitstring Status List v1.0 §2.2, with statusPurpose `message`; VC-JOSE-COSE.
    """
    data = np.frombuffer(bits.to_bytes(), dtype=np.uint8)
    exchanged = ((data << 4) | (data >> 4)).tobytes()
    payload = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "id": claims.uri,
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": f"urn:shuyao:service:{require_origin(claims.origin)}",
        "validFrom": _iso(claims.issued_at),
        "validUntil": _iso(claims.expires_at),
        "credentialSubject": {
            "id": f"{claims.uri}#list",
            "type": "BitstringStatusList",
            "statusPurpose": "message",
            "statusSize": STATUS_BITS,
            "statusMessage": [{"status": f"{code:#x}", "message": text} for code, text in _MESSAGES.items()],
            "ttl": claims.ttl_s * 1000,
            "encodedList": "u" + b64u(gzip.compress(exchanged, _LEVEL, mtime=0)),
        },
    }
    return sign_jws(BITSTRING_TYP, payload, key)


def status_root(entries: Iterable[tuple[int, bytes]]) -> Digest:
    """Return the statusRoot over the newest token of each list.

    Args:
        entries: list number and SHA-256 of its token, in any order, each list once.

    Raises:
        Malformed: a list twice, or a digest that is none.

    Source: docs/licence.md §6.
    """
    ordered = sorted(entries)
    if len({number for number, _ in ordered}) != len(ordered) or any(
        len(token) != 32 for _, token in ordered
    ):
        raise Malformed("status root", "one digest of 32 bytes for each list", "something else")
    return Digest(root_of([leaf_hash(number.to_bytes(4, "big") + token) for number, token in ordered]))


def _iso(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
