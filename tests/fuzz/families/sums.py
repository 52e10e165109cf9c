"""What holders, broker and buyer of a sealed sum send one another, and what a holder stores."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from privacy import curve, curve_reference
from privacy.agreement import require_secp256k1_public, require_x25519_public
from privacy.encoding import keccak
from privacy.errors import PrivacyError, ProtocolError, StateCorrupt
from privacy.messages import Kind, decode_frame, decode_frames, encode_frame
from privacy.payloads import Unmask, decode_bundle, encode_bundle
from privacy.prg import MaskedVector
from privacy.sealed_sum_answer import (
    answer_chunk,
    answer_root,
    apply_pads,
    chunk_path,
    remove_pads,
    verify_chunk,
)
from privacy.sealed_sum_secrets import HolderSecrets, ReceivedShares
from tests.fuzz.contract import Decoder
from tests.privacy.sum_world import World

_HOLDERS = 3
_CELLS = 300
_SESSION = bytes(range(32))


@cache
def _world() -> World:
    return World(_HOLDERS, cells=_CELLS)


def _payloads() -> Iterator[tuple[Kind, bytes]]:
    world = _world()
    everybody = world.everybody
    yield Kind.BUNDLE, world.bundles[1]
    yield Kind.MASKED_INPUT, world.masked(1, everybody)
    yield Kind.UNMASK, world.unmask(1, everybody, everybody)


def _frames() -> list[bytes]:
    return [encode_frame(kind, _SESSION, 1, payload, bytes(65)) for kind, payload in _payloads()]


def _answer() -> bytes:
    return apply_pads(np.arange(-150, 150, dtype=np.int64), 7, [_SESSION])


def _chunk_seeds() -> Iterator[bytes]:
    for k in (0, 1):
        path = b"".join(chunk_path(_SESSION, _answer(), k))
        yield bytes([k, len(path) // 32]) + path + answer_chunk(_answer(), k)


def _verify_chunk(data: bytes) -> None:
    k, steps = int.from_bytes(data[:1], "big"), int.from_bytes(data[1:2], "big")
    path = [data[at : at + 32] for at in range(2, 2 + 32 * steps, 32)]
    verify_chunk(answer_root(_SESSION, _answer()), _SESSION, _CELLS, k, data[2 + 32 * steps :], path)


def _open_answer(data: bytes) -> tuple[list[int], int]:
    cells, blinding = remove_pads(data, [_SESSION])
    return cells.tolist(), blinding


def _checked(data: bytes) -> bytes:
    """Add the checksum that stored secrets end with, so that more than it is tested."""
    return data + keccak(data)


def _points() -> Iterator[bytes]:
    yield bytes(curve.POINT_BYTES)
    for index in range(3):
        yield curve.encode_point(curve.cell_generator(index))


def _outside_subgroup() -> Iterator[bytes]:
    """Points of y² = x³ + 4 with a small x, which are not in the subgroup of order q."""
    prime = curve.BASE_PRIME
    for x in range(1, 20):
        square = (pow(x, 3, prime) + 4) % prime
        y = pow(square, (prime + 1) // 4, prime)
        if y * y % prime == square:
            yield bytes(16) + x.to_bytes(48, "big") + bytes(16) + y.to_bytes(48, "big")


def _both_points(data: bytes) -> bytes:
    """Decode a point with both implementations, which must say the same of any bytes."""
    fast: bytes | str
    slow: bytes | str
    try:
        fast = curve.encode_point(curve.decode_point(data))
    except ProtocolError as err:
        fast = type(err).__name__
    try:
        slow = curve_reference.encode_point(curve_reference.decode_point(data))
    except ProtocolError as err:
        slow = type(err).__name__
    if fast != slow:
        raise AssertionError(f"two implementations differ on a point: {fast!r} and {slow!r}")
    return curve.encode_point(curve.decode_point(data))


def _public_keys(data: bytes) -> None:
    if data[:1] == b"\x00":
        require_x25519_public(data[1:])
    else:
        require_secp256k1_public(data[1:])


def _public_key_seeds() -> Iterator[bytes]:
    keys = _world().secrets[0].public_keys()
    yield b"\x00" + keys.mask_key
    yield b"\x01" + bytes([keys.e_parity]) + keys.e_x


FAMILIES = {
    "messages": (
        Decoder("decode_frame", decode_frame, (ProtocolError,), _frames, lambda frame: frame.encode()),
        Decoder(
            "decode_frames",
            decode_frames,
            (ProtocolError,),
            lambda: [b"", b"".join(_frames())],
            lambda frames: b"".join(frame.encode() for frame in frames),
        ),
        Decoder(
            "decode_bundle",
            lambda data: decode_bundle(data, sender=1, holders=_HOLDERS),
            (ProtocolError,),
            lambda: [_world().bundles[1]],
            encode_bundle,
        ),
        Decoder(
            "Unmask.of_payload",
            Unmask.of_payload,
            (ProtocolError,),
            lambda: [payload for kind, payload in _payloads() if kind is Kind.UNMASK],
            lambda unmask: unmask.payload(),
        ),
        Decoder(
            "MaskedVector.of_payload",
            MaskedVector.of_payload,
            (ProtocolError,),
            lambda: [payload for kind, payload in _payloads() if kind is Kind.MASKED_INPUT],
            lambda vector: vector.payload(),
        ),
        Decoder(
            "remove_pads",
            _open_answer,
            (ProtocolError,),
            lambda: [_answer()],
            lambda opened: apply_pads(np.array(opened[0], dtype=np.int64), opened[1], [_SESSION]),
        ),
        Decoder("verify_chunk", _verify_chunk, (ProtocolError,), _chunk_seeds),
        Decoder("public keys", _public_keys, (PrivacyError,), _public_key_seeds),
        Decoder(
            "HolderSecrets.from_bytes",
            lambda data: HolderSecrets.from_bytes(_checked(data)),
            (StateCorrupt, ProtocolError),
            lambda: [_world().secrets[0].to_bytes()[:-32]],
            lambda secrets: secrets.to_bytes()[:-32],
        ),
        Decoder(
            "ReceivedShares.from_bytes",
            lambda data: ReceivedShares.from_bytes(_checked(data)),
            (StateCorrupt,),
            lambda: [_world().received(1, _world().everybody).to_bytes()[:-32]],
            lambda shares: shares.to_bytes()[:-32],
        ),
    ),
    "points": (
        Decoder(
            "decode_point, both", _both_points, (ProtocolError,), _points, bytes, refused=_outside_subgroup
        ),
        Decoder(
            "decode_curve_point",
            curve.decode_curve_point,
            (ProtocolError,),
            lambda: [*_points(), *_outside_subgroup()],
            curve.encode_point,
        ),
    ),
}
