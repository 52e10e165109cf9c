"""The group ristretto255, its hash to the group, and what a private join does to whole lists of elements.

The arithmetic is libsodium's, in constant time. `pyzmq` brings a current libsodium for every platform that has
wheels; nothing else of that package is used. Elements are always in their one canonical encoding of 32 bytes,
scalars are 32 bytes, little-endian.

Source: RFC 9496 (group, encoding, one-way map); RFC 9380 §5.3.1 and appendix B (hash to the group).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from typing import Final, NewType

import numpy as np
from numpy.typing import NDArray

from privacy.errors import PrivacyError

Element = NewType("Element", bytes)
Scalar = NewType("Scalar", bytes)
Rows = NDArray[np.uint8]

ELEMENT_BYTES: Final = 32
SCALAR_BYTES: Final = 32
UNIFORM_BYTES: Final = 64
ORDER: Final = (1 << 252) + 27742317777372353535851937790883648493  # ℓ
PRIME: Final = (1 << 255) - 19
IDENTITY: Final = Element(bytes(ELEMENT_BYTES))
GENERATOR: Final = Element(bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))
DST_BYTES_MAX: Final = 255
_BLOCK_BYTES = 128  # of SHA-512: s_in_bytes
_DIGEST_BYTES = 64
_ZERO_PAD = hashlib.sha512(bytes(_BLOCK_BYTES))  # Z_pad, hashed once for all messages


class GroupError(PrivacyError):
    """Anything that the group refuses."""


class GroupUnavailable(GroupError):
    """No libsodium with ristretto255 is installed."""


class ElementInvalid(GroupError):
    """Bytes that are not the canonical encoding of an element. `position` counts from 0 in their list."""

    def __init__(self, message: str, *, position: int = 0) -> None:
        self.position = position
        super().__init__(f"element {position}: {message}")


class ElementIdentity(ElementInvalid):
    """The identity, where an element that hides something is expected."""


class ScalarInvalid(GroupError):
    """A scalar of the wrong length, not below ℓ, or zero where it must have an inverse."""


class HashInvalid(GroupError):
    """Uniform bytes, a tag or an output of a length that the hash does not have."""


def _open_library() -> ctypes.CDLL:
    """Load the libsodium that pyzmq brings, else the system's."""
    try:
        listed = files("pyzmq") or []
    except PackageNotFoundError:
        listed = []
    suffixes = (".so", ".dylib", ".dll")
    paths = [
        str(each.locate())
        for each in listed
        if each.name.startswith("libsodium") and any(suffix in each.name for suffix in suffixes)
    ]
    paths += [found for found in (ctypes.util.find_library("sodium"),) if found]
    for path in paths:
        library = ctypes.CDLL(path)
        if hasattr(library, "crypto_scalarmult_ristretto255") and library.sodium_init() >= 0:
            return library
    raise GroupUnavailable("expected libsodium 1.0.18 or later, of pyzmq or of the system: found none")


_SODIUM = _open_library()


def _function(name: str, arguments: int) -> ctypes._NamedFuncPointer:
    found: ctypes._NamedFuncPointer = getattr(_SODIUM, name)
    found.argtypes, found.restype = [ctypes.c_void_p] * arguments, ctypes.c_int
    return found


_is_valid = _function("crypto_core_ristretto255_is_valid_point", 1)
_from_hash = _function("crypto_core_ristretto255_from_hash", 2)
_add = _function("crypto_core_ristretto255_add", 3)
_multiply = _function("crypto_scalarmult_ristretto255", 3)
_multiply_base = _function("crypto_scalarmult_ristretto255_base", 2)
_x25519 = _function("crypto_scalarmult_curve25519", 3)
_scalar_multiply = _function("crypto_core_ristretto255_scalar_mul", 3)
_scalar_subtract = _function("crypto_core_ristretto255_scalar_sub", 3)
_scalar_invert = _function("crypto_core_ristretto255_scalar_invert", 2)
_scalar_reduce = _function("crypto_core_ristretto255_scalar_reduce", 2)


