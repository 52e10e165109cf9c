"""Keys, vectors and packed vectors as bytes: one encoding each (docs/protocol.md, the section on Paillier)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from privacy.paillier.encrypt import EncryptedVector, require_length
from privacy.paillier.errors import (
    EncodingRefused,
    KeyMismatch,
    KindUnknown,
    LengthMismatch,
    MagicWrong,
    TrailingBytes,
    Truncated,
    VersionUnknown,
)
from privacy.paillier.keys import PrivateKey, PublicKey
from privacy.paillier.packing import SlotLayout

MAGIC: Final = b"SYP"
VERSION: Final = 1
ID_BYTES: Final = 32


class Kind(IntEnum):
    """What the bytes are."""

    PUBLIC_KEY = 1
    PRIVATE_KEY = 2
    VECTOR = 3
    PACKED = 4


@dataclass(frozen=True, slots=True)
class PackedVector:
    """Encrypted packed plaintexts, with what is needed to unpack them.

    Attributes:
        vector: the ciphertexts, exactly as many as `count` values need.
        layout: of each plaintext; the key holds it.
        count: the number of values.
    """

    vector: EncryptedVector
    layout: SlotLayout
    count: int

    def __post_init__(self) -> None:
        require_length(self.count)
        self.layout.require_key(self.vector.key)
        needed = self.layout.plaintexts(self.count)
        if len(self.vector) != needed:
            raise LengthMismatch(f"expected {needed} ciphertexts, got {len(self.vector)}")


class _Reader:
    """Reads a body from its front; what is missing or left over has a name."""

    def __init__(self, data: bytes, kind: Kind) -> None:
        self._data, self._at = data, 0
        if self.take(len(MAGIC)) != MAGIC:
            raise MagicWrong(f"expected bytes that start with {MAGIC!r}")
        if (version := self.number(1)) != VERSION:
            raise VersionUnknown(f"expected version {VERSION}, got {version}")
        if (found := self.number(1)) != kind:
            raise KindUnknown(f"expected kind {kind.value}, got {found}")

    def take(self, length: int) -> bytes:
        part = self._data[self._at : self._at + length]
        if len(part) != length:
            raise Truncated(f"expected {self._at + length} bytes or more, got {len(self._data)}")
        self._at += length
        return part

    def number(self, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "big", signed=signed)

    def require(self, length: int) -> None:
        """Refuse a body whose rest has another length, before anything is made of it."""
        rest = len(self._data) - self._at
        if rest < length:
            raise Truncated(f"expected {length} more bytes, got {rest}")
        if rest > length:
            raise TrailingBytes(f"expected {length} more bytes, got {rest}")


def _head(kind: Kind) -> bytes:
    return MAGIC + bytes((VERSION, kind))


def encode_public_key(key: PublicKey) -> bytes:
    """Encode a public key."""
    return _head(Kind.PUBLIC_KEY) + key.size.to_bytes(2, "big") + key.n.to_bytes(key.size, "big")


def decode_public_key(data: bytes) -> PublicKey:
    """Decode a public key.

    Raises:
        EncodingRefused: no encoding of one: its subclasses say why.
        KeyInvalid: an encoding of a modulus that is refused.
    """
    reader = _Reader(data, Kind.PUBLIC_KEY)
    size = reader.number(2)
    reader.require(size)
    return PublicKey(_minimal(reader, size))


def encode_private_key(key: PrivateKey) -> bytes:
    """Encode a private key, in the clear: the caller seals it before it is stored."""
    width = (key.p.bit_length() + 7) // 8
    body = key.p.to_bytes(width, "big") + key.q.to_bytes(width, "big")
    return _head(Kind.PRIVATE_KEY) + width.to_bytes(2, "big") + body


def decode_private_key(data: bytes) -> PrivateKey:
    """Decode a private key.

    Raises:
        EncodingRefused: no encoding of one: its subclasses say why.
        KeyInvalid: an encoding of numbers that are refused.
    """
    reader = _Reader(data, Kind.PRIVATE_KEY)
    width = reader.number(2)
    reader.require(2 * width)
    p, q = _minimal(reader, width), _minimal(reader, width)
    if p >= q:
        raise EncodingRefused("expected the smaller factor first")
    return PrivateKey(p, q)


def encode_vector(vector: EncryptedVector) -> bytes:
    """Encode ciphertexts."""
    return _head(Kind.VECTOR) + _common(vector) + len(vector).to_bytes(4, "big") + _body(vector)


def decode_vector(data: bytes, key: PublicKey) -> EncryptedVector:
    """Decode ciphertexts, and check each.

    Args:
        data: the encoding.
        key: that they must be under.

    Raises:
        EncodingRefused: no encoding of a vector: its subclasses say why.
        KeyMismatch: of another key.
        CiphertextInvalid: a number in it is no ciphertext.
        ExponentRefused: the exponent is out of range.
        LengthMismatch: a number of ciphertexts that no vector has.
    """
    reader = _Reader(data, Kind.VECTOR)
    exponent = _read_common(reader, key)
    count = reader.number(4)
    require_length(count)
    return _read_body(reader, key, exponent, count)


def encode_packed(packed: PackedVector) -> bytes:
    """Encode packed ciphertexts with their layout."""
    layout = packed.layout
    shape = (
        layout.slot_bytes.to_bytes(2, "big")
        + layout.slots.to_bytes(2, "big")
        + packed.count.to_bytes(4, "big")
    )
    return _head(Kind.PACKED) + _common(packed.vector) + shape + _body(packed.vector)


def decode_packed(data: bytes, key: PublicKey) -> PackedVector:
    """Decode packed ciphertexts, and check each.

    Raises:
        EncodingRefused: no encoding of packed ciphertexts: its subclasses say why.
        PackingInvalid: a layout that the key does not hold.
        KeyMismatch, CiphertextInvalid, ExponentRefused, LengthMismatch: as `decode_vector`.
    """
    reader = _Reader(data, Kind.PACKED)
    exponent = _read_common(reader, key)
    layout = SlotLayout(reader.number(2), reader.number(2))
    layout.require_key(key)
    count = reader.number(4)
    require_length(count)
    return PackedVector(_read_body(reader, key, exponent, layout.plaintexts(count)), layout, count)


def _common(vector: EncryptedVector) -> bytes:
    return vector.key.id + vector.exponent.to_bytes(2, "big", signed=True)


def _read_common(reader: _Reader, key: PublicKey) -> int:
    if not hmac.compare_digest(reader.take(ID_BYTES), key.id):
        raise KeyMismatch(f"expected ciphertexts under key {key.id.hex()[:16]}, got another key's")
    return reader.number(2, signed=True)


def _body(vector: EncryptedVector) -> bytes:
    width = 2 * vector.key.size
    return b"".join([int(value).to_bytes(width, "big") for value in vector.values])


def _read_body(reader: _Reader, key: PublicKey, exponent: int, count: int) -> EncryptedVector:
    width = 2 * key.size
    reader.require(count * width)
    return EncryptedVector(key, tuple([reader.number(width) for _ in range(count)]), exponent)


def _minimal(reader: _Reader, width: int) -> int:
    """Read a number that needs all its bytes."""
    data = reader.take(width)
    if not data or not data[0]:
        raise EncodingRefused("expected a number without leading zero bytes")
    return int.from_bytes(data, "big")