# --- elements --------------------------------------------------------------------------------------------


def decode(data: bytes, *, position: int = 0) -> Element:
    """Return an element that is not the identity.

    Args:
        data: from outside.
        position: of the element in its list, for the message.

    Raises:
        ElementInvalid: not 32 bytes, a field element that is not canonical or negative, or no element.
        ElementIdentity: the identity.

    Source: RFC 9496 §4.3.1.
    """
    if len(data) != ELEMENT_BYTES:
        raise ElementInvalid(f"expected {ELEMENT_BYTES} bytes, got {len(data)}", position=position)
    if not any(data):
        raise ElementIdentity("expected another element than the identity", position=position)
    if _is_valid(bytes(data)) != 1:
        raise ElementInvalid("expected a canonical encoding of an element", position=position)
    return Element(bytes(data))


def is_identity(element: Element) -> bool:
    """Tell whether an element is the identity, whose encoding is all zeros."""
    return element == IDENTITY


def add(left: Element, right: Element) -> Element:
    """Return left + right, which may be the identity.

    Raises:
        ElementInvalid: an operand is no element.
    """
    out = ctypes.create_string_buffer(ELEMENT_BYTES)
    if _add(out, _sized(left), _sized(right)):
        raise ElementInvalid("expected two canonical encodings of elements")
    return Element(out.raw)


def multiply(scalar: Scalar, element: Element) -> Element:
    """Return scalar · element, in a time that does not depend on either.

    Args:
        scalar: below 2^255; it counts modulo ℓ.
        element: not the identity.

    Raises:
        ElementInvalid: no element.
        ElementIdentity: the element or the product is the identity.
        ScalarInvalid: not 32 bytes, or 2^255 and more.
    """
    out = ctypes.create_string_buffer(ELEMENT_BYTES)
    if _multiply(out, _secret(scalar), _sized(element)):
        decode(element)
        raise ElementIdentity("expected a product that is not the identity")
    return Element(out.raw)


def multiply_base(scalar: Scalar) -> Element:
    """Return scalar · G.

    Raises:
        ElementIdentity: the scalar is a multiple of ℓ.
        ScalarInvalid: not 32 bytes, or 2^255 and more.
    """
    out = ctypes.create_string_buffer(ELEMENT_BYTES)
    if _multiply_base(out, _secret(scalar)):
        raise ElementIdentity("expected a product that is not the identity")
    return Element(out.raw)


def map_to_group(uniform: bytes) -> Element:
    """Map 64 uniform bytes to an element.

    Raises:
        HashInvalid: not 64 bytes.

    Source: RFC 9496 §4.3.4.
    """
    if len(uniform) != UNIFORM_BYTES:
        raise HashInvalid(f"expected {UNIFORM_BYTES} uniform bytes, got {len(uniform)}")
    out = ctypes.create_string_buffer(ELEMENT_BYTES)
    _from_hash(out, uniform)
    return Element(out.raw)


def hash_to_group(message: bytes, dst: bytes) -> Element:
    """Hash a message to an element: suite ristretto255_XMD:SHA-512_R255MAP_RO_.

    Raises:
        HashInvalid: a tag that is empty or longer than 255 bytes.

    Source: RFC 9380 appendix B.
    """
    return map_to_group(expand_message(message, dst, UNIFORM_BYTES))


def expand_message(message: bytes, dst: bytes, size: int) -> bytes:
    """Return `size` uniform bytes of a message, expand_message_xmd with SHA-512.

    Raises:
        HashInvalid: a tag that is empty or longer than 255 bytes, or a size outside 1 … 16320.

    Source: RFC 9380 §5.3.1.
    """
    if not 1 <= len(dst) <= DST_BYTES_MAX or not 1 <= size <= 255 * _DIGEST_BYTES:
        raise HashInvalid(f"expected a tag of 1 to {DST_BYTES_MAX} bytes and a size of at most 16320 bytes")
    dst_prime = dst + bytes((len(dst),))
    first = _ZERO_PAD.copy()
    first.update(message + size.to_bytes(2, "big") + b"\x00" + dst_prime)
    b_0 = first.digest()
    block, uniform = bytes(_DIGEST_BYTES), b""
    for index in range(1, -(-size // _DIGEST_BYTES) + 1):
        mixed = bytes(a ^ b for a, b in zip(b_0, block, strict=True)) if index > 1 else b_0
        block = hashlib.sha512(mixed + bytes((index,)) + dst_prime).digest()
        uniform += block
    return uniform[:size]


# --- scalars ---------------------------------------------------------------------------------------------


def decode_scalar(data: bytes) -> Scalar:
    """Return a scalar that is below ℓ and not zero.

    Raises:
        ScalarInvalid: another.
    """
    if len(data) != SCALAR_BYTES or not 0 < int.from_bytes(data, "little") < ORDER:
        raise ScalarInvalid("expected 32 bytes, little-endian, above zero and below the group's order")
    return Scalar(bytes(data))


def reduce_scalar(uniform: bytes) -> Scalar:
    """Reduce 64 uniform bytes, little-endian, modulo ℓ.

    Raises:
        HashInvalid: not 64 bytes.
    """
    if len(uniform) != UNIFORM_BYTES:
        raise HashInvalid(f"expected {UNIFORM_BYTES} uniform bytes, got {len(uniform)}")
    return _scalar_result(_scalar_reduce, uniform)


def multiply_scalars(left: Scalar, right: Scalar) -> Scalar:
    """Return left · right mod ℓ."""
    return _scalar_result(_scalar_multiply, _secret(left), _secret(right))


def subtract_scalars(left: Scalar, right: Scalar) -> Scalar:
    """Return left − right mod ℓ."""
    return _scalar_result(_scalar_subtract, _secret(left), _secret(right))


def invert_scalar(scalar: Scalar) -> Scalar:
    """Return the inverse modulo ℓ.

    Raises:
        ScalarInvalid: zero has none.
    """
    out = ctypes.create_string_buffer(SCALAR_BYTES)
    if _scalar_invert(out, _secret(scalar)):
        raise ScalarInvalid("expected a scalar that has an inverse, got zero")
    return Scalar(out.raw)


def clamped(uniform: bytes) -> Scalar:
    """Make a blinding scalar of 32 uniform bytes: a multiple of 8 with bit 254 set, one of 2^251.

    The same scalar then serves here and in X25519 (`tags`), which reads every scalar so.

    Raises:
        ScalarInvalid: not 32 bytes.

    Source: RFC 7748 §5.
    """
    if len(uniform) != SCALAR_BYTES:
        raise ScalarInvalid(f"expected {SCALAR_BYTES} bytes, got {len(uniform)}")
    return Scalar(bytes((uniform[0] & 248,)) + uniform[1:31] + bytes((uniform[31] & 127 | 64,)))


# --- lists -----------------------------------------------------------------------------------------------


def hash_all(messages: Sequence[bytes], dst: bytes) -> Rows:
    """Hash messages to elements, as `hash_to_group` does.

    Returns:
        uint8 of shape [n, 32].

    Raises:
        HashInvalid: a tag that is empty or longer than 255 bytes.
    """
    if not 1 <= len(dst) <= DST_BYTES_MAX:
        raise HashInvalid(f"expected a tag of 1 to {DST_BYTES_MAX} bytes, got {len(dst)}")
    out = np.empty((len(messages), ELEMENT_BYTES), dtype=np.uint8)
    sha512, target = hashlib.sha512, out.ctypes.data
    dst_prime = dst + bytes((len(dst),))
    middle, last = UNIFORM_BYTES.to_bytes(2, "big") + b"\x00" + dst_prime, b"\x01" + dst_prime
    for number, message in enumerate(messages):
        first = _ZERO_PAD.copy()
        first.update(message + middle)
        _from_hash(target + ELEMENT_BYTES * number, sha512(first.digest() + last).digest())
    return out


def map_all(uniform: bytes) -> Rows:
    """Map uniform bytes, 64 for each, to elements.

    Returns:
        uint8 of shape [n, 32].

    Raises:
        HashInvalid: not a multiple of 64 bytes.
    """
    count, rest = divmod(len(uniform), UNIFORM_BYTES)
    if rest:
        raise HashInvalid(f"expected a multiple of {UNIFORM_BYTES} bytes, got {len(uniform)}")
    out = np.empty((count, ELEMENT_BYTES), dtype=np.uint8)
    target = out.ctypes.data
    for number in range(count):
        start = UNIFORM_BYTES * number
        _from_hash(target + ELEMENT_BYTES * number, uniform[start : start + UNIFORM_BYTES])
    return out


def multiply_all(scalar: Scalar, elements: Rows) -> Rows:
    """Multiply each element of a list.

    Args:
        scalar: as in `multiply`.
        elements: uint8 of shape [n, 32].

    Returns:
        products, of the same shape.

    Raises:
        ElementInvalid, ElementIdentity, ScalarInvalid: as `multiply`, with the position.
    """
    rows, secret = np.ascontiguousarray(elements), _secret(scalar)
    out = np.empty_like(rows)
    source, target = rows.ctypes.data, out.ctypes.data
    for at in range(0, rows.size, ELEMENT_BYTES):
        if _multiply(target + at, secret, source + at):
            position = at // ELEMENT_BYTES
            decode(rows[position].tobytes(), position=position)
            raise ElementIdentity("expected a product that is not the identity", position=position)
    return out


def tags(scalar: Scalar, elements: Rows) -> Rows:
    """Return for each element P a tag of scalar · P: equal for equal products, and of no use for a further product.

    An element with the encoding s lies on the points of Edwards25519 with y = (1 − s²)/(1 + s²), or on a
    torsion point from there; on Curve25519 that is u = (1 + y)/(1 − y) = s^-2, and s² after the point of order
    2 was added. A clamped scalar is a multiple of 8 and takes all torsion away, so X25519(scalar, s²) depends
    on ±scalar · P only, and takes half the time of a product with its encoding.

    Args:
        scalar: clamped (`clamped`).
        elements: uint8 of shape [n, 32].

    Returns:
        u-coordinates, of the same shape.

    Raises:
        ElementInvalid: no element.
        ElementIdentity: the identity.
        ScalarInvalid: not clamped.

    Source: RFC 9496 §4.3.1; RFC 7748 §4.1 (the map between the curves), §5.
    """
    if clamped(scalar) != scalar:
        raise ScalarInvalid("expected a clamped scalar")
    out = np.empty((len(elements), ELEMENT_BYTES), dtype=np.uint8)
    encoded, target = elements.tobytes(), out.ctypes.data
    for at in range(0, len(encoded), ELEMENT_BYTES):
        each = encoded[at : at + ELEMENT_BYTES]
        if _is_valid(each) != 1:
            decode(each, position=at // ELEMENT_BYTES)
        root = int.from_bytes(each, "little")
        square = (root * root % PRIME).to_bytes(ELEMENT_BYTES, "little")
        if _x25519(target + at, scalar, square):
            raise ElementIdentity("expected another element than the identity", position=at // ELEMENT_BYTES)
    return out


def _sized(element: bytes) -> bytes:
    if len(element) != ELEMENT_BYTES:
        raise ElementInvalid(f"expected {ELEMENT_BYTES} bytes, got {len(element)}")
    return element


def _secret(scalar: bytes) -> bytes:
    # libsodium drops the uppermost bit without a word
    if len(scalar) != SCALAR_BYTES or scalar[-1] > 127:
        raise ScalarInvalid(f"expected {SCALAR_BYTES} bytes, little-endian, below 2^255")
    return scalar


def _scalar_result(function: ctypes._NamedFuncPointer, *arguments: bytes) -> Scalar:
    out = ctypes.create_string_buffer(SCALAR_BYTES)
    function(out, *arguments)
    return Scalar(out.raw)
